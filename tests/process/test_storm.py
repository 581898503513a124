"""What must hold while everything changes at once: readiness, streams, requests, and nothing left behind."""

from __future__ import annotations

import http.client
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.manifests import gateway, http_route, listener, service, udp_route, udp_service, write
from tests.support.process import Gateway, http_get, loopback_address, running
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


def test_a_hangup_during_a_promotion_does_not_take_it_back(tmp_path: Path) -> None:
    host, active, candidate = loopback_address(), tmp_path / "active", tmp_path / "candidate"
    with backend() as app:
        fixed = [gateway("gw", host, listener("http", 8080)), service("app", app.endpoint)]
        write(active, *fixed, http_route("r", "app", path="/active"))
        write(candidate, *fixed, http_route("r", "app", path="/candidate"))
        with running(active, workers=1, arguments=["--shadow", str(candidate)]) as gw:
            gw.wait_until(lambda: gw.get("/shadow").json["state"] == "deciding", "the candidate")
            compiler = _compiler(gw.pid)
            os.kill(compiler, signal.SIGSTOP)
            connection = http.client.HTTPConnection(*gw.admin, timeout=60)
            digest = gw.get("/shadow").json["digest"]
            connection.request("POST", f"/promote?digest={digest}", headers={"Content-Type": "application/json"})
            assert gw.get("/healthz").status == 200  # so it has been read: it waits for the compiler
            gw.signal(signal.SIGHUP)
            assert gw.get("/healthz").status == 200
            os.kill(compiler, signal.SIGCONT)
            assert connection.getresponse().status == 200
            connection.close()
            gw.wait_until(lambda: sum(gw.state()["reloads"].values()) == 3, "both reloads")
            assert (http_get(host, 8080, "/active").status, http_get(host, 8080, "/candidate").status) == (404, 200)


def test_a_worker_that_cannot_be_started_takes_nobody_along_and_comes_once_it_can(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(
            tmp_path, gateway("gw", host, listener("http", 8080)), http_route("r", "app"), service("app", app.endpoint)
        )
        with running(tmp_path, workers=2) as gw:
            victim, other = gw.worker_pids()
            _, most = resource.prlimit(gw.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(gw.pid, resource.RLIMIT_NOFILE, (3, most))  # no descriptor for a channel
            os.kill(victim, signal.SIGKILL)
            gw.wait_log(r"worker_not_started slot=0 error=\"?Too many open files")
            assert gw.process.poll() is None
            resource.prlimit(gw.pid, resource.RLIMIT_NOFILE, (most, most))
            gw.wait_until(lambda: gw.worker_pids()[0] not in (None, victim), "a new worker")
            gw.wait_ready()
            assert gw.worker_pids()[1] == other
            assert http_get(host, 8080).status == 200


def _compiler(supervisor: int) -> int:
    """Return the process that compiles what serves."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    found = [int(pid) for pid in children if b"compile_child" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(found) == 1
    return found[0]


def _n_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
