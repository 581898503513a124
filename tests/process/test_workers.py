"""Workers that die, hang or start badly: replaced at once, and nothing but their own requests is lost."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.process import http_get, loopback_address, running, wait_until
from tests.support.threaded_backend import backend

_REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture
def config(tmp_path: Path) -> object:
    host = loopback_address()
    with backend() as app:
        write(
            tmp_path, gateway("gw", host, listener("http", 8080)), http_route("r", "app"), service("app", app.endpoint)
        )
        yield tmp_path, host, app


def test_the_accept_queue_of_a_killed_worker_is_served_by_its_successor(config: tuple) -> None:
    folder, host, _ = config
    with running(folder, workers=1) as gw:
        pid = gw.worker_pids()[0]
        os.kill(pid, signal.SIGSTOP)  # from now on the kernel completes handshakes and nobody accepts
        clients = [socket.create_connection((host, 8080), timeout=60) for _ in range(200)]
        for client in clients:
            client.sendall(_REQUEST)
        os.kill(pid, signal.SIGKILL)
        for client in clients:
            assert _all(client).startswith(b"HTTP/1.1 200 ")
            client.close()
        workers = gw.state()["workers"]
        assert workers[0]["pid"] != pid
        assert workers[0]["restarts"] == 1
        gw.wait_log(r"worker_died slot=0 how=\"killed by SIGKILL\"")


def test_a_killed_worker_loses_only_what_it_held(config: tuple) -> None:
    folder, host, app = config
    with running(folder, workers=2) as gw:
        connections = [http.client.HTTPConnection(host, 8080, timeout=60) for _ in range(40)]
        for connection in connections:
            connection.request("GET", "/hold")
            assert app.held.acquire(timeout=60)
        victim, other = gw.worker_pids()
        held_by_other = _n_connections(other, 8080)
        assert 0 < held_by_other < len(connections)
        os.kill(victim, signal.SIGKILL)
        app.release()
        outcomes = [_status(connection) for connection in connections]
        assert outcomes.count(200) == held_by_other
        assert gw.worker_pids()[1] == other
        gw.wait_ready()


def test_a_replaced_worker_serves_the_table_in_force_not_the_first(config: tuple) -> None:
    folder, host, app = config
    with running(folder, workers=1) as gw:
        write(folder, gateway("gw", host, listener("http", 8081)), http_route("r", "app"), service("app", app.endpoint))
        gw.reload()
        os.kill(gw.worker_pids()[0], signal.SIGKILL)
        gw.wait_until(lambda: gw.state()["workers"][0]["restarts"] == 1, "a new worker")
        gw.wait_ready()
        assert http_get(host, 8081).status == 200
        assert gw.state()["workers"][0]["generation"] == 2


def test_a_worker_killed_during_reloads_catches_up(config: tuple) -> None:
    folder, host, app = config
    with running(folder, workers=2) as gw:
        for n in range(5):
            routes = [http_route(f"r{n}", "app", path=f"/{n}") for n in range(n + 1)]
            write(folder, gateway("gw", host, listener("http", 8080)), *routes, service("app", app.endpoint))
            os.kill(gw.worker_pids()[n % 2] or gw.worker_pids()[1 - n % 2], signal.SIGKILL)
            assert gw.reload()["result"] == "applied"
            gw.wait_ready()
            assert http_get(host, 8080, f"/{n}").status == 200
        assert {worker["generation"] for worker in gw.state()["workers"]} == {6}


def test_counters_do_not_go_back_when_a_worker_dies(config: tuple) -> None:
    folder, host, _ = config
    with running(folder, workers=1) as gw:
        for _ in range(5):
            http_get(host, 8080)
        assert 'code="2xx"' in (shown := _requests_line(gw.get("/metrics").body))
        assert shown.endswith(" 5.0")
        os.kill(gw.worker_pids()[0], signal.SIGKILL)
        gw.wait_until(lambda: gw.state()["workers"][0]["restarts"] == 1, "a new worker")
        gw.wait_ready()
        http_get(host, 8080)
        assert _requests_line(gw.get("/metrics").body).endswith(" 6.0")


def test_a_hung_worker_does_not_hold_up_a_scrape(config: tuple) -> None:
    folder, _, _ = config
    with running(folder, workers=2) as gw:
        pid = gw.worker_pids()[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            assert gw.get("/metrics").status == 200
        finally:
            os.kill(pid, signal.SIGCONT)


def test_no_process_outlives_a_killed_supervisor(config: tuple) -> None:
    folder, _, _ = config
    with running(folder, workers=2) as gw:
        pids = _children(gw.pid)
        assert len(pids) == 3  # two workers and the compiler
        gw.signal(signal.SIGKILL)
        gw.wait_exit()
        wait_until(lambda: not any(_alive(pid) for pid in pids), "workers and compiler to end")


def test_a_killed_compiler_costs_one_reload_at_most(config: tuple) -> None:
    folder, host, _ = config
    with running(folder, workers=1) as gw:
        (compiler,) = set(_children(gw.pid)) - set(gw.worker_pids())
        os.kill(compiler, signal.SIGKILL)
        wait_until(lambda: not _alive(compiler), "the compiler to end")
        assert gw.reload()["result"] == "unchanged"
        assert http_get(host, 8080).status == 200


def _all(connection: socket.socket) -> bytes:
    data = b""
    while part := connection.recv(65_536):
        data += part
    return data


def _status(connection: http.client.HTTPConnection) -> int:
    try:
        return connection.getresponse().status
    except (http.client.HTTPException, OSError):
        return 0
    finally:
        connection.close()


def _requests_line(exposition: bytes) -> str:
    lines = exposition.decode().splitlines()
    return next(line for line in lines if line.startswith("gatewayproxy_requests_total{"))


def _n_connections(pid: int, port: int) -> int:
    """Return the established connections to local *port* whose socket process *pid* holds."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1].endswith(f":{port:04X}") and words[3] == "01":
            inodes.add(f"socket:[{words[9]}]")
    return sum(_link(f"/proc/{pid}/fd/{fd}") in inodes for fd in os.listdir(f"/proc/{pid}/fd"))


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
