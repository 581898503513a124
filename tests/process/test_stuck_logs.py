"""Logs that nobody reads: traffic, reloads, workers and the end go on as if there were none."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.process import http_get, loopback_address, wait_until
from tests.support.threaded_backend import backend

ROOT = Path(__file__).parents[2]
ADMIN = 9901  # on an address of its own


@pytest.fixture
def config(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    host = loopback_address()
    with backend() as app, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        dead = service("dead", f"127.0.0.1:{nobody.getsockname()[1]}")
        routes = [http_route("r", "app"), http_route("gone", "dead", path="/dead")]
        write(tmp_path, gateway("gw", host, listener("http", 8080)), *routes, service("app", app.endpoint), dead)
        yield tmp_path, host


@contextmanager
def full_pipe() -> Iterator[int]:
    """Yield the end for writing of a pipe that nobody reads and that takes no more."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    size = 65_536
    while size:
        try:
            os.write(writer, b"x" * size)
        except BlockingIOError:
            size //= 2
    os.set_blocking(writer, True)
    yield writer
    os.close(writer)
    os.close(reader)


@contextmanager
def running_on(host: str, folder: Path, *, by: Sequence[str] = (), log: int | None = None) -> Iterator[int]:
    """Run the gateway, *by* another program, its admin server on *host*, both logs in *log*; yield its process id."""
    arguments = ["--admin", f"{host}:{ADMIN}", "--workers", "2", "--access-log", "-"]
    command = [*by, sys.executable, "-m", "gatewayproxy", "run", str(folder), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_until(lambda: _status(host, ADMIN, "/readyz") == 200, "ready")
        yield process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(60)


def _status(host: str, port: int, path: str) -> int:
    try:
        return http_get(host, port, path).status
    except (OSError, http.client.HTTPException):
        return 0


def _workers(host: str) -> list[dict[str, int]]:
    return http_get(host, ADMIN, "/status/reload").json["workers"]


def test_a_stuck_reader_of_both_logs_holds_nothing_up(config: tuple[Path, str]) -> None:
    folder, host = config
    with full_pipe() as pipe, running_on(host, folder, log=pipe) as pid:
        for n in range(50):
            assert http_get(host, 8080, f"/{n}").status == 200
            assert http_get(host, 8080, f"/dead/{n}").status == 503
        write(folder / "more", http_route("more", "app", path="/more"))
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: http_get(host, ADMIN, "/status/reload").json["generation"] == 2, "the reload")
        victim = _workers(host)[0]["pid"]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: _workers(host)[0]["restarts"] == 1, "a new worker")
        wait_until(lambda: _status(host, ADMIN, "/readyz") == 200, "ready")
        assert http_get(host, 8080, "/more").status == 200


def test_closed_standard_descriptors_are_no_place_for_logs(config: tuple[Path, str]) -> None:
    folder, host = config
    closing = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-']
    with running_on(host, folder, by=closing) as pid:
        for worker in _workers(host):
            links = {n: (Path(f"/proc/{worker['pid']}/fd") / str(n)).readlink() for n in range(3)}
            assert links == dict.fromkeys(range(3), Path(os.devnull))
        assert Path(f"/proc/{pid}/fd/2").readlink() == Path(os.devnull)
        assert http_get(host, 8080).status == 200
        assert http_get(host, 8080, "/dead").status == 503
