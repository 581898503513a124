"""What must hold while everything changes at once: readiness, streams, requests, and nothing left behind."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.manifests import gateway, http_route, listener, service, udp_route, udp_service, write
from tests.support.process import Gateway, loopback_address, running
from tests.support.threaded_backend import backend
from tests.support.threaded_udp import Client, udp_backend


@contextmanager
def polled(gw: Gateway, path: str) -> Iterator[list[int]]:
    """Ask for an admin page again and again on one connection; yield the statuses."""
    statuses: list[int] = []
    ended = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection(*gw.admin, timeout=60)
        while not ended.is_set():
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        thread.join(60)


def test_a_gateway_is_ready_all_through_a_reload(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        fixed = [gateway("gw", host, listener("http", 8080)), service("app", app.endpoint)]
        write(tmp_path, *fixed, http_route("r", "app"))
        with running(tmp_path, workers=2) as gw, polled(gw, "/readyz") as statuses:
            for n in range(40):
                write(tmp_path, *fixed, http_route("r", "app", path=f"/{n}"))
                assert gw.reload()["result"] == "applied"
        assert len(statuses) > 40
        assert set(statuses) == {200}


def test_a_udp_port_that_goes_and_comes_back_without_flows_is_served_and_leaks_nothing(tmp_path: Path) -> None:
    host = loopback_address()
    with udp_backend() as app:
        rest = [udp_route("r", ("app", 1), section="dns"), udp_service("app", app.endpoint)]
        fixed = listener("other", 5301, "UDP")
        with_port = [gateway("gw", host, fixed, listener("dns", 5300, "UDP")), *rest]
        write(tmp_path, *with_port)
        with running(tmp_path, workers=2) as gw:
            pids = gw.worker_pids()
            n_before = sum(map(_n_descriptors, pids))
            for _ in range(4):
                write(tmp_path, gateway("gw", host, fixed), *rest)
                assert gw.reload()["result"] == "applied"
                write(tmp_path, *with_port)
                assert gw.reload()["result"] == "applied"
            assert "listener_not_opened" not in gw.log
            gw.wait_until(lambda: sum(map(_n_descriptors, pids)) <= n_before, "no more descriptors than before")
            for _ in range(8):  # the kernel spreads them over both workers
                with Client(host, 5300) as client:
                    assert client.ask()[0] == "app"


def _n_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
