"""Trailers: what stands behind a body cannot speak for the head. RFC 9110 §6.5.1, §7.6.1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gatewayproxy.model.headops import HeadEdit
from gatewayproxy.model.plan import Cluster, ExternalAuth
from gatewayproxy.routing.table import Auth, BackendChoice, HostIndex, Mirror, RouteEntry
from tests.support.backend import backend, client, until
from tests.support.external_auth import auth_cluster
from tests.support.pairings import ENDPOINTS, FRONTS, Fields, Pairing, Script, pairings
from tests.support.worker import cluster, entry, forward, serve, vhost

EDIT = HeadEdit(cut=frozenset({b"x-user", b"x-gone"}), append=b"x-user: us\r\nX-Tag: ours\r\n")
SPOOFS = (("x-user", "root"), ("x_user", "root"), ("x-gone", "1"), ("x-tag", "theirs"))
OF_THE_HEAD = (
    "host", "content-length", "content-type", "content-encoding", "authorization", "cookie", "x-forwarded-for",
    "x_forwarded_proto", "x-request-id", "x-real-ip", "forwarded", "via", "max-forwards", "expect", "range", "if-match",
    "cache-control", "proxy-authorization", "origin", "accept", "accept-language", "trailer", "sec-websocket-key",
)  # fmt: skip
YES = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-User: ada\r\n\r\n"

# The body is there when the head is read, or comes later: it is told by the answer that both have begun.
apart = pytest.mark.parametrize("apart", [False, True], ids=["at once", "later"])


def edited(target: Cluster) -> RouteEntry:
    return forward(target, request=EDIT)


async def trailers_at_the_endpoint(
    pair: Pairing, trailers: Fields, *, apart: bool, entry: Callable[[Cluster], RouteEntry] = forward
) -> dict[str, str]:
    async with pair.run(Script(echoes=True), entry=entry) as (front, seen, _):
        await front.open("POST", "/", (), length=None)
        if apart:
            assert (await front.head())[0] == 200
        await front.send(b"body")
        await front.end((*trailers, ("x-sum", "12")))
        if not apart:
            assert (await front.head())[0] == 200
        assert await front.rest() == (b"body", seen.trailers)
        return seen.trailers


@apart
@pairings
async def test_fields_that_filters_decide_about_are_no_trailers(pair: Pairing, apart: bool) -> None:
    assert await trailers_at_the_endpoint(pair, SPOOFS, apart=apart, entry=edited) == {"x-sum": "12"}


@apart
@pairings
async def test_without_a_filter_they_are_trailers_as_any(pair: Pairing, apart: bool) -> None:
    assert await trailers_at_the_endpoint(pair, SPOOFS, apart=apart) == {**dict(SPOOFS), "x-sum": "12"}


@pytest.mark.parametrize("name", OF_THE_HEAD)
@pairings
async def test_fields_of_the_head_are_no_trailers(pair: Pairing, name: str) -> None:
    assert await trailers_at_the_endpoint(pair, ((name, "1"),), apart=False) == {"x-sum": "12"}


@pairings
async def test_fields_of_the_head_are_no_trailers_of_an_answer(pair: Pairing) -> None:
    spoofs = tuple((name, "1") for name in ("set-cookie", "location", "content-length", "date", "www-authenticate"))
    script = Script(body=b"abc", known_length=False, trailers=(*spoofs, ("x-sum", "12")))
    async with pair.run(script) as (front, _, _served):
        await front.open("GET", "/", (), length=0)
        await front.head()
        assert await front.rest() == (b"abc", {"x-sum": "12"})


@pytest.mark.parametrize("back", ["h2"])
async def test_the_trailers_of_a_grpc_call_go_on_whole(back: str) -> None:
    pair = Pairing(FRONTS["h2"], *ENDPOINTS[back])  # type: ignore[arg-type]
    trailers = (("date", "today"), ("x-user", "ada"), ("x-request-id", "1"), ("grpc-status", "0"))
    for make in (forward, edited):
        async with pair.run(Script(body=b"\0\0\0\0\0", trailers=trailers), entry=make) as (front, _, _served):
            await front.open("POST", "/s/m", (("content-type", "application/grpc"),), length=0)
            await front.head()
            assert await front.rest() == (b"\0\0\0\0\0", dict(trailers))


@pytest.mark.parametrize("back", ENDPOINTS)
async def test_fields_that_connection_names_are_no_trailers(back: str) -> None:
    pair = Pairing(FRONTS["h1"], *ENDPOINTS[back])  # type: ignore[arg-type]
    async with pair.run(Script(echoes=True)) as (front, seen, _):
        await front.open("POST", "/", (("Connection", "x-hop, Y_Hop"),), length=None)
        assert (await front.head())[0] == 200
        await front.end((("X-Hop", "1"), ("Y-Hop", "1"), ("x-sum", "12")))
        await front.rest()
        assert seen.trailers == {"x-sum": "12"}


@pytest.mark.parametrize("front", FRONTS)
async def test_fields_that_connection_names_are_no_trailers_of_an_answer(front: str) -> None:
    pair = Pairing(FRONTS[front], *ENDPOINTS["h1"])  # type: ignore[arg-type]
    script = Script(
        fields=(("Connection", "x-hop"),), body=b"abc", known_length=False, trailers=(("x-hop", "1"), ("x-sum", "12"))
    )
    async with pair.run(script) as (ask, _, _served):
        await ask.open("GET", "/", (), length=0)
        await ask.head()
        assert await ask.rest() == (b"abc", {"x-sum": "12"})


@pytest.mark.parametrize("body_bytes", [0, 100], ids=["unseen", "seen"])
@pytest.mark.parametrize("before", [None, HeadEdit(cut=frozenset({b"x-gone"}))], ids=["alone", "behind a filter"])
@pairings
async def test_fields_that_an_authorization_server_decides_about_are_no_trailers(
    pair: Pairing, body_bytes: int, before: HeadEdit | None
) -> None:
    async with backend(keep=YES) as auth:
        server = ExternalAuth(
            cluster=auth_cluster(auth.number), body_bytes=body_bytes, response_headers=(b"x-user", b"x-role")
        )

        def guarded(target: Cluster) -> RouteEntry:
            choice = BackendChoice(name=target.name, cluster=target)
            return entry(choice, auths=(Auth(server=server, before=before),))

        spoofs = (("x-user", "root"), ("x_user", "root"), ("x-role", "admin"), ("x-gone", "1"))
        got = await trailers_at_the_endpoint(pair, spoofs, apart=False, entry=guarded)
        assert got == {"x-sum": "12", **({} if before else {"x-gone": "1"})}


@pytest.mark.parametrize("copy", ENDPOINTS)
@pairings
async def test_a_mirror_gets_the_trailers_that_the_endpoint_gets(pair: Pairing, copy: str) -> None:
    endpoint, protocol = ENDPOINTS[copy]
    async with endpoint(Script(body=b"ok", known_length=False)) as copied:
        other = replace(cluster(copied.number, name="default/copy:80"), protocol=protocol)

        def mirrored(target: Cluster) -> RouteEntry:
            mirror = Mirror(cluster=other, numerator=1, denominator=1, request=EDIT)
            return forward(target, request=EDIT, mirrors=(mirror,))

        for apart in (False, True):
            copied.trailers.clear()
            got = await trailers_at_the_endpoint(pair, SPOOFS, apart=apart, entry=mirrored)
            await until(lambda: copied.trailers)
            assert got == copied.trailers == {"x-sum": "12"}


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        pytest.param(b"X-User: root\r\nX-Sum: 1\r\nx_tag: 2\r\n", b"X-Sum: 1\r\n", id="some"),
        pytest.param(b"X-User: root\r\n", b"", id="all"),
        pytest.param(b"X-Sum: 1\r\n", b"X-Sum: 1\r\n", id="none"),
    ],
)
async def test_a_request_of_one_write_ends_as_its_trailers_say(lines: bytes, kept: bytes) -> None:
    request = b"POST /%d HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n%b\r\n"
    async with backend() as app:
        index = HostIndex(exact={b"a.test": vhost({b"": edited(cluster(app.number))})})
        with serve(index) as served:
            async with client(served.number) as raw:
                for number in range(3):
                    assert (await raw.ask(request % (number, lines)))[0] == 200
        assert app.bodies == [b"4\r\nbody\r\n0\r\n%b\r\n" % kept] * 3
