"""Log files of the real process: what a line says, a file and standard output, rotation, a full disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
from pathlib import Path

import pytest

from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.ports import closed_port
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


_GET = b"GET %b HTTP/1.1\r\nHost: a.test\r\n%b\r\n"
_R = "HTTPRoute default/reasons"


def _rule(name: str, *backends: str, **rest: object) -> dict[str, object]:
    references = [{"name": backend, "port": 80} for backend in backends]
    return {"name": name, "matches": [{"path": {"value": f"/{name}"}}], "backendRefs": references, **rest}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A gateway whose rules have each a reason of their own to answer; the lines of its log."""
    folder = tmp_path_factory.mktemp("reasons")
    host = loopback_address()
    route = http_route("reasons", "app")
    redirect = {"type": "RequestRedirect", "requestRedirect": {"hostname": "b.test"}}
    route["spec"] = {
        "parentRefs": [{"name": "gw"}],
        "hostnames": ["a.test"],
        "rules": [
            _rule("absent", "nobody"),
            _rule("empty", "empty"),
            _rule("dead", "dead"),
            _rule("moved", filters=[redirect]),
            _rule("hold", "app", timeouts={"request": "100ms"}),
            _rule("app", "app"),
            {"name": "foreign", "matches": [{"path": {"value": "/foreign"}}],
             "backendRefs": [{"name": "app", "namespace": "elsewhere", "port": 80}]},
        ],
    }  # fmt: skip
    arguments = ["--access-log", "-", "--head-timeout", "0.3", "--body-timeout", "0.3", "--body-bytes", "10"]
    with backend() as app:
        slices = {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": [],
            "metadata": {"name": "empty-1", "labels": {"kubernetes.io/service-name": "empty"}}, "ports": [{"port": 1}],
        }  # fmt: skip
        empty = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "empty"},
            "spec": {"ports": [{"port": 80}]},
        }
        dead = service("dead", "{}:{}".format(*closed_port()))
        objects = [gateway("gw", host, listener("http", 8080)), route, service("app", app.endpoint), empty, slices]
        write(folder, *objects, dead)
        with running(folder, workers=1, arguments=arguments) as gw:
            yield gw, host
            app.release()


@pytest.mark.parametrize(
    ("request_bytes", "status", "reason", "route", "rule"),
    [
        pytest.param(_GET % (b"/app", b""), 200, "", _R, "5 (app)", id="the backend's own answer"),
        pytest.param(_GET % (b"/absent", b""), 500, "backend_not_found", _R, "0 (absent)", id="no such Service"),
        pytest.param(_GET % (b"/empty", b""), 503, "no_endpoints", _R, "1 (empty)", id="a Service without endpoints"),
        pytest.param(_GET % (b"/dead", b""), 503, "connect_failed", _R, "2 (dead)", id="nobody listens"),
        pytest.param(_GET % (b"/moved", b""), 302, "redirect", _R, "3 (moved)", id="a redirect"),
        pytest.param(_GET % (b"/hold", b""), 504, "request_timeout", _R, "4 (hold)", id="a backend too slow"),
        pytest.param(_GET % (b"/foreign", b""), 500, "ref_not_permitted", _R, "6 (foreign)", id="no grant"),
        pytest.param(_GET % (b"/", b""), 404, "no_rule", "", "", id="no rule"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: c.test\r\n\r\n", 404, "no_route", "", "", id="no such host"),
        pytest.param(_GET % (b"/app", b"Content-Length: 11\r\n"), 413, "body_too_large", None, None, id="too long"),
        pytest.param(_GET % (b"/app", b"Content-Length: 3\r\n"), 408, "body_timeout", _R, "5 (app)", id="half a body"),
        pytest.param(b"GET /app HTTP/1.1\r\nHo", 408, "head_timeout", "", "", id="half a head"),
        pytest.param(b"GET  / HTTP/1.1\r\n\r\n", 400, "bad_request_line", "", "", id="a malformed request line"),
        pytest.param(_GET % (b"/app", b"Host: b\r\n"), 400, "bad_host", "", "", id="two hosts"),
        pytest.param(
            _GET % (b"/app", b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400, "bad_framing", "", "",
            id="two framings",
        ),
    ],
)  # fmt: skip
def test_every_answer_has_a_line_with_its_reason_and_rule(
    answers: tuple, request_bytes: bytes, status: int, reason: str, route: str | None, rule: str | None
) -> None:
    gw, host = answers
    n_before = len(gw.output)
    with socket.create_connection((host, 8080), timeout=60) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 %d " % status)
    line = json.loads(gw.wait_until(lambda: gw.output[n_before:], "a line of the access log")[0])
    assert (line["status"], line.get("reason", "")) == (status, reason)
    if route is not None:
        assert (line["route"], line["rule"]) == (route, rule)
    if reason:
        counted = gw.get("/metrics").body.decode()
        assert re.search(rf'local_answers_total\{{listener="default/gw/http",reason="{reason}"\}} [1-9]', counted)


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


def test_a_worker_that_begins_without_its_log_writes_it_once_it_can(config: tuple, tmp_path: Path) -> None:
    folder, host = config
    path = tmp_path / "logs" / "access.log"
    path.parent.mkdir()
    with running(folder, workers=1, arguments=["--access-log", str(path)]) as gw:
        shutil.rmtree(path.parent)
        os.kill(gw.worker_pids()[0], signal.SIGKILL)
        gw.wait_log("access_log_failed")
        path.parent.mkdir()
        assert http_get(host, 8080, "/app/after").status == 200
        wait_until(lambda: path.exists() and "/app/after" in path.read_text(), "the line")


def _open_files(pids: list[int], path: Path) -> int:
    links = [entry for pid in pids for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(_target(link) == str(path) for link in links)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
