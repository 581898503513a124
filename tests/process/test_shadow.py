"""A candidate beside a running gateway: what differs is told, traffic never notices, and it can be promoted."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gatewayproxy.cli import main
from tests.support.manifests import Tree, gateway, http_route, listener, service, write
from tests.support.process import Gateway, http_get, loopback_address, running
from tests.support.threaded_backend import backend


class Scene(NamedTuple):
    """A gateway with a candidate: /a and /b are routed, /a and /c would be."""

    gateway: Gateway
    host: str
    candidate: Path
    endpoint: str

    def ask(self, path: str) -> int:
        return http_get(self.host, 8080, path).status

    def shadow(self) -> Any:
        return self.gateway.get("/shadow").json

    def wait_state(self, state: str) -> Any:
        return self.gateway.wait_until(
            lambda: told if (told := self.shadow())["state"] == state else None, f"the candidate is {state}"
        )

    @property
    def server(self) -> str:
        return ":".join(map(str, self.gateway.admin))


def manifests(host: str, endpoint: str, *paths: str) -> list[Tree]:
    routes = [http_route("r" + path[1:], "app", path=path) for path in paths]
    return [gateway("gw", host, listener("web", 8080)), *routes, service("app", endpoint)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    host, active, candidate = loopback_address(), tmp_path / "active", tmp_path / "candidate"
    with backend() as app:
        write(active, *manifests(host, app.endpoint, "/a", "/b"))
        write(candidate, *manifests(host, app.endpoint, "/a", "/c"))
        with running(active, arguments=["--shadow", str(candidate), "--admin", f"{host}:0"]) as gw:
            scene = Scene(gw, host, candidate, app.endpoint)
            scene.wait_state("deciding")
            yield scene


def differences(told: Any) -> dict[tuple[str, str], int]:
    return {(each["did"], each["would"]): each["requests"] for each in told["differences"]}


def test_what_the_candidate_would_have_done_otherwise_is_counted_with_samples(scene: Scene) -> None:
    for _ in range(6):  # connections of their own: on both workers
        assert [scene.ask("/a"), scene.ask("/b?secret=1"), scene.ask("/c"), scene.ask("/d")] == [200, 200, 404, 404]
    told = scene.shadow()
    assert (told["requests"], told["different"], told["failed"]) == (24, 12, 0)
    assert differences(told) == {
        ("HTTPRoute default/rb rule 0", "no_rule"): 6,
        ("no_rule", "HTTPRoute default/rc rule 0"): 6,
    }
    assert {sample for each in told["differences"] for sample in each["samples"]} == {
        f"GET {scene.host}:8080/b",
        f"GET {scene.host}:8080/c",
    }


def test_differences_are_metrics_whose_labels_are_names_of_the_configuration(scene: Scene) -> None:
    scene.ask("/b")
    scene.ask("/a")
    text = scene.gateway.get("/metrics").body.decode()
    assert "gatewayproxy_shadow_deciding 1.0" in text
    assert "gatewayproxy_shadow_requests_total 2.0" in text
    labels = 'did="HTTPRoute default/rb rule 0",listener="default/gw/web",would="no_rule"'
    assert f"gatewayproxy_shadow_differences_total{{{labels}}} 1.0" in text


def test_a_candidate_that_cannot_be_read_is_told_and_traffic_goes_on(scene: Scene) -> None:
    (scene.candidate / "all.yaml").write_text("kind: [")
    scene.gateway.signal(signal.SIGHUP)
    told = scene.wait_state("failed")
    assert "all.yaml" in told["where"]
    assert scene.ask("/b") == 200
    assert scene.gateway.get("/readyz").status == 200
    assert scene.shadow()["requests"] == 0
    assert main(["promote", "--server", scene.server]) == 1
    write(scene.candidate, *manifests(scene.host, scene.endpoint, "/a", "/b"))
    scene.gateway.signal(signal.SIGHUP)
    scene.wait_state("deciding")
    assert scene.ask("/b") == 200
    assert (scene.shadow()["requests"], scene.shadow()["different"]) == (1, 0)


def test_a_replaced_worker_decides_on_the_candidate_too_and_what_it_had_counted_stays(scene: Scene) -> None:
    for _ in range(8):
        scene.ask("/b")
    assert scene.shadow()["different"] == 8
    before = scene.gateway.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    scene.gateway.wait_until(lambda: not set(scene.gateway.worker_pids()) & {None, *before}, "new workers")
    scene.gateway.wait_ready()

    def counted() -> bool:
        scene.ask("/b")
        return int(scene.shadow()["different"]) > 8

    scene.gateway.wait_until(counted, "new workers compare")


def test_promoting_serves_the_candidate_without_cutting_a_connection(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(http.client.HTTPConnection(scene.host, 8080, timeout=60)) as kept:
        assert status_on(kept, "/c") == 404
        assert main(["promote", "--server", scene.server, "--dry-run", "-o", "json"]) == 1
        assert json.loads(capsys.readouterr().out)["different"] == 1
        assert main(["promote", "--server", scene.server]) == 0
        assert "promoted: generation 2" in capsys.readouterr().out
        assert status_on(kept, "/c") == 200
        assert status_on(kept, "/b") == 404
    assert scene.shadow()["state"] == "promoted"
    write(scene.candidate, *manifests(scene.host, scene.endpoint, "/e"))
    assert scene.gateway.reload()["result"] == "applied"
    assert (scene.ask("/e"), scene.ask("/c")) == (200, 404)


def test_before_any_traffic_a_dry_run_says_that_nothing_is_compared_yet(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["promote", "--server", scene.server, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"candidate {scene.candidate}: deciding\n    -> no request has come since")
    assert f"--against {scene.candidate} LOG" in said
    scene.ask("/a")
    assert main(["promote", "--server", scene.server, "--dry-run"]) == 0
    assert (
        capsys.readouterr().out
        == f"candidate {scene.candidate}: deciding\n1 request decided on it, too; 0 (0 %) differ\n"
    )


def test_what_comes_behind_a_promotion_is_compared_with_it(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", "--server", scene.server]) == 0
    assert main(["rollback", "1", "--server", scene.server]) == 0
    capsys.readouterr()
    assert main(["history", "--server", scene.server]) == 0
    promoted, back = capsys.readouterr().out.splitlines()[2:4]
    assert main(["promote", "--server", scene.server, "--dry-run"]) == 1
    assert "promoted\n    -> it serves; to try another candidate" in capsys.readouterr().out
    assert "rules +1 -1" in promoted
    assert "rules +1 -1" in back


def test_what_was_watched_is_promoted_though_its_files_have_changed(scene: Scene) -> None:
    (scene.candidate / "all.yaml").write_text("kind: [")
    assert main(["promote", "--server", scene.server]) == 0
    assert (scene.ask("/c"), scene.ask("/b")) == (200, 404)


def test_a_candidate_with_errors_is_promoted_by_force_alone(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    trees = manifests(scene.host, scene.endpoint, "/a")
    write(scene.candidate, *trees, http_route("wrong", "app", path="no-slash"))
    scene.gateway.signal(signal.SIGHUP)
    scene.gateway.wait_until(lambda: scene.shadow().get("errors"), "errors of the candidate")
    assert main(["promote", "--server", scene.server]) == 1
    assert "has errors" in capsys.readouterr().err
    assert scene.ask("/b") == 200
    assert main(["promote", "--server", scene.server, "--force"]) == 0
    assert scene.ask("/b") == 404


def test_promotion_is_a_post_that_names_what_was_seen(scene: Scene) -> None:
    assert scene.gateway.get("/promote").status == 405
    digest = scene.shadow()["digest"]
    json_type = {"Content-Type": "application/json"}
    for query, fields, status in ((f"?digest={digest}", {}, 403), ("?digest=other", json_type, 409)):
        with closing(http.client.HTTPConnection(*scene.gateway.admin, timeout=60)) as admin:
            admin.request("POST", f"/promote{query}", body=b"", headers=fields)
            assert admin.getresponse().status == status
    assert scene.ask("/b") == 200


def status_on(connection: http.client.HTTPConnection, path: str) -> int:
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status
