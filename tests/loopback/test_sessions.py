"""Persistent sessions over real sockets: who keeps an endpoint, who is given another, and what clients are told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from gatewayproxy.compiler.lower.edits import fold
from gatewayproxy.dataplane.protocols import sessions
from gatewayproxy.model.headops import Remove
from gatewayproxy.model.plan import Cluster, Endpoint
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.model.traffic import Cors, Retry, Session
from gatewayproxy.routing.table import BackendChoice, HostIndex, RouteEntry, VirtualHost
from tests.support.backend import Backend, Client, backend, client
from tests.support.certs import certificate, client_context
from tests.support.h2backend import H2Call, h2_backend
from tests.support.h2client import h2_session
from tests.support.tls_ports import https, tls_port
from tests.support.worker import Served, cluster, entry, serve, serve_port, vhost

COOKIE = Session(rule="HTTPRoute default/r #0", name=b"gwp")
HEADER = Session(rule="HTTPRoute default/r #0", name=b"X-Session", header=True)


def choice(*numbers: int, name: str = "default/app:80", header: bool = False) -> BackendChoice:
    response = fold((Remove(b"x-session"),)) if header else None
    return BackendChoice(name=name, cluster=cluster(*numbers, name=name), response=response)


def route(*choices: BackendChoice | tuple[BackendChoice, int], session: Session = COOKIE, **rest: Any) -> RouteEntry:
    return entry(*choices, session=session, **rest)


@asynccontextmanager
async def backends(n: int, **options: Any) -> AsyncIterator[list[Backend]]:
    """Run *n* backends; each tells in X-Who which one it is."""
    async with AsyncExitStack() as stack:
        answers = [b"HTTP/1.1 200 OK\r\nX-Who: %d\r\nContent-Length: 2\r\n\r\nok" % who for who in range(n)]
        yield [await stack.enter_async_context(backend(keep=answer, **options)) for answer in answers]


@contextmanager
def serving(each: RouteEntry, **options: Any) -> Iterator[Served]:
    with serve(HostIndex(default=vhost({b"": each})), **options) as served:
        yield served


def given(head: bytes, session: Session = COOKIE) -> bytes:
    """Return the value that *head* gives to the client, b"" for none."""
    name = re.escape(session.name)
    pattern = rb"\r\n%b: ([^\r]*)\r\n" % name if session.header else rb"\r\nset-cookie: %b=([^;]*)[^\r]*\r\n" % name
    found: list[bytes] = re.findall(pattern, head)
    assert len(found) <= 1
    return found[0] if found else b""


async def ask(peer: Client, value: bytes = b"", session: Session = COOKIE, path: bytes = b"/") -> tuple[int, bytes]:
    """Return who answered a request with *value*, and the head of the answer."""
    line = (
        b"%b: %b\r\n" % (session.name, value) if session.header else b"Cookie: x=1; %b=%b\r\n" % (session.name, value)
    )
    status, head, _ = await peer.ask(b"GET %b HTTP/1.1\r\nHost: a.test\r\n%b\r\n" % (path, line if value else b""))
    assert status == 200, head
    who = re.search(rb"\r\nX-Who: (\d)\r\n", head)
    return (int(who[1]) if who else -1), head


@pytest.mark.parametrize("session", [COOKIE, HEADER], ids=["cookie", "header"])
async def test_a_session_stays_with_its_endpoint(session: Session) -> None:
    async with backends(3) as apps:
        each = route(choice(*(app.number for app in apps), header=session.header), session=session)
        with serving(each) as served:
            async with client(served.number) as peer:
                seen = set()
                for _ in range(6):
                    who, head = await ask(peer, session=session)
                    value = given(head, session)
                    assert value
                    seen.add(who)
                    for _ in range(10):
                        again, head = await ask(peer, value, session)
                        assert again == who
                        assert not given(head, session)  # nothing new to tell
                assert seen == {0, 1, 2}


async def test_workers_with_one_key_know_each_other_s_sessions() -> None:
    async with backends(3) as apps:
        each = route(choice(*(app.number for app in apps)))
        with serving(each) as one, serving(each) as two, serving(each) as stranger:
            two.context.session_secret = one.context.session_secret
            async with client(one.number) as a, client(two.number) as b, client(stranger.number) as c:
                for _ in range(4):
                    who, head = await ask(a)
                    again, head2 = await ask(b, given(head))
                    assert (again, given(head2)) == (who, b"")
                    _, head3 = await ask(c, given(head))
                    assert given(head3)


async def test_new_sessions_are_dealt_out_by_weight_and_old_ones_are_not() -> None:
    async with backends(2) as apps:
        one, two = (choice(app.number, name=f"default/{n}:80") for n, app in enumerate(apps))
        with serving(route((one, 3), (two, 1))) as served:
            async with client(served.number) as peer:
                dealt: Counter[int] = Counter()
                for _ in range(40):
                    who, head = await ask(peer)
                    dealt[who] += 1
                    for _ in range(3):
                        assert (await ask(peer, given(head)))[0] == who
                assert dealt == {0: 30, 1: 10}


async def test_a_session_outlives_the_weight_of_its_backend() -> None:
    async with backends(2) as apps:
        one, two = (choice(app.number, name=f"default/{n}:80") for n, app in enumerate(apps))
        with serving(route(one)) as served:
            async with client(served.number) as peer:
                value = given((await ask(peer))[1])
                served.apply(HostIndex(default=vhost({b"": route(two, resting=(one,))})))
                assert (await ask(peer, value))[0] == 0
                assert (await ask(peer))[0] == 1  # a new one
                served.apply(HostIndex(default=vhost({b"": route(two)})), 3)
                who, head = await ask(peer, value)
                assert who == 1
                assert given(head)


async def test_a_session_survives_a_reload_with_more_endpoints() -> None:
    async with backends(4) as apps:
        numbers = [app.number for app in apps]
        with serving(route(choice(*numbers[:2]))) as served:
            async with client(served.number) as peer:
                kept = [await ask(peer) for _ in range(2)]
                served.apply(HostIndex(default=vhost({b"": route(choice(*reversed(numbers)))})))
                for who, head in kept:
                    for _ in range(4):
                        assert (await ask(peer, given(head)))[0] == who


async def test_a_session_whose_endpoint_is_gone_is_given_another() -> None:
    async with backends(2) as apps:
        with serving(route(choice(*(app.number for app in apps)))) as served:
            async with client(served.number) as peer:
                who, head = await ask(peer)
                left = 1 - who
                served.apply(HostIndex(default=vhost({b"": route(choice(apps[left].number))})))
                again, head = await ask(peer, given(head))
                assert again == left
                assert (await ask(peer, given(head)))[0] == left


async def test_a_session_whose_endpoint_refuses_connections_is_given_another() -> None:
    async with backends(2) as apps:
        async with backend() as third:
            down = third.number
        with serving(route(choice(down, *(app.number for app in apps)))) as served:
            async with client(served.number) as peer:
                cookies = []
                for _ in range(6):
                    who, head = await ask(peer)
                    assert given(head)
                    cookies.append((who, given(head)))
                assert {who for who, _ in cookies} == {0, 1}  # what was told is where it went
                for who, value in cookies:
                    again, head = await ask(peer, value)
                    assert (again, given(head)) == (who, b"")


async def test_a_session_moves_with_a_retry_whose_connection_broke() -> None:
    async with backends(2) as apps, backend(*[b"CLOSE"] * 99) as broken:
        numbers = [broken.number, *(app.number for app in apps)]
        each = route(choice(*numbers), retry=Retry(attempts=3, backoff_s=0.0))
        with serving(each) as served:
            async with client(served.number) as peer:
                for _ in range(6):
                    who, head = await ask(peer)
                    assert (await ask(peer, given(head)))[0] == who


async def test_a_session_stays_where_a_retry_is_for_a_code() -> None:
    sorry = b"HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n"
    ok = b"HTTP/1.1 200 OK\r\nX-Who: %d\r\nContent-Length: 0\r\n\r\n"
    async with backend(ok % 0, sorry, keep=ok % 0) as one, backend(ok % 1, sorry, keep=ok % 1) as two:
        each = route(choice(one.number, two.number), retry=Retry(attempts=1, codes=(503,), backoff_s=0.0))
        with serving(each) as served:
            async with client(served.number) as peer:
                who, head = await ask(peer)
                again, head = await ask(peer, given(head))
                assert (again, given(head)) == (who, b"")


async def test_a_session_that_begins_with_a_retry_begins_where_that_went() -> None:
    sorry = b"HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n"
    async with backends(1) as (good,), backend(keep=sorry) as bad:
        each = route(choice(good.number, bad.number), retry=Retry(attempts=1, codes=(503,), backoff_s=0.0))
        with serving(each) as served:
            async with client(served.number) as peer:
                for _ in range(4):
                    who, head = await ask(peer)
                    assert who == 0
                    again, head = await ask(peer, given(head))
                    assert (again, given(head)) == (0, b"")
            assert 1 <= len(bad.heads) <= 4


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda value: value[:-1] + (b"A" if value[-1:] != b"A" else b"B"), id="forged at the end"),
        pytest.param(lambda value: (b"B" if value[:1] != b"B" else b"C") + value[1:], id="forged at the start"),
        pytest.param(lambda value: value[:-4], id="cut"),
        pytest.param(lambda value: value + b"AAAA", id="longer"),
        pytest.param(lambda value: b"A" * 44, id="of another maker"),
        pytest.param(lambda value: b"A" * 20_000, id="huge"),
        pytest.param(lambda value: b"127.0.0.1:22", id="an address"),
        pytest.param(lambda value: b"%00%ff=", id="odd"),
    ],
)
async def test_a_value_that_is_not_ours_begins_a_session(spoil: Any) -> None:
    async with backends(2) as apps:
        with serving(route(choice(*(app.number for app in apps)))) as served:
            async with client(served.number) as peer:
                value = given((await ask(peer))[1])
                seen = set()
                for _ in range(4):
                    who, head = await ask(peer, spoil(value))
                    assert given(head)
                    seen.add(who)
                assert seen == {0, 1}


async def test_of_repeated_cookies_the_last_good_one_counts() -> None:
    async with backends(2) as apps:
        with serving(route(choice(*(app.number for app in apps)))) as served:
            async with client(served.number) as peer:
                (one, first), (two, second) = [await ask(peer) for _ in range(2)]
                assert one != two
                both = b"%b; gwp=%b" % (given(first), given(second))
                assert (await ask(peer, both))[0] == two
                assert (await ask(peer, both + b"; gwp=nothing"))[0] == two


async def test_a_session_ends_at_its_absolute_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_700_000_000.0]
    monkeypatch.setattr(sessions, "time", lambda: now[0])
    session = Session(rule="r", name=b"gwp", absolute_s=60.0)
    async with backends(2) as apps:
        with serving(route(choice(*(app.number for app in apps)), session=session)) as served:
            async with client(served.number) as peer:
                who, head = await ask(peer)
                value = given(head)
                now[0] += 59.0
                again, head = await ask(peer, value)
                assert (again, given(head)) == (who, b"")  # use does not make it longer
                now[0] += 1.0
                _, head = await ask(peer, value)
                assert given(head) not in (b"", value)


async def test_rules_share_no_sessions_even_by_one_cookie() -> None:
    async with backends(3) as apps:
        numbers = [app.number for app in apps]
        paths = {b"/a": route(choice(*numbers), session=Session(rule="a", name=b"gwp"))}
        paths[b"/b"] = route(choice(*numbers), session=Session(rule="b", name=b"gwp"))
        with serve(HostIndex(default=vhost(paths))) as served:
            async with client(served.number) as peer:
                for _ in range(4):
                    a, head = await ask(peer, path=b"/a")
                    b, head = await ask(peer, given(head), path=b"/b")
                    value = given(head)
                    assert value
                    for _ in range(3):  # one value for both
                        assert (await ask(peer, value, path=b"/a"))[0] == a
                        assert (await ask(peer, value, path=b"/b"))[0] == b


async def test_the_cookie_says_what_the_rule_says() -> None:
    session = Session(rule="r", name=b"basket", path=b"/shop", permanent=True, absolute_s=3600.0)
    async with backends(1) as apps:
        with serving(route(choice(apps[0].number), session=session)) as served:
            async with client(served.number) as peer:
                _, head = await ask(peer)
        pattern = rb"set-cookie: basket=[\w-]{44}; Path=/shop; Max-Age=3600; HttpOnly; SameSite=Strict\r\n"
        assert re.search(pattern, head)


async def test_over_tls_the_cookie_is_secure() -> None:
    async with backends(1) as apps:
        http = HostIndex(exact={b"a.test": VirtualHost(
            listener=https("a.test").listener, layers=vhost({b"": route(choice(apps[0].number))}).layers
        )})  # fmt: skip
        port = tls_port({b"a.test": https("a.test", certificate("a.test"))}, http=http)
        with serve_port(lambda number: replace(port, bind_port=number)) as served:
            async with h2_session(served.number, tls=client_context(alpn=("h2",)), name="a.test") as session:
                answer = await session.ask("/", scheme="https")
                (cookie,) = [value for name, value in answer.fields if name == b"set-cookie"]
                assert cookie.endswith(b"; Path=/; HttpOnly; Secure; SameSite=Strict")


async def test_an_http2_client_may_part_its_cookies() -> None:
    async with backends(2) as apps:
        with serving(route(choice(*(app.number for app in apps)))) as served:
            async with h2_session(served.number) as session:
                for _ in range(2):
                    first = dict((await session.ask("/")).fields)
                    value = first[b"set-cookie"].partition(b";")[0].decode()
                    for _ in range(4):
                        fields = [("cookie", "a=1"), ("cookie", value), ("cookie", "b=2")]
                        again = dict((await session.ask("/", fields=fields)).fields)
                        assert again[b"x-who"] == first[b"x-who"]
                        assert b"set-cookie" not in again


async def test_cookies_of_the_backend_stay_and_its_session_header_does_not() -> None:
    theirs = b"HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nX-Session: theirs\r\nContent-Length: 0\r\n\r\n"
    async with backend(keep=theirs) as app:
        for session in (COOKIE, HEADER):
            with serving(route(choice(app.number, header=session.header), session=session)) as served:
                async with client(served.number) as peer:
                    _, head = await ask(peer, session=session)
                    assert b"\r\nSet-Cookie: own=1\r\n" in head
                    assert (b"theirs" in head) == (not session.header)
                    assert given(head, session)


async def test_sessions_and_cors_of_one_rule() -> None:
    async with backends(2) as apps:
        each = route(choice(*(app.number for app in apps)), cors=Cors(origins=(b"https://a.example",)))
        with serving(each) as served:
            async with client(served.number) as peer:
                who, head = await ask(peer)
                request = b"GET / HTTP/1.1\r\nHost: a.test\r\nOrigin: https://a.example\r\nCookie: gwp=%b\r\n\r\n"
                for _ in range(4):
                    _, again, _ = await peer.ask(request % given(head))
                    assert b"X-Who: %d\r\n" % who in again
                    assert b"\r\naccess-control-allow-origin: https://a.example\r\n" in again


@pytest.mark.parametrize("session", [COOKIE, HEADER], ids=["cookie", "header"])
async def test_calls_of_a_grpc_route_have_sessions(session: Session) -> None:
    async def answer(call: H2Call) -> None:
        await call.whole()
        who = str(call.peer.writer.get_extra_info("sockname")[1])
        call.head(200, ("content-type", "application/grpc"), ("x-who", who))
        await call.send(b"\0\0\0\0\0", end=False)
        call.trail(("grpc-status", "0"))

    async with h2_backend(answer) as one, h2_backend(answer) as two:
        endpoints = tuple(Endpoint("127.0.0.1", each.number) for each in (one, two))
        target = Cluster(name="default/app:80", protocol=AppProtocol.H2C, endpoints=endpoints)
        each = route(BackendChoice(name=target.name, cluster=target), session=session, grpc=True)
        with serving(each) as served:
            async with h2_session(served.number) as peer:

                async def call(value: bytes) -> tuple[bytes, bytes]:
                    own = session.name.decode().lower() if session.header else "cookie"
                    text = (value if session.header else b"gwp=" + value).decode()
                    fields = [
                        ("content-type", "application/grpc"),
                        ("te", "trailers"),
                        *([(own, text)] if value else []),
                    ]
                    found = await peer.ask("/s/m", method="POST", body=b"\0\0\0\0\0", fields=fields)
                    assert dict(found.trailers)[b"grpc-status"] == b"0"
                    told = dict(found.fields)
                    new = told.get(session.name.lower() if session.header else b"set-cookie", b"")
                    return told[b"x-who"], new.removeprefix(b"gwp=").partition(b";")[0]

                seen = set()
                for _ in range(4):
                    who, value = await call(b"")
                    seen.add(who)
                    for _ in range(5):
                        assert await call(value) == (who, b"")
                assert len(seen) == 2
