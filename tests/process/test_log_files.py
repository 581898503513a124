"""Log files of the real process: access log to a file and to standard output, rotation, the event log as JSON."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.process import http_get, loopback_address, running, wait_until
from tests.support.threaded_backend import backend


@pytest.fixture
def config(tmp_path: Path) -> object:
    host = loopback_address()
    folder = tmp_path / "config"
    with backend() as app:
        write(folder, gateway("gw", host, listener("http", 8080)), http_route("r", "app", path="/app"),
              service("app", app.endpoint))  # fmt: skip
        yield folder, host


def test_every_exchange_has_a_line_even_the_last_before_the_end(config: tuple, tmp_path: Path) -> None:
    folder, host = config
    path = tmp_path / "access.log"
    with running(folder, arguments=["--access-log", str(path)]) as gw:
        for n in range(20):
            assert http_get(host, 8080, f"/app/{n}").status == 200
        assert http_get(host, 8080, "/elsewhere").status == 404
        assert gw.stop() == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(line["target"] for line in lines) == sorted([f"/app/{n}" for n in range(20)] + ["/elsewhere"])
    served = next(line for line in lines if line["target"] == "/app/0")
    assert served["route"] == "HTTPRoute default/r"
    assert served["backend"] == "default/app:80"
    assert served["generation"] == 1
    refused = next(line for line in lines if line["status"] == 404)
    assert refused["reason"] == "no_rule"


def test_standard_output_takes_text_lines(config: tuple) -> None:
    folder, host = config
    with running(folder, arguments=["--access-log", "-", "--access-log-format", "text"]) as gw:
        http_get(host, 8080, "/app")
        gw.wait_until(lambda: gw.output, "a line")
        assert '"GET /app"' in gw.output[0]


def test_usr1_reopens_the_file_in_every_worker(config: tuple, tmp_path: Path) -> None:
    folder, host = config
    path, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    with running(folder, workers=2, arguments=["--access-log", str(path)]) as gw:
        for _ in range(20):
            http_get(host, 8080, "/app/before")
        wait_until(lambda: path.read_text().count("\n") == 20, "the lines")
        path.rename(rotated)
        gw.signal(signal.SIGUSR1)
        wait_until(path.exists, "a new file")
        wait_until(lambda: _open_files(gw.worker_pids(), rotated) == 0, "the old file to be closed")
        for _ in range(20):
            http_get(host, 8080, "/app/after")
        gw.stop()
    assert rotated.read_text().count("/app/before") == 20
    assert path.read_text().count("/app/after") == 20


def test_a_full_disk_costs_lines_but_no_request(config: tuple) -> None:
    folder, host = config
    with running(folder, workers=1, arguments=["--access-log", "/dev/full"]) as gw:
        assert http_get(host, 8080, "/app").status == 200
        gw.wait_log("access_log_failed")
        dropped = "gatewayproxy_access_log_dropped_lines_total 1.0"
        gw.wait_until(lambda: dropped in gw.get("/metrics").body.decode(), "the loss to be counted")
        assert http_get(host, 8080, "/app").status == 200


def _open_files(pids: list[int], path: Path) -> int:
    links = [entry for pid in pids for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(_target(link) == str(path) for link in links)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
