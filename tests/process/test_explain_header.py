"""--explain-header-from: clients of those addresses are told which rule took their request, and nobody else is."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.ports import free_port
from tests.support.process import Answer, Gateway, loopback_address, running
from tests.support.seeds import curl

FIELD = "x-gatewayproxy-explain"
TRUSTED, STRANGER = "127.9.9.9", "127.9.9.10"


class _Liar(BaseHTTPRequestHandler):
    """A backend that says of itself what only the gateway should."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("X-Gatewayproxy-Explain", "lies")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def liar() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Liar) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class Site(NamedTuple):
    folder: Path
    host: str
    port: int
    liar: str
    gateway: Gateway

    def ask(self, path: str, host: str = "a.test", source: str = TRUSTED) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60, source_address=(source, 0))
        try:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


def save(folder: Path, host: str, port: int, liar: str, path: str = "/") -> None:
    redirect = http_route("away", "none", hostnames=["a.test"], path="/away")
    redirect["spec"]["rules"] = [{
        "matches": [{"path": {"value": "/away"}}],
        "filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": "b.test"}}],
    }]  # fmt: skip
    dead = http_route("dead", "dead", hostnames=["a.test"], path="/dead")
    write(
        folder,
        gateway("gw", host, listener("web", port)),
        http_route("app", "app", hostnames=["a.test"], path=path),
        redirect,
        dead,
        service("app", liar),
        service("dead", f"{host}:1"),
    )


@contextmanager
def serving(folder: Path, liar: str, *arguments: str) -> Iterator[Site]:
    host = loopback_address()
    port = free_port()
    save(folder, host, port, liar)
    with running(folder, workers=1, arguments=arguments) as process:
        yield Site(folder, host, port, liar, process)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, liar: str) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("site"), liar, "--explain-header-from", f"{TRUSTED}/32") as found:
        yield found


ON = 'listener="default/gw/web"'


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/x", 200, f'{ON}, route="HTTPRoute default/app", rule="0", backend="default/app:80", generation=1'),
        ("/away", 302, f'{ON}, route="HTTPRoute default/away", rule="0", reason="redirect", generation=1'),
        (
            "/dead", 503,
            f'{ON}, route="HTTPRoute default/dead", rule="0", backend="default/dead:80", reason="connect_failed", '
            "generation=1",
        ),
        ("/a b", 400, 'reason="bad_request_line", generation=1'),
    ],
)  # fmt: skip
def test_a_trusted_client_is_told_what_took_its_request(site: Site, path: str, status: int, said: str) -> None:
    if " " in path:
        with socket.create_connection((site.host, site.port), timeout=60, source_address=(TRUSTED, 0)) as client:
            client.sendall(b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % path.encode())
            head = client.recv(65_536).decode()
        assert head.startswith(f"HTTP/1.1 {status} ")
        assert f"{FIELD}: {said}\r\n" in head
        return
    answer = site.ask(path)
    assert (answer.status, answer.headers[FIELD]) == (status, said)


def test_a_host_that_no_route_has_is_told_as_well(site: Site) -> None:
    assert site.ask("/", "nobody.test").headers[FIELD] == f'{ON}, reason="no_route", generation=1'


@pytest.mark.parametrize("path", ["/x", "/away", "/dead", "/none"])
def test_others_are_told_nothing_not_even_by_a_backend(site: Site, path: str) -> None:
    assert FIELD not in site.ask(path, source=STRANGER).headers


def test_x_forwarded_for_makes_nobody_trusted(site: Site) -> None:
    connection = http.client.HTTPConnection(site.host, site.port, timeout=60, source_address=(STRANGER, 0))
    connection.request("GET", "/x", headers={"Host": "a.test", "X-Forwarded-For": TRUSTED})
    assert connection.getresponse().getheader(FIELD) is None
    connection.close()


def test_clients_of_http2_are_told_too(tmp_path: Path, liar: str) -> None:
    with serving(tmp_path, liar, "--explain-header-from", "127.0.0.0/8") as site:
        for path in ("/x", "/away"):
            url = f"http://a.test:{site.port}{path}"
            answer = curl(url, "--http2-prior-knowledge", "--resolve", f"a.test:{site.port}:{site.host}")
            assert answer.headers[FIELD].startswith(ON)


def test_after_a_reload_the_same_connection_is_told_the_new_generation(tmp_path: Path, liar: str) -> None:
    with serving(tmp_path, liar, "--explain-header-from", TRUSTED) as site:
        client = http.client.HTTPConnection(site.host, site.port, timeout=60, source_address=(TRUSTED, 0))
        for generation, path in ((1, "/"), (2, "/x")):
            if generation == 2:
                save(site.folder, site.host, site.port, liar, path)
                assert site.gateway.reload()["result"] == "applied"
            client.request("GET", "/x", headers={"Host": "a.test"})
            answer = client.getresponse()
            answer.read()
            assert (answer.getheader(FIELD) or "").endswith(f"generation={generation}")
        client.close()


def test_without_the_option_nothing_is_added_or_dropped(tmp_path: Path, liar: str) -> None:
    with serving(tmp_path, liar) as site:
        assert site.ask("/x").headers[FIELD] == "lies"
        assert FIELD not in site.ask("/none", "nobody.test").headers
