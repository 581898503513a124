"""CORS over real sockets, by HTTP/1.1 and HTTP/2: preflights, what answers say, and a browser's opinion of it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatewayproxy.compiler.lower.edits import cors_fields, fold
from gatewayproxy.model.headops import HeadOp, Respond, Set
from gatewayproxy.model.plan import Cluster
from gatewayproxy.model.traffic import ANY, Cors
from gatewayproxy.routing.table import BackendChoice, Candidate, HostIndex, PathIndex, RouteEntry, VirtualHost
from tests.support.backend import Backend, backend, client
from tests.support.h2client import h2_session
from tests.support.worker import LABEL, Served, cluster, entry, serve, vhost

A = b"https://a.example"
CORS = Cors(
    origins=(A, b"https://*.b.example"), methods=(b"GET", b"PUT"), headers=(b"x-one",), expose=(b"x-two",),
    max_age_s=60,
)  # fmt: skip


def route(target: Cluster, cors: Cors | None = CORS, *ops: HeadOp, **rest: Any) -> RouteEntry:
    response = fold((*ops, *(cors_fields(cors) if cors is not None else ())))
    return entry(BackendChoice(name=target.name, cluster=target, response=response), cors=cors, **rest)


@asynccontextmanager
async def gateway(
    cors: Cors = CORS, *ops: HeadOp, answer: bytes | None = None
) -> AsyncIterator[tuple[Served, Backend]]:
    async with backend(*([answer] * 9 if answer else [])) as app:
        with serve(HostIndex(default=vhost({b"": route(cluster(app.number), cors, *ops)}))) as served:
            yield served, app


def ask(method: bytes = b"GET", origin: bytes | None = A, *lines: bytes, path: bytes = b"/p") -> bytes:
    own = (b"Origin: " + origin,) if origin is not None else ()
    return b"\r\n".join((b"%b %b HTTP/1.1" % (method, path), b"Host: a.test", *own, *lines, b"", b""))


def preflight(method: bytes = b"PUT", origin: bytes = A, *lines: bytes, path: bytes = b"/p") -> bytes:
    return ask(b"OPTIONS", origin, b"Access-Control-Request-Method: " + method, *lines, path=path)


def told(head: bytes) -> dict[str, str]:
    """Return what a head says of CORS; every field stands there once."""
    pairs = [line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:-2]]
    cors = [(name, value) for name, value in pairs if name.startswith("access-control-") or name == "vary"]
    assert len(dict(cors)) == len(cors)
    return {name.removeprefix("access-control-"): value for name, value in cors}


async def test_a_preflight_is_answered_here() -> None:
    async with gateway() as (served, app), client(served.number) as peer:
        status, head, body = await peer.ask(preflight(b"PUT", A, b"Access-Control-Request-Headers: x-one"))
        assert (status, body) == (200, b"")
        assert told(head) == {
            "allow-origin": A.decode(),
            "allow-methods": "get, put",
            "allow-headers": "x-one",
            "expose-headers": "x-two",
            "max-age": "60",
            "vary": "origin, access-control-request-method, access-control-request-headers",
        }
        assert app.heads == []
        assert served.reasons() == {"preflight": 1}
        assert (await peer.ask(ask()))[0] == 200  # the connection goes on
        assert served.records[0].route == "HTTPRoute default/r"
        assert all(row.active == 0 for row in served.context.stats.rows.values())


async def test_a_preflight_of_another_origin_is_refused() -> None:
    async with gateway() as (served, app), client(served.number) as peer:
        status, head, _ = await peer.ask(preflight(origin=b"https://evil.example"))
        assert status == 403
        assert set(told(head)) == {"vary"}
        assert app.heads == []
        assert served.reasons() == {"origin_not_allowed": 1}


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(ask(b"OPTIONS", A), id="without a method to come"),
        pytest.param(ask(b"OPTIONS", None, b"Access-Control-Request-Method: PUT"), id="without an origin"),
        pytest.param(ask(b"GET", A, b"Access-Control-Request-Method: PUT"), id="not OPTIONS"),
    ],
)
async def test_what_is_no_preflight_goes_to_the_backend(request_: bytes) -> None:
    async with gateway() as (served, app), client(served.number) as peer:
        assert (await peer.ask(request_))[0] == 200
        assert len(app.heads) == 1


async def test_the_rule_of_the_request_to_come_answers_a_preflight() -> None:
    async with backend() as app:
        target = cluster(app.number)
        put = route(target, replace(CORS, max_age_s=111))
        rest = route(target, replace(CORS, max_age_s=222))
        plain = route(target, None)
        paths = PathIndex(
            prefix={
                b"/p": (Candidate(entry=put, method=b"PUT"), Candidate(entry=rest)),
                b"/plain": (Candidate(entry=plain),),
            },
            depth=1,
        )
        with serve(HostIndex(default=VirtualHost(listener=LABEL, layers=(paths,)))) as served:
            async with client(served.number) as peer:
                assert told((await peer.ask(preflight(b"PUT")))[1])["max-age"] == "111"
                assert told((await peer.ask(preflight(b"PATCH")))[1])["max-age"] == "222"
                assert app.heads == []
                assert (await peer.ask(preflight(path=b"/plain")))[0] == 200  # the backend may know CORS itself
                assert len(app.heads) == 1
                assert (await peer.ask(preflight(path=b"/nowhere")))[0] == 404


@pytest.mark.parametrize(
    ("cors", "origin", "said"),
    [
        pytest.param(CORS, A, {"allow-origin": A.decode(), "expose-headers": "x-two", "vary": "origin"}, id="allowed"),
        pytest.param(
            CORS,
            b"https://x.y.b.example",
            {"allow-origin": "https://x.y.b.example", "expose-headers": "x-two", "vary": "origin"},
            id="by a wildcard",
        ),
        pytest.param(CORS, b"https://c.example", {"vary": "origin"}, id="not allowed"),
        pytest.param(CORS, None, {"vary": "origin"}, id="none"),
        pytest.param(Cors(origins=ANY), A, {"allow-origin": "*"}, id="any"),
        pytest.param(Cors(origins=ANY), None, {"allow-origin": "*"}, id="any, none"),
        pytest.param(
            Cors(origins=ANY, credentials=True),
            A,
            {"allow-origin": A.decode(), "allow-credentials": "true", "vary": "origin"},
            id="any with credentials",
        ),
        pytest.param(Cors(), A, {}, id="nobody"),
    ],
)
@pytest.mark.parametrize("theirs", [False, True], ids=["", "a backend with CORS of its own"])
async def test_an_answer_says_of_cors_what_the_filter_says(
    cors: Cors, origin: bytes | None, said: dict[str, str], theirs: bool
) -> None:
    fields = (
        b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\nAccess-Control-Max-Age: 9\r\n"
    )
    answer = b"HTTP/1.1 200 OK\r\n%bContent-Length: 2\r\n\r\nok" % (fields if theirs else b"")
    async with gateway(cors, answer=answer) as (served, _), client(served.number) as peer:
        for _ in range(2):
            status, head, body = await peer.ask(ask(origin=origin))
            assert (status, body, told(head)) == (200, b"ok", said)
        async with h2_session(served.number) as session:
            fields_ = [("origin", origin.decode())] if origin is not None else []
            for _ in range(2):
                answer_ = await session.ask("/p", fields=fields_)
                head = b"\r\n".join((b"", *(b"%b: %b" % pair for pair in answer_.fields[1:]), b"", b""))
                assert told(head) == said


async def test_one_connection_carries_the_requests_of_many_origins() -> None:
    async with gateway() as (served, _), client(served.number) as peer:
        for n in (*range(1100), 0, 5):  # beyond what is kept
            origin = b"https://o%d.b.example" % n
            _, head, _ = await peer.ask(ask(origin=origin))
            assert told(head)["allow-origin"] == origin.decode()


async def test_vary_of_the_backend_stays() -> None:
    answer = b"HTTP/1.1 200 OK\r\nVary: Accept\r\nContent-Length: 2\r\n\r\nok"
    async with gateway(answer=answer) as (served, _), client(served.number) as peer:
        _, head, _ = await peer.ask(ask())
        assert b"\r\nVary: Accept\r\n" in head
        assert b"\r\nvary: origin\r\n" in head


async def test_a_header_filter_of_the_rule_does_not_say_it_twice() -> None:
    async with gateway(CORS, Set(b"Access-Control-Allow-Origin", b"*")) as (served, _), client(served.number) as peer:
        assert told((await peer.ask(ask()))[1])["allow-origin"] == A.decode()


async def test_a_script_may_read_of_failures_too() -> None:
    respond = Respond(status=302, scheme=b"http", host=b"b.test", port=b"", path=None, prefix=None)
    moved = entry(BackendChoice(name="", respond=respond), cors=CORS)
    gone = entry(BackendChoice(name="default/app:80", cluster=cluster()), cors=CORS)
    with serve(HostIndex(default=vhost({b"": gone, b"/moved": moved}))) as served:
        async with client(served.number) as peer:
            for path, status in ((b"/", 503), (b"/moved", 302)):
                found, head, _ = await peer.ask(ask(path=path))
                assert found == status
                assert told(head) == {"allow-origin": A.decode(), "expose-headers": "x-two", "vary": "origin"}


async def test_preflights_over_http2() -> None:
    async with gateway() as (served, app):
        async with h2_session(served.number) as session:
            for origin, status in ((A, 200), (b"https://evil.example", 403), (A, 200)):
                fields = [("origin", origin.decode()), ("access-control-request-method", "PUT")]
                answer = await session.ask("/p", method="OPTIONS", fields=fields)
                assert answer.status == status
                assert (b"access-control-allow-origin" in dict(answer.fields)) == (status == 200)
        assert app.heads == []


PAGE = """<!doctype html><title>wait</title><script>
const there = "http://127.0.0.1:{gateway}";
const outcome = {{}};
async function ask(name, path, options) {{
  try {{
    const answer = await fetch(there + path, options);
    outcome[name] = [answer.status, await answer.text(), answer.headers.get("x-two"), answer.headers.get("x-three")];
  }} catch (error) {{ outcome[name] = "refused"; }}
}}
(async () => {{
  await ask("simple", "/open/p", {{}});
  await ask("preflighted", "/open/p", {{method: "PUT", body: "b", headers: {{"x-one": "1"}}}});
  await ask("credentials", "/open/p", {{method: "PUT", credentials: "include"}});
  await ask("another method", "/open/p", {{method: "DELETE"}});
  await ask("another field", "/open/p", {{headers: {{"x-other": "1"}}}});
  await ask("another origin", "/shut/p", {{}});
  await ask("another origin, preflighted", "/shut/p", {{method: "PUT"}});
  await ask("a failure", "/gone/p", {{}});
  await ask("grpc-web", "/open/s/m", {{method: "POST", body: "AAAAAAA=",
    headers: {{"content-type": "application/grpc-web-text", "x-one": "1"}}}});
  await fetch("/told", {{method: "POST", body: JSON.stringify(outcome)}});
}})();
</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine")
async def test_a_browser_does_what_the_filter_says(tmp_path: Path) -> None:
    outcome: list[dict[str, Any]] = []

    async def site(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST /told"):
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:")
            outcome.append(json.loads(await reader.readexactly(length)))
        body = page.encode() if head.startswith(b"GET / ") else b""
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
        writer.write(answer % (len(body), body))

    answer = (
        b"HTTP/1.1 200 OK\r\nX-Two: 2\r\nX-Three: 3\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\nok"
    )
    async with backend(raw=site) as pages, backend(keep=answer) as app:
        own = Cors(
            origins=(b"http://localhost:%d" % pages.number,), methods=(b"PUT",), headers=(b"x-one", b"content-type"),
            expose=(b"x-two",), credentials=True,
        )  # fmt: skip
        target = cluster(app.number)
        gone = entry(BackendChoice(name="default/gone:80", cluster=cluster(name="default/gone:80")), cors=own)
        prefixes = {b"/open": route(target, own), b"/shut": route(target, CORS), b"/gone": gone}
        with serve(HostIndex(default=vhost(prefixes))) as served:
            page = PAGE.format(gateway=served.number)
            command = [
                "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path}",
                "--remote-debugging-port=0", f"http://localhost:{pages.number}/",
            ]  # fmt: skip
            browser = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            try:
                async with asyncio.timeout(200):
                    while not outcome:
                        await asyncio.sleep(0.02)
            finally:
                browser.kill()
                await browser.wait()
    good = [200, "ok", "2", None]
    assert outcome == [
        {
            "simple": good,
            "preflighted": good,
            "credentials": good,
            "another method": "refused",
            "another field": "refused",
            "another origin": "refused",
            "another origin, preflighted": "refused",
            "a failure": [503, "503 Service Unavailable: no_endpoints\n", None, None],
            "grpc-web": good,
        }
    ]
