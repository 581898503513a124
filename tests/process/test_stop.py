"""SIGTERM on the real process: out of the load balancer first, then no new connections, then the rest, then exit 0."""

from __future__ import annotations

import http.client
import signal
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.process import http_get, loopback_address, refused, running
from tests.support.threaded_backend import backend


@pytest.fixture
def config(tmp_path: Path) -> object:
    host = loopback_address()
    with backend() as app:
        write(
            tmp_path, gateway("gw", host, listener("http", 8080)), http_route("r", "app"), service("app", app.endpoint)
        )
        yield tmp_path, host, app


def _client(host: str) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection(host, 8080, timeout=60))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_an_exchange_under_way_ends_and_nothing_new_begins(config: tuple, number: signal.Signals) -> None:
    folder, host, app = config
    with running(folder) as gw, _client(host) as connection:
        connection.request("GET", "/hold")
        assert app.held.acquire(timeout=60)
        gw.signal(number)
        gw.wait_until(lambda: gw.get("/readyz").status == 503, "not ready")
        assert gw.get("/healthz").status == 200  # alive, and told so until the end
        gw.wait_until(lambda: refused(host, 8080), "no new connections")
        app.release()
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.getheader("Connection") == "close"
        assert gw.wait_exit() == 0


def test_idle_connections_do_not_hold_up_the_end(config: tuple) -> None:
    folder, host, _ = config
    with running(folder, arguments=["--drain", "600"]) as gw, _client(host) as idle:
        idle.request("GET", "/")
        idle.getresponse().read()
        gw.signal(signal.SIGTERM)
        assert gw.wait_exit() == 0
        assert idle.sock.recv(1) == b""


def test_what_outlives_the_deadline_is_cut_and_the_exit_is_clean(config: tuple) -> None:
    folder, host, app = config
    with running(folder, arguments=["--drain", "0.3"]) as gw, _client(host) as connection:
        connection.request("GET", "/hold")
        assert app.held.acquire(timeout=60)
        gw.signal(signal.SIGTERM)
        assert gw.wait_exit() == 0
        with pytest.raises((http.client.HTTPException, OSError)):
            connection.getresponse()
        assert "cut=1" in gw.log


def test_a_second_signal_ends_it_at_once(config: tuple) -> None:
    folder, host, app = config
    with running(folder, arguments=["--drain", "600"]) as gw, _client(host) as connection:
        connection.request("GET", "/hold")
        assert app.held.acquire(timeout=60)
        gw.signal(signal.SIGTERM)
        gw.wait_until(lambda: gw.get("/readyz").status == 503, "not ready")
        gw.signal(signal.SIGTERM)
        assert gw.wait_exit() == 0


def test_the_drain_delay_serves_on_while_not_ready(config: tuple) -> None:
    folder, host, _ = config
    with running(folder, arguments=["--drain-delay", "3"]) as gw:
        gw.signal(signal.SIGTERM)
        gw.wait_until(lambda: gw.get("/readyz").status == 503, "not ready")
        assert http_get(host, 8080).status == 200
        assert gw.wait_exit() == 0


def test_a_hangup_during_the_drain_is_ignored(config: tuple) -> None:
    folder, host, app = config
    with running(folder) as gw, _client(host) as connection:
        connection.request("GET", "/hold")
        assert app.held.acquire(timeout=60)
        gw.signal(signal.SIGTERM)
        gw.wait_until(lambda: gw.get("/readyz").status == 503, "not ready")
        attempts = gw.state()["reload"]["attempt"]
        gw.signal(signal.SIGHUP)
        app.release()
        assert connection.getresponse().status == 200
        assert gw.wait_exit() == 0
        assert gw.log.count("reload_") == attempts
