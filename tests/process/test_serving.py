"""The real process: from a folder to an answer, and what the admin server tells of it."""

from __future__ import annotations

import socket
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.process import Gateway, http_get, loopback_address, running
from tests.support.threaded_backend import backend


def _metric(gateway: Gateway, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(gateway.get("/metrics").body.decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


def test_a_folder_of_manifests_serves_and_says_so(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(
            tmp_path, gateway("gw", host, listener("http", 8080)), http_route("r", "app"), service("app", app.endpoint)
        )
        with running(tmp_path) as gw:
            assert http_get(host, 8080, "/x").json["path"] == "/x"
            assert gw.get("/healthz").status == gw.get("/readyz").status == 200
            conditions = gw.objects()["Gateway", "gw"]["status"]["conditions"]
            assert {c["type"]: c["status"] for c in conditions} == {"Accepted": "True", "Programmed": "True"}
            assert gw.stop() == 0


def test_metrics_are_summed_over_the_workers(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(
            tmp_path, gateway("gw", host, listener("http", 8080)), http_route("r", "app"), service("app", app.endpoint)
        )
        with running(tmp_path, workers=3) as gw:
            for _ in range(40):  # each on its own connection, spread by the kernel
                assert http_get(host, 8080).status == 200
            assert http_get(host, 8080, "/", {"Host": "x y"}).status == 400
            labels = {"listener": "default/gw/http", "route": "HTTPRoute default/r", "backend": "default/app:80"}
            assert _metric(gw, "gatewayproxy_requests_total", code="2xx", **labels) == 40
            assert _metric(gw, "gatewayproxy_request_duration_seconds_count", **labels) == 40
            assert _metric(gw, "gatewayproxy_downstream_connects_total") == 41
            assert _metric(gw, "gatewayproxy_config_generation") == 1
            processes = {"supervisor", "compiler", "worker-0", "worker-1", "worker-2"}
            for process in processes:
                assert _metric(gw, "gatewayproxy_process_resident_memory_bytes", process=process) > 1 << 20


def test_status_shows_no_secret(tmp_path: Path) -> None:
    host = loopback_address()
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque",
        "stringData": {"password": "hunter2-in-the-clear"}, "data": {"tls.key": "aHVudGVyMg=="},
    }  # fmt: skip
    write(tmp_path, gateway("gw", host, listener("http", 8080)), secret)
    with running(tmp_path, workers=1) as gw:
        body = gw.get("/status").body
        assert b"hunter2" not in body
        assert b"aHVudGVyMg" not in body
        assert gw.objects()["Secret", "s"]["data"].keys() == {"password", "tls.key"}


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, id="the index"),
        pytest.param(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 200, id="HEAD"),
        pytest.param(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404, id="an unknown page"),
        pytest.param(
            b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", 405, id="a method that writes"
        ),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: localhost:9\r\n\r\n", 200, id="localhost"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: [::1]:9\r\n\r\n", 200, id="an address"),
        pytest.param(b"GET /healthz HTTP/1.0\r\n\r\n", 200, id="no host"),
        pytest.param(b"GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, id="a name of someone's zone"),
        pytest.param(b"nonsense\r\n\r\n", 400, id="no HTTP"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, 431, id="an endless head"),
    ],
)
def test_the_admin_server_only_reads_and_bounds_what_it_is_sent(
    shared: Gateway, request_bytes: bytes, status: int
) -> None:
    with socket.create_connection(shared.admin, timeout=60) as connection:
        connection.sendall(request_bytes)
        line = connection.recv(65_536).partition(b"\r\n")[0].decode()
        assert line.startswith(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}")


def test_the_admin_server_closes_connections_beyond_its_bound(shared: Gateway) -> None:
    connections = [socket.create_connection(shared.admin, timeout=60) for _ in range(100)]
    try:
        for connection in connections:
            connection.setblocking(False)
        shared.wait_until(lambda: sum(map(_closed, connections)) >= 36, "connections to be closed")
    finally:
        for connection in connections:
            connection.close()
    shared.wait_until(lambda: shared.get("/healthz").status == 200, "room again")


def _closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("config")
    write(folder, gateway("gw", loopback_address(), listener("http", 8080)))
    with running(folder, workers=1) as gw:
        yield gw


def test_a_folder_that_is_not_there_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    gw = Gateway([str(tmp_path / "absent")])
    try:
        assert gw.wait_exit() == 1
        assert "No such file" in gw.log
        assert "hint=" in gw.log
    finally:
        gw.close()


def test_an_admin_address_in_use_ends_the_start_with_the_reason(tmp_path: Path, shared: Gateway) -> None:
    write(tmp_path, gateway("gw", loopback_address(), listener("http", 8080)))
    host, port = shared.admin
    gw = Gateway([str(tmp_path), "--admin", f"{host}:{port}"])
    try:
        assert gw.wait_exit() == 1
        assert f'admin_failed address={host}:{port} error="Address already in use" hint=' in gw.log
    finally:
        gw.close()
