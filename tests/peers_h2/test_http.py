"""HTTP through the real process: curl, nghttp and h2load, over HTTP/1.1 and HTTP/2, to servers that speak either.

The ids are the table: how the client speaks, what the backend speaks, what is asked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.certs import authority, certificate
from tests.support.http_peers import http1_server, nginx_h2c, pattern
from tests.support.manifests import gateway, http_route, listener, service, tls_secret, write
from tests.support.peers import require, run
from tests.support.process import Gateway, loopback_address, running, wait_until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("http2-clients")]

DOMAIN = "pairs.example.com"
BACKENDS = {"h1": "HTTP/1.1", "h2c": "HTTP/2.0"}
WAYS = {  # curl's flag, whether inside TLS, the version that it then speaks
    "h1": ("--http1.1", False, "1.1"),
    "h1-tls": ("--http1.1", True, "1.1"),
    "h2c": ("--http2-prior-knowledge", False, "2"),
    "h2": ("--http2", True, "2"),
}
MIB = 1 << 20


@dataclass
class Served:
    host: str
    gateway: Gateway
    folder: Path

    def url(self, backend: str, path: str, *, tls: bool) -> str:
        return f"{'https' if tls else 'http'}://{backend}.{DOMAIN}:{8443 if tls else 8080}{path}"

    def resolve(self, backend: str) -> list[str]:
        ports = (8080, 8443)
        return [word for port in ports for word in ("--resolve", f"{backend}.{DOMAIN}:{port}:{self.host}")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    host, folder = loopback_address(), tmp_path_factory.mktemp("http")
    authority().cert_pem.write_to_path(str(folder / "ca.pem"))
    manifests = folder / "manifests"
    tls = {"mode": "Terminate", "certificateRefs": [{"name": "cert"}]}
    with ExitStack() as stack:
        origin = stack.enter_context(http1_server())
        async with nginx_h2c(origin, folder) as front:
            write(
                manifests,
                gateway("gw", host, listener("http", 8080), listener("https", 8443, "HTTPS", tls=tls)),
                tls_secret("cert", certificate(f"*.{DOMAIN}")),
                service("h1", f"127.0.0.1:{origin}"),
                service("h2c", f"127.0.0.1:{front}", protocol="kubernetes.io/h2c"),
                *(http_route(name, name, hostnames=[f"{name}.{DOMAIN}"]) for name in BACKENDS),
            )
            yield Served(host, stack.enter_context(running(manifests, arguments=["--access-log", "-"])), folder)


@dataclass
class Asking:
    """A client that speaks one way to one backend."""

    served: Served
    way: str
    backend: str

    async def curl(self, path: str, *options: str | Path, stdin: bytes = b"") -> tuple[int, bytes]:
        """Return status and body of what curl gets; it speaks the version that it should."""
        flag, tls, version = WAYS[self.way]
        out = self.served.folder / f"body-{self.way}-{self.backend}"
        out.unlink(missing_ok=True)
        code, said = await run(
            require("curl"), "-sS", flag, "--cacert", self.served.folder / "ca.pem", *self.served.resolve(self.backend),
            "-o", out, "-w", "%{http_code} %{http_version}", "--max-time", "60", *options,
            self.served.url(self.backend, path, tls=tls), stdin=stdin,
        )  # fmt: skip
        assert code == 0, said
        status, spoken = said.split()
        assert spoken == version
        return int(status), out.read_bytes() if out.exists() else b""

    async def seen(self, *options: str | Path, stdin: bytes = b"") -> Any:
        """Return what the backend saw of a POST to /digest; it was asked in its own protocol."""
        status, body = await self.curl("/digest", *options, stdin=stdin)
        assert status == 200, body
        told = json.loads(body)
        assert told["protocol"] == BACKENDS[self.backend]
        return told


async def get(asking: Asking) -> None:
    seen = await asking.seen()
    assert seen["fields"]["host"].startswith(f"{asking.backend}.{DOMAIN}:")
    assert seen["fields"]["x-forwarded-proto"] == ("https" if WAYS[asking.way][1] else "http")


async def head(asking: Asking) -> None:
    status, said = await asking.curl("/bytes/1000", "-I")
    assert status == 200
    assert b"content-length: 1000\r\n" in said


async def no_content(asking: Asking) -> None:
    assert await asking.curl("/none") == (204, b"")


async def one_megabyte(asking: Asking) -> None:
    assert await asking.curl(f"/bytes/{MIB}") == (200, pattern(MIB))


async def ten_megabytes_of_unknown_length(asking: Asking) -> None:
    assert await asking.curl(f"/stream/{10 * MIB}") == (200, pattern(10 * MIB))


async def upload(asking: Asking) -> None:
    seen = await asking.seen("-H", "Expect:", "--data-binary", "@-", stdin=pattern(5 * MIB))
    assert (seen["length"], seen["digest"]) == (5 * MIB, hashlib.sha256(pattern(5 * MIB)).hexdigest())


async def upload_of_unknown_length(asking: Asking) -> None:
    seen = await asking.seen("-H", "Expect:", "-X", "POST", "-T", "-", stdin=pattern(5 * MIB))
    assert (seen["length"], seen["digest"]) == (5 * MIB, hashlib.sha256(pattern(5 * MIB)).hexdigest())
    assert "content-length" not in seen["fields"]


async def expect_continue(asking: Asking) -> None:
    seen = await asking.seen("-H", "Expect: 100-continue", "-d", "x" * 2000)
    assert seen["length"] == 2000


async def empty_post(asking: Asking) -> None:
    assert (await asking.seen("-d", ""))["length"] == 0


async def many_fields(asking: Asking) -> None:
    options = [word for n in range(50) for word in ("-H", f"X-Field-{n}: {'v' * n}")]
    fields = (await asking.seen(*options, "-b", "a=1; b=2"))["fields"]
    assert all(fields.get(f"x-field-{n}", "") == "v" * n for n in range(50))
    assert fields["cookie"] == "a=1; b=2"


ASKED: list[Callable[[Asking], Awaitable[None]]] = [
    get, head, no_content, one_megabyte, ten_megabytes_of_unknown_length, upload, upload_of_unknown_length,
    expect_continue, empty_post, many_fields,
]  # fmt: skip


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.__name__)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", WAYS)
async def test_curl_gets_the_same_by_every_pairing(
    served: Served, way: str, backend: str, asked: Callable[[Asking], Awaitable[None]]
) -> None:
    await asked(Asking(served, way, backend))


@pytest.mark.parametrize("way", ["h2c", "h2"])
async def test_trailers_of_an_http1_backend_reach_curl(served: Served, way: str) -> None:
    dump = served.folder / "dump"
    asking = Asking(served, way, "h1")
    assert await asking.curl("/trailers", "-H", "TE: trailers", "-D", dump) == (200, b"body")
    assert "x-sum: 42" in dump.read_text()


async def test_the_obsolete_upgrade_to_h2c_is_ignored(served: Served) -> None:
    code, said = await run(
        require("curl"), "-sS", "--http2", *served.resolve("h1"), "-o", "/dev/null",
        "-w", "%{http_code} %{http_version}", served.url("h1", "/digest", tls=False),
    )  # fmt: skip
    assert (code, said) == (0, "200 1.1")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["h1", "h1-tls"])
async def test_an_early_answer_reaches_curl(served: Served, way: str, backend: str) -> None:
    asking = Asking(served, way, backend)
    assert await asking.curl("/early", "-X", "POST", "-T", "-", "-H", "Expect:", stdin=pattern(MIB)) == (
        413,
        b"too much",
    )


async def nghttp(served: Served, way: str, backend: str, path: str, *options: str | Path) -> str:
    """Return what nghttp says of frames and bodies."""
    tls = way == "h2"
    url = f"{'https' if tls else 'http'}://{served.host}:{8443 if tls else 8080}{path}"
    code, said = await run(
        require("nghttp"), "-v", "--no-verify-peer", "-H", f":authority: {backend}.{DOMAIN}", *options, url
    )
    assert code == 0, said
    return said


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["h2c", "h2"])
async def test_an_early_answer_reaches_nghttp(served: Served, way: str, backend: str) -> None:
    # Not curl 7.88, to which RST_STREAM (NO_ERROR) behind a whole answer is a failure, nginx's too. RFC 9113 §8.1.
    (served.folder / "mib").write_bytes(pattern(MIB))
    said = await nghttp(served, way, backend, "/early", "-d", served.folder / "mib")
    assert ":status: 413" in said
    assert "too much" in said


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["h2c", "h2"])
async def test_nghttp_speaks_by_every_pairing(served: Served, way: str, backend: str) -> None:
    said = await nghttp(served, way, backend, "/digest", "-H", "cookie: a=1", "-H", "cookie: b=2", "-H", "te: trailers")
    assert ":status: 200" in said
    body = next(line for line in said.splitlines() if '"protocol"' in line)
    seen = json.loads(body[body.index("{") : body.rindex("}") + 1])
    assert seen["protocol"] == BACKENDS[backend]
    assert seen["fields"]["cookie"] == "a=1; b=2"  # RFC 9113 §8.2.3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["h2c", "h2"])
async def test_h2load_has_every_request_answered(served: Served, way: str, backend: str) -> None:
    tls = way == "h2"
    url = f"{'https' if tls else 'http'}://{served.host}:{8443 if tls else 8080}/bytes/1000"
    if tls:
        url = url.replace(served.host, f"{backend}.{DOMAIN}")
    connect = f"--connect-to={served.host}:{8443 if tls else 8080}"
    code, said = await run(
        require("h2load"), "-n", "400", "-c", "4", "-m", "10", "-H", f":authority: {backend}.{DOMAIN}", connect, url
    )
    assert code == 0, said
    assert re.search(r"400 succeeded, 0 failed, 0 errored", said), said
    assert "status codes: 400 2xx" in said


async def test_the_access_log_tells_how_each_client_spoke(served: Served) -> None:
    spoken = {"h1": "http/1.1", "h1-tls": "https/1.1", "h2c": "http/2", "h2": "https/2"}
    for n, (way, protocol) in enumerate(spoken.items()):
        await Asking(served, way, "h1").curl(f"/bytes/{n}")
        found = partial(protocols, served, f"/bytes/{n}")
        assert wait_until(found, f"/bytes/{n} in the access log") == [protocol]


def protocols(served: Served, target: str) -> list[str]:
    """Return what the access log says of requests for *target*."""
    lines = map(json.loads, served.gateway.output)
    return [line["protocol"] for line in lines if line["target"] == target]
