"""An object that goes bad under a running gateway: it serves as it was accepted last, and everybody is told."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.manifests import Tree, gateway, http_route, listener, service, write
from tests.support.process import Gateway, http_get, loopback_address, running
from tests.support.threaded_backend import backend


def _write(folder: Path, host: str, endpoint: str, port: object = 8080, *more: Tree) -> None:
    """Write a Gateway into a file of its own, the rest into another."""
    write(folder, gateway("gw", host, listener("http", port)), name="gw.yaml")  # type: ignore[arg-type]
    write(folder, http_route("r", "app"), service("app", endpoint), *more, name="app.yaml")


def _held(gw: Gateway) -> float:
    found = re.search(r"^gatewayproxy_config_held_objects (\S+)$", gw.get("/metrics").body.decode(), re.M)
    assert found is not None
    return float(found[1])


def _port(gw: Gateway) -> object:
    return gw.objects()["Gateway", "gw"]["spec"]["listeners"][0]["port"]


def test_a_gateway_with_a_nonsense_port_serves_on_while_other_changes_go_live(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        _write(tmp_path, host, app.endpoint)
        with running(tmp_path, workers=1) as gw:
            kept = http.client.HTTPConnection(host, 8080, timeout=60)
            assert _answer(kept, "/") == 200
            _write(tmp_path, host, app.endpoint, 99999, http_route("new", "app", path="/new", hostnames=["new.test"]))
            report = gw.reload()
            assert (report["result"], report["generation"], report["held"]) == ("applied", 2, 1)
            assert report["changes"]["listeners_removed"] == []
            assert report["held_objects"] == [
                {"object": "Gateway default/gw", "origin": f"{tmp_path}/gw.yaml:1", "generation": 1}
            ]
            gw.wait_log(
                r"manifest_problem origin=\S*gw\.yaml:12 object=.Gateway default/gw. "
                r"field=spec\.listeners\[0\]\.port .*until then the version of generation 1 stays in force"
            )
            gw.wait_log(r"reload_applied generation=2 .*errors=1 .*held=1")
            assert http_get(host, 8080).status == 200
            assert http_get(host, 8080, "/new", {"host": "new.test"}).status == 200
            assert _answer(kept, "/new") == 200  # and no connection was closed for it
            assert (_port(gw), _held(gw)) == (8080, 1)
            kept.close()


def test_the_version_stays_until_the_text_is_mended_or_gone(tmp_path: Path) -> None:
    host = loopback_address()
    with backend("one") as one, backend("two") as two:
        _write(tmp_path, host, one.endpoint)
        with running(tmp_path, workers=1) as gw:
            _write(tmp_path, host, one.endpoint, "eighty")
            assert (gw.reload()["result"], gw.state()["generation"]) == ("unchanged", 1)
            assert _held(gw) == 1
            _write(tmp_path, host, two.endpoint, "eighty")
            assert gw.reload()["held_objects"][0]["generation"] == 1
            assert http_get(host, 8080).json["backend"] == "two"
            _write(tmp_path, host, two.endpoint, 8081)
            assert gw.reload()["held"] == 0
            assert http_get(host, 8081).status == 200
            _write(tmp_path, host, two.endpoint, "eighty")
            assert gw.reload()["held"] == 1
            (tmp_path / "gw.yaml").unlink()
            report = gw.reload()
            assert report["held"] == 0
            assert report["changes"]["listeners_removed"] == [f"default/gw/http on {host}:8081"]


def test_a_compiler_that_was_killed_takes_no_version_along(tmp_path: Path) -> None:
    host = loopback_address()
    with backend("one") as one, backend("two") as two:
        _write(tmp_path, host, one.endpoint)
        with running(tmp_path, workers=1) as gw:
            _write(tmp_path, host, one.endpoint, 99999)
            assert gw.reload()["held"] == 1
            _kill_compiler(gw)
            write(
                tmp_path,
                http_route("r", "app") | {"spec": {"rulez": []}},
                service("app", two.endpoint),
                name="app.yaml",
            )
            report = gw.reload()
            assert (report["result"], report["held"]) == ("applied", 2)
            assert {held["generation"] for held in report["held_objects"]} == {1}
            assert http_get(host, 8080).json["backend"] == "two"
            assert _port(gw) == 8080


@pytest.mark.parametrize(
    "metadata",
    [pytest.param({"name": "GW"}, id="bad name"), pytest.param({"name": "gw", "namespace": 7}, id="bad namespace")],
)
def test_an_object_whose_name_is_unsound_may_be_any_and_holds_the_reload(tmp_path: Path, metadata: Tree) -> None:
    host = loopback_address()
    with backend() as app:
        _write(tmp_path, host, app.endpoint)
        with running(tmp_path, workers=1) as gw:
            write(tmp_path, gateway("gw", host, listener("http", 8080)) | {"metadata": metadata}, name="gw.yaml")
            report = gw.reload()
            assert (report["result"], report["generation"]) == ("failed", 1)
            assert report["where"].startswith(f"{tmp_path}/gw.yaml:")
            assert http_get(host, 8080).status == 200


def test_at_a_start_there_is_nothing_to_hold(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        _write(tmp_path, host, app.endpoint, 8080, gateway("bad", host, listener("http", 99999)))
        with running(tmp_path, workers=1) as gw:
            assert http_get(host, 8080).status == 200
            assert (gw.state()["reload"]["errors"], _held(gw)) == (1, 0)


def _answer(connection: http.client.HTTPConnection, path: str) -> int:
    connection.request("GET", path, headers={"host": "new.test"})
    answer = connection.getresponse()
    json.loads(answer.read())
    return answer.status


def _kill_compiler(gw: Gateway) -> None:
    """End the compiling child, and wait until the supervisor knows."""
    command = b"gatewayproxy.ops.compile_child"
    children = Path(f"/proc/{gw.pid}/task/{gw.pid}/children").read_text().split()
    (pid,) = (int(child) for child in children if command in Path(f"/proc/{child}/cmdline").read_bytes())
    os.kill(pid, signal.SIGKILL)
    gw.wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the compiler to be gone")
