"""Persistent sessions of the real process: over workers, reloads, crashes and restarts; budgets by policies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.process import http_get, loopback_address, running
from tests.support.threaded_backend import Backend, backend

POLICY = {
    "apiVersion": "gateway.networking.x-k8s.io/v1alpha1",
    "kind": "XBackendTrafficPolicy",
    "metadata": {"name": "app"},
    "spec": {
        "targetRefs": [{"group": "", "kind": "Service", "name": "app"}],
        "sessionPersistence": {"cookie": {"name": "keep", "lifetimeType": "Permanent"}, "absoluteTimeout": "1h"},
    },
}


class Site(NamedTuple):
    folder: Path
    host: str
    apps: tuple[Backend, ...]

    def write(self, *apps: Backend, extra: Any = None) -> None:
        """Serve *apps* by a rule whose sessions are by the cookie keep."""
        route: Any = http_route("r", "app")
        objects = [gateway("gw", self.host, listener("http", 8080)), route]
        if extra is None:
            route["spec"]["rules"][0]["sessionPersistence"] = {"cookie": {"name": "keep"}}
        else:
            objects.append(extra)
        write(self.folder, *objects, service("app", *(app.endpoint for app in apps)))

    def ask(self, cookie: str = "") -> tuple[str, str]:
        """Return who answers a connection of its own, and the cookie that it was given."""
        answer = http_get(self.host, 8080, headers={"Cookie": f"keep={cookie}"} if cookie else None)
        assert answer.status == 200
        told = re.match(r"keep=([\w.-]+); Path=/; ", answer.headers.get("set-cookie", ""))
        return answer.json["backend"], told[1] if told else ""

    def begun(self) -> dict[str, str]:
        """Return a session with each backend."""
        found: dict[str, str] = {}
        for _ in range(200):
            who, cookie = self.ask()
            found[who] = cookie
            if len(found) == len(self.apps):
                return found
        raise AssertionError(f"only {sorted(found)} were reached")

    def holds(self, kept: dict[str, str]) -> bool:
        """Return whether every one of *kept* leads where it did, whatever worker it meets."""
        return all(self.ask(cookie) == (who, "") for who, cookie in kept.items() for _ in range(8))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        apps = tuple(stack.enter_context(backend(name)) for name in ("one", "two", "three"))
        folder = tmp_path / "config"
        folder.mkdir()
        made = Site(folder, loopback_address(), apps)
        made.write(*apps)
        yield made


def test_sessions_survive_workers_reloads_and_a_killed_worker(site: Site) -> None:
    with running(site.folder, workers=2) as gw:
        kept = site.begun()
        assert site.holds(kept)
        with backend("four") as fourth:
            site.write(fourth, *reversed(site.apps))
            assert gw.reload()["result"] == "applied"
            assert site.holds(kept)
        os.kill(gw.worker_pids()[0], signal.SIGKILL)
        gw.wait_until(lambda: gw.state()["workers"][0]["restarts"] == 1, "a new worker")
        gw.wait_ready()
        assert site.holds(kept)
        one, *others = site.apps
        site.write(*others)
        gw.reload()
        assert site.ask(kept[one.name])[1]  # a session with another
        assert site.holds({app.name: kept[app.name] for app in others})


def test_sessions_survive_a_restart_with_a_key_file_and_not_without(site: Site, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(os.urandom(48))
    with running(site.folder, arguments=["--session-key-file", str(key)]):
        kept = site.begun()
    with running(site.folder, arguments=["--session-key-file", str(key)]):
        assert site.holds(kept)
    with running(site.folder):
        assert all(site.ask(cookie)[1] for cookie in kept.values())


@pytest.mark.parametrize(
    "content", [None, b"", b"short", b"x" * 31 + b"\n" * 10], ids=["missing", "empty", "short", "blanks"]
)
def test_a_key_file_that_is_none_is_refused_at_the_start(site: Site, tmp_path: Path, content: bytes | None) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)
    command = [sys.executable, "-m", "gatewayproxy", "run", str(site.folder), "--session-key-file", str(key)]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert ended.returncode in (1, 2)
    assert b"--session-key-file" in ended.stderr
    assert b"head -c 32 /dev/urandom" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_a_policy_gives_a_service_sessions_and_takes_them_away(site: Site) -> None:
    site.write(*site.apps, extra=POLICY)
    with running(site.folder, workers=2) as gw:
        assert (
            gw.objects()["XBackendTrafficPolicy", "app"]["status"]["ancestors"][0]["conditions"][0]["status"] == "True"
        )
        kept = site.begun()
        assert site.holds(kept)
        answer = http_get(site.host, 8080)
        assert "; Max-Age=3600; " in answer.headers["set-cookie"]
        site.write(*site.apps, extra={**POLICY, "spec": {"targetRefs": POLICY["spec"]["targetRefs"]}})
        gw.reload()
        assert "set-cookie" not in http_get(site.host, 8080).headers
