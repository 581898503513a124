"""WebSockets through the real process: the `websockets` library at both ends, and Chromium over HTTP/2.

The ids are the table: how the client connects, the appProtocol of the Service.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from tests.support.certs import certificate, client_context
from tests.support.manifests import gateway, http_route, listener, service, tls_secret, write
from tests.support.peers import require
from tests.support.process import Gateway, loopback_address, running, wait_until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("http2-clients")]

DOMAIN = "ws.example.com"
PROTOCOLS = {"plain": "", "ws": "kubernetes.io/ws"}
BIG = bytes(range(256)) * (40 << 10)  # 10 MiB
PAGE = b"""<!doctype html><title>page</title><script>
const socket = new WebSocket("wss://" + location.host + "/browser"), big = "x".repeat(1 << 20), heard = [];
socket.onopen = () => { socket.send("hello"); socket.send(big); };
socket.onmessage = (event) => { heard.push(event.data.length); if (heard.length == 2) socket.close(1000, "bye"); };
socket.onclose = (event) => fetch(`/told?heard=${heard.join("-")}&code=${event.code}&clean=${event.wasClean}`);
socket.onerror = () => fetch("/told?error");
</script>"""


@dataclass
class Served:
    host: str
    gateway: Gateway
    folder: Path

    async def open(self, way: str, protocol: str, **options: object) -> ClientConnection:
        """Open a WebSocket to the Service of *protocol*."""
        name = f"{protocol}.{DOMAIN}"
        if way == "wss":
            context = client_context(alpn=("http/1.1",))
            return await connect(
                f"wss://{name}:8443/echo", host=self.host, port=8443, ssl=context, max_size=None, proxy=None, **options
            )
        return await connect(f"ws://{name}:8080/echo", host=self.host, port=8080, max_size=None, proxy=None, **options)

    def logged(self, **fields: object) -> dict[str, Any] | None:
        """Return a line of the access log with these *fields*."""
        lines = map(json.loads, self.gateway.output)
        return next((line for line in lines if all(line.get(k) == v for k, v in fields.items())), None)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def page(connection: ServerConnection, request: Request) -> Response | None:
    """Answer what is no WebSocket: with a page that opens one."""
    if "Upgrade" in request.headers:
        return None
    response = connection.respond(200, "")
    del response.headers["Content-Type"], response.headers["Content-Length"]
    response.headers["Content-Type"], response.headers["Content-Length"] = "text/html", str(len(PAGE))
    response.body = PAGE
    return response


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    host, folder = loopback_address(), tmp_path_factory.mktemp("websockets")
    tls = {"mode": "Terminate", "certificateRefs": [{"name": "cert"}]}
    async with serve(echo, "127.0.0.1", 0, max_size=None, process_request=page) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        write(
            folder,
            gateway("gw", host, listener("http", 8080), listener("https", 8443, "HTTPS", tls=tls)),
            tls_secret("cert", certificate(f"*.{DOMAIN}")),
            *(service(name, f"127.0.0.1:{port}", protocol=protocol) for name, protocol in PROTOCOLS.items()),
            *(http_route(name, name, hostnames=[f"{name}.{DOMAIN}"]) for name in PROTOCOLS),
        )
        with running(folder, arguments=["--access-log", "-"]) as gateway_process:
            yield Served(host, gateway_process, folder)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("way", ["ws", "wss"])
async def test_ten_megabytes_go_and_come_back(served: Served, way: str, protocol: str) -> None:
    async with asyncio.timeout(60), await served.open(way, protocol) as connection:
        for message in ("text ü", b"\x00\xff", BIG, ""):
            await connection.send(message)
            assert await connection.recv() == message
        await (await connection.ping())
        await connection.close(4321, "done")
        assert (connection.close_code, connection.close_reason) == (4321, "done")


async def test_compression_is_between_the_ends(served: Served) -> None:
    async with asyncio.timeout(60), await served.open("ws", "ws", compression="deflate") as connection:
        assert "permessage-deflate" in str(connection.response and connection.response.headers)
        await connection.send("x" * 100_000)
        assert await connection.recv() == "x" * 100_000


async def test_an_open_one_lives_on_across_reloads(served: Served) -> None:
    async with asyncio.timeout(60), await served.open("wss", "plain") as connection:
        for n in range(2):
            write(served.folder, http_route(f"more-{n}", "plain", hostnames=[f"more-{n}.{DOMAIN}"]), name="more.yaml")
            assert (await asyncio.to_thread(served.gateway.reload))["result"] == "applied"
            await connection.send(f"after {n}")
            assert await connection.recv() == f"after {n}"


@contextmanager
def chromium(served: Served, folder: Path, url: str) -> Iterator[None]:
    """Let a headless Chromium open *url*, whose name leads to the gateway."""
    command = [
        require("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking", "--no-first-run", "--ignore-certificate-errors", "--no-proxy-server",
        f"--user-data-dir={folder}", f"--host-resolver-rules=MAP *.{DOMAIN} {served.host}", "--remote-debugging-port=0",
        url,
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, 9)


async def test_chromium_has_its_page_and_its_websocket_over_http2(served: Served, tmp_path: Path) -> None:
    name = f"ws.{DOMAIN}"
    told = "/told?heard=5-1048576&code=1000&clean=true"
    with chromium(served, tmp_path / "profile", f"https://{name}:8443/page"):
        await asyncio.to_thread(wait_until, lambda: served.logged(target=told), "Chromium's report", 200)
    page_line = served.logged(target="/page")
    assert page_line is not None
    assert page_line["protocol"] == "https/2"
    line = await asyncio.to_thread(wait_until, lambda: served.logged(target="/browser"), "its end")
    assert (line["protocol"], line["status"], line.get("reason")) == ("https/2", 200, None)  # 101 over HTTP/1.1
    assert min(line["bytes_in"], line["bytes_out"]) > 1000  # 1 MiB each, compressed between the ends
