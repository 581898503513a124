"""Generations of the real process: listed, shown, compared, rolled back to; under load, and across restarts."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.certs import certificate
from tests.support.manifests import Tree, gateway, http_route, listener, service, tls_secret, write
from tests.support.process import Gateway, http_get, loopback_address, running
from tests.support.threaded_backend import Backend, backend

JSON = {"Content-Type": "application/json"}


def config(host: str, app: Backend, *more: Tree) -> list[Tree]:
    return [gateway("gw", host, listener("http", 8080)), http_route("r", "app"), service("app", app.endpoint), *more]


def post(gw: Gateway, path: str, headers: dict[str, str] | None = None, method: str = "POST") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*gw.admin, timeout=60)
    try:
        connection.request(method, path, headers=JSON if headers is None else headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def rollback(gw: Gateway, number: int) -> Any:
    status, body = post(gw, f"/rollback/{number}")
    assert status == 200, body
    return json.loads(body)


def history(gw: Gateway) -> Any:
    return gw.get("/history").json


def told(gw: Gateway) -> list[tuple[int, str, int]]:
    return [(each["number"], each["reason"], each["of"]) for each in history(gw)["generations"]]


def command(gw: Gateway, *words: str) -> subprocess.CompletedProcess[str]:
    host, port = gw.admin
    asked = [sys.executable, "-m", "gatewayproxy", *words, "--server", f"{host}:{port}"]
    return subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)


def served_by(host: str) -> str:
    name: str = http_get(host, 8080).json["backend"]
    return name


@contextmanager
def two_generations(tmp_path: Path, *arguments: str) -> Iterator[tuple[Gateway, str]]:
    """Run a gateway whose generation 1 leads to backend one, and 2, in force, to two."""
    host, folder = loopback_address(), tmp_path / "config"
    with backend("one") as one, backend("two") as two:
        write(folder, *config(host, one))
        with running(folder, arguments=arguments) as gw:
            write(folder, *config(host, two))
            assert gw.reload()["generation"] == 2
            yield gw, host


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with two generations for those who change nothing."""
    with two_generations(tmp_path_factory.mktemp("shared")) as (gw, _):
        yield gw


def test_a_rollback_serves_documents_and_status_of_then_until_the_next_reload(tmp_path: Path) -> None:
    with two_generations(tmp_path) as (gw, host):
        assert served_by(host) == "two"
        endpoints = gw.objects()["Service", "app"]["metadata"]["annotations"]
        report = rollback(gw, 1)
        assert (report["result"], report["generation"], report["rolled_back_to"]) == ("applied", 3, 1)
        assert served_by(host) == "one"
        assert gw.objects()["Service", "app"]["metadata"]["annotations"] != endpoints
        assert gw.state()["rolled_back_to"] == 1
        metrics = gw.get("/metrics").body.decode()
        assert "gatewayproxy_config_generation 3.0" in metrics
        assert "gatewayproxy_config_rolled_back 1.0" in metrics
        gw.wait_log(r"reload_applied generation=3 reason=rollback rolled_back_to=1")
        assert gw.reload()["generation"] == 4
        assert served_by(host) == "two"
        assert gw.state()["rolled_back_to"] == 0
        assert "gatewayproxy_config_rolled_back 0.0" in gw.get("/metrics").body.decode()
        assert told(gw) == [(1, "start", 0), (2, "SIGHUP", 0), (3, "rollback", 1), (4, "SIGHUP", 0)]


def test_a_rollback_under_load_loses_no_request_and_no_connection(tmp_path: Path) -> None:
    with two_generations(tmp_path) as (gw, host):
        stop, counts = threading.Event(), [0] * 4
        failures: list[str] = []

        def load(index: int) -> None:
            connection = http.client.HTTPConnection(host, 8080, timeout=60)
            try:
                connection.connect()
                sock = connection.sock
                while not stop.is_set():
                    connection.request("GET", "/")
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status != 200 or connection.sock is not sock:
                        failures.append(f"status {answer.status}, same connection {connection.sock is sock}")
                    counts[index] += 1
            except Exception as error:
                failures.append(repr(error))
            finally:
                connection.close()

        threads = [threading.Thread(target=load, args=(index,)) for index in range(len(counts))]
        for thread in threads:
            thread.start()
        for number in (1, 2, 1, 2, 1):
            rollback(gw, number)
            _wait_for_more(gw, counts, failures)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert served_by(host) == "one"


def _wait_for_more(gw: Gateway, counts: list[int], failures: list[str]) -> None:
    before = sum(counts)
    gw.wait_until(lambda: failures or sum(counts) > before + 40, "requests after a rollback")


def test_a_rollback_to_the_same_table_keeps_the_generation_and_says_so(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, *config(host, app))
        with running(tmp_path, workers=1) as gw:
            report = rollback(gw, 1)
            assert (report["result"], report["generation"]) == ("unchanged", 1)
            assert gw.state()["rolled_back_to"] == 1


def test_the_history_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app, running_on(tmp_path, config(host, app), "--history-generations", "3") as gw:
        for n in range(5):
            write(tmp_path, *config(host, app, http_route(f"more-{n}", "app", path=f"/{n}")))
            gw.reload()
        assert [each[0] for each in told(gw)] == [4, 5, 6]
        status, body = post(gw, "/rollback/3")
        assert (status, body) == (404, b"there is no generation 3: 4 to 6 are kept; gatewayproxy history lists them\n")


@contextmanager
def running_on(folder: Path, objects: list[Tree], *arguments: str) -> Iterator[Gateway]:
    write(folder, *objects)
    with running(folder, workers=1, arguments=arguments) as gw:
        yield gw


def test_a_restart_knows_the_generations_before_and_goes_on_counting(tmp_path: Path) -> None:
    kept = tmp_path / "history"
    with two_generations(tmp_path, "--history-dir", str(kept)) as (gw, host):
        first = history(gw)["generations"]
        assert gw.stop() == 0
        with running(tmp_path / "config", arguments=["--history-dir", str(kept)]) as again:
            assert history(again)["generations"][:2] == first
            assert told(again)[2] == (3, "start", 0)
            assert again.state()["generation"] == 3
            assert served_by(host) == "two"
            rollback(again, 1)
            assert served_by(host) == "one"
    assert all(file.stat().st_mode & 0o077 == 0 for file in kept.iterdir())


def test_a_second_gateway_with_the_same_folder_does_not_start(tmp_path: Path) -> None:
    with two_generations(tmp_path, "--history-dir", str(tmp_path / "history")):
        second = Gateway([str(tmp_path / "config"), "--history-dir", str(tmp_path / "history")])
        try:
            assert second.wait_exit() == 1
            assert "another gateway keeps its history here" in second.log
        finally:
            second.close()


def test_a_folder_that_cannot_be_written_any_more_costs_the_history_not_the_reload(tmp_path: Path) -> None:
    kept = tmp_path / "history"
    with two_generations(tmp_path, "--history-dir", str(kept)) as (gw, host):
        (kept / "00000003.generation.tmp").mkdir()  # what is to be written first
        assert rollback(gw, 1)["generation"] == 3
        gw.wait_log("history_not_written")
        assert served_by(host) == "one"
        assert [each[0] for each in told(gw)] == [1, 2, 3]
        assert rollback(gw, 3)["result"] == "unchanged"  # from memory
        (kept / "00000003.generation.tmp").rmdir()
        rollback(gw, 2)
        assert {file.name for file in kept.iterdir()} == {f"0000000{n}.generation" for n in range(1, 5)}


def test_a_compiler_that_died_takes_no_generation_along(tmp_path: Path) -> None:
    with two_generations(tmp_path) as (gw, host):
        compiler = _child_of(gw, "compile_child")
        os.kill(compiler, signal.SIGKILL)
        gw.wait_until(lambda: not Path(f"/proc/{compiler}/cmdline").exists(), "the compiler to be reaped")
        assert rollback(gw, 1)["result"] == "applied"
        assert served_by(host) == "one"
        os.kill(_child_of(gw, "compile_child"), signal.SIGKILL)
        gw.wait_until(lambda: gw.get("/history/2").status == 200, "another compiler to tell")
        assert gw.reload()["result"] == "applied"
        assert served_by(host) == "two"


def _child_of(gw: Gateway, module: str) -> int:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words, stat = path.read_bytes(), (path.parent / "stat").read_text()
        except OSError:
            continue
        if module.encode() in words and int(stat.rpartition(")")[2].split()[1]) == gw.pid:
            return int(path.parent.name)
    raise AssertionError(f"no {module}")


def test_an_object_held_then_is_held_again(tmp_path: Path) -> None:
    host = loopback_address()
    with backend("one") as one, backend("two") as two, running_on(tmp_path, config(host, one)) as gw:
        broken = http_route("r", "app")
        broken["spec"]["rules"][0]["backendRefs"] = 7  # type: ignore[index]
        write(tmp_path, gateway("gw", host, listener("http", 8080)), broken, service("app", one.endpoint),
              http_route("new", "app", path="/new"))  # fmt: skip
        assert gw.reload()["held"] == 1
        write(tmp_path, *config(host, two))
        assert gw.reload()["held"] == 0
        report = rollback(gw, 2)
        assert [each["object"] for each in report["held_objects"]] == ["HTTPRoute default/r"]
        assert served_by(host) == "one"
        shown = gw.get("/history/2").json
        assert [each["generation"] for each in shown["held"]] == [1]


def test_what_served_in_spite_of_its_faults_may_do_so_again(tmp_path: Path) -> None:
    host = loopback_address()
    with backend("one") as one, backend("two") as two:
        write(tmp_path, *config(host, one))
        (tmp_path / "half.yaml").write_text("kind: HTTPRoute\nmetadata: {na")
        with running(tmp_path, workers=1) as gw:
            (tmp_path / "half.yaml").unlink()
            write(tmp_path, *config(host, two))
            assert gw.reload()["generation"] == 2
            assert rollback(gw, 1)["result"] == "applied"
            assert served_by(host) == "one"
            files = {each["name"]: each["text"] for each in gw.get("/history/1").json["files"]}
            assert "(withheld)" in files[str(tmp_path / "half.yaml")]


def test_manifests_are_shown_and_compared_but_no_secret_is(tmp_path: Path) -> None:
    host = loopback_address()
    secret = tls_secret("tls", certificate("shop.test"))
    key = secret["stringData"]["tls.key"] if "stringData" in secret else secret["data"]["tls.key"]  # type: ignore[index]
    with backend() as app, running_on(tmp_path, config(host, app, secret)) as gw:
        write(tmp_path, *config(host, app, http_route("more", "app", path="/more")))
        gw.reload()
        pages = [gw.get(path) for path in ("/history/1", "/history/2", "/history/diff/1/2", "/history")]
        assert [page.status for page in pages] == [200] * 4
        text = pages[0].json["files"][0]["text"]
        assert '"name": "tls"' in text
        assert "kind: HTTPRoute" in text
        for page in pages:
            for line in key.strip().splitlines():
                assert line not in page.body.decode()
        added = [line for line in pages[2].json["manifests"].splitlines() if line.startswith("+")]
        assert any("name: more" in line for line in added)


def test_the_commands_list_show_compare_and_roll_back(tmp_path: Path) -> None:
    with two_generations(tmp_path) as (gw, host):
        listed = command(gw, "history")
        lines = listed.stdout.splitlines()
        assert lines[0].split() == ["GENERATION", "ACCEPTED", "REASON", "INPUT", "RULES", "CHANGES", "NOTE"]
        assert lines[2].startswith("*  2 ")
        assert "rules ~1" in lines[2]
        assert command(gw, "show", "1").stdout.startswith("# generation 1, accepted ")
        compared = command(gw, "history", "diff", "1", "2")
        assert compared.returncode == 1, compared.stderr
        assert "default/app:80" in compared.stdout
        written = command(gw, "history", "diff", "1", "2", "-o", "manifests")
        assert (written.returncode, written.stdout[:4]) == (1, "--- ")
        assert json.loads(command(gw, "history", "diff", "1", "2", "-o", "json").stdout)
        assert command(gw, "history", "diff", "2", "2").returncode == 0
        done = command(gw, "rollback", "1")
        assert done.stdout.startswith("generation 3 serves the manifests of generation 1\n")
        assert served_by(host) == "one"
        assert "rolled back: the manifests of generation 1 serve" in command(gw, "history").stdout
        assert json.loads(command(gw, "history", "-o", "json").stdout)["rolled_back_to"] == 1


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        pytest.param(["rollback", "9"], 1, "there is no generation 9: 1 to 2 are kept", id="no such generation"),
        pytest.param(["show", "first"], 2, "write the number of a generation", id="no number"),
        pytest.param(["history", "diff", "1"], 2, "gatewayproxy history diff A B", id="one of two"),
        pytest.param(["history", "-o", "markdown"], 2, "is for gatewayproxy history diff A B", id="no such form"),
        pytest.param(["history", "list"], 2, "gatewayproxy history diff A B", id="another word"),
    ],
)
def test_a_wrong_command_says_what_to_write(shared: Gateway, words: list[str], status: int, said: str) -> None:
    answer = command(shared, *words)
    assert (answer.returncode, said in answer.stderr) == (status, True), answer.stderr


@pytest.mark.parametrize(
    ("headers", "method", "status"),
    [
        pytest.param({}, "POST", 403, id="a form of a page"),
        pytest.param({"Content-Type": "text/plain"}, "POST", 403, id="text of a page"),
        pytest.param({**JSON, "Origin": "http://shop.example"}, "POST", 403, id="a script of a page"),
        pytest.param({**JSON, "Host": "shop.example"}, "POST", 421, id="a name made to point here"),
        pytest.param(JSON, "GET", 405, id="a link"),
        pytest.param(JSON, "PUT", 405, id="another method"),
    ],
)
def test_nobody_else_s_page_rolls_back(shared: Gateway, headers: dict[str, str], method: str, status: int) -> None:
    assert post(shared, "/rollback/1", headers, method)[0] == status
    assert shared.state()["generation"] == 2


@pytest.mark.parametrize("allowed", [False, True])
def test_away_from_loopback_manifests_and_rollbacks_need_leave(tmp_path: Path, allowed: bool) -> None:
    arguments = ["--admin", "0.0.0.0:0", *(["--admin-allow-remote"] if allowed else [])]
    with two_generations(tmp_path, *arguments) as (gw, _):
        assert gw.get("/history").status == 200
        assert gw.get("/history/1").status == (200 if allowed else 403)
        assert gw.get("/history/diff/1/2").status == (200 if allowed else 403)
        status, body = post(gw, "/rollback/1")
        assert status == (200 if allowed else 403)
        assert allowed or b"--admin-allow-remote" in body


@pytest.mark.parametrize(
    "path", ["/history/", "/history/x", "/history/-1", "/history/1/2", "/history/diff/1", "/history/99999999999999"]
)
def test_what_is_no_generation_is_not_found(shared: Gateway, path: str) -> None:
    assert shared.get(path).status == 404
