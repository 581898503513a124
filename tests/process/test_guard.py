"""Reloads under the guard, by the real process: what makes things worse is taken back, and nobody else notices."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.support.grpc_peers import CLIENTS, serving
from tests.support.manifests import Tree, gateway, grpc_route, http_route, listener, service, tcp_route, write
from tests.support.ports import closed_port
from tests.support.process import Gateway, http_get, loopback_address, running
from tests.support.threaded_backend import Backend, backend

WINDOW_S = 20
GUARDED = ["--guard", f"{WINDOW_S}s"]


class Load:
    """Clients that ask for paths again and again, each on a connection of its own."""

    def __init__(self, host: str, paths: Sequence[str]) -> None:
        self.host = host
        self.statuses: dict[str, list[int]] = {path: [] for path in paths}
        self.broken: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(path,)) for path in paths]
        for thread in self._threads:
            thread.start()

    def _ask(self, path: str) -> None:
        connection = http.client.HTTPConnection(self.host, 8080, timeout=60)
        try:
            while not self._stop.wait(0.005):
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                self.statuses[path].append(answer.status)
        except Exception as error:
            self.broken.append(f"{path}: {error!r}")
        finally:
            connection.close()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


@contextmanager
def load(gw: Gateway, host: str, *paths: str) -> Iterator[Load]:
    """Ask for *paths*, long enough before the block for the guard to know how they do."""
    clients = Load(host, paths)
    try:
        gw.wait_until(lambda: clients.broken or all(len(each) > 60 for each in clients.statuses.values()), "some load")
        yield clients
    finally:
        clients.stop()
    assert clients.broken == []


def config(host: str, app: Backend, a_endpoint: str, *more: Tree) -> list[Tree]:
    return [
        gateway("gw", host, listener("http", 8080)),
        http_route("a", "sa", path="/a"), http_route("b", "sb", path="/b"),
        service("sa", a_endpoint), service("sb", app.endpoint), *more,
    ]  # fmt: skip


def dead_end() -> str:
    return "{}:{}".format(*closed_port())


def generations(gw: Gateway) -> list[Any]:
    listed: list[Any] = gw.get("/history").json["generations"]
    return listed


def test_a_reload_whose_backend_fails_is_taken_back_and_unchanged_routes_never_notice(tmp_path: Path) -> None:
    host, folder, kept = loopback_address(), tmp_path / "config", ["--history-dir", str(tmp_path / "history")]
    with backend() as app:
        write(folder, *config(host, app, app.endpoint))
        with running(folder, arguments=[*GUARDED, *kept]) as gw:
            with load(gw, host, "/a", "/b") as clients:
                write(folder, *config(host, app, dead_end()))
                assert gw.reload()["generation"] == 2
                said = gw.wait_log(
                    r"guard_reverting generation=2 back_to=1 subject=\"(.*?)\" before=(\S+) after=(\S+) p=\S+"
                )
                gw.wait_until(lambda: gw.state()["guard"]["reverts"] == 1, "the revert")
                n = len(clients.statuses["/a"])
                gw.wait_until(lambda: len(clients.statuses["/a"]) > n + 20, "requests after the revert")
            assert said[1] in ("HTTPRoute default/a rule 0 on default/gw/http", "rules changed on default/gw/http")
            assert set(clients.statuses["/b"]) == {200}
            assert set(clients.statuses["/a"]) == {200, 503}
            assert set(clients.statuses["/a"][-20:]) == {200}
            _the_revert_is_told(gw)
            _the_same_input_is_refused_until_it_changes(gw, folder, config(host, app, app.endpoint))
            write(folder, *config(host, app, dead_end(), http_route("c", "sb", path="/c")))
        _a_start_does_not_try_it_again(folder, host, app, kept)


def _the_revert_is_told(gw: Gateway) -> None:
    state = gw.state()
    assert (state["rolled_back_to"], state["reload"]["reason"], state["guard"]["reverts"]) == (1, "guard", 1)
    assert "gatewayproxy_config_guard_reverts_total 1.0" in gw.get("/metrics").body.decode()
    bad, back = generations(gw)[1:]
    assert (back["reason"], back["of"]) == ("guard", 1)
    assert bad["reverted"]["back_to"] == 1
    assert bad["reverted"]["after"]["errors"] >= 5
    assert bad["reverted"]["p"] < 0.01


def _the_same_input_is_refused_until_it_changes(gw: Gateway, folder: Path, better: list[Tree]) -> None:
    report = gw.reload()
    assert report["result"] == "failed"
    assert report["error"] == "these manifests were reverted by the guard, as generation 2"
    assert "gatewayproxy rollback 2" in report["hint"]
    assert gw.state()["rolled_back_to"] == 1
    bad = (folder / "all.yaml").read_bytes()
    write(folder, *better)
    assert gw.reload()["result"] == "unchanged"
    assert gw.state()["rolled_back_to"] == 0
    (folder / "all.yaml").write_bytes(bad)
    assert gw.reload()["result"] == "failed"


def _a_start_does_not_try_it_again(folder: Path, host: str, app: Backend, kept: list[str]) -> None:
    """*folder* is changed: served. The input that was taken back is not, at a start either."""
    with running(folder, arguments=[*GUARDED, *kept]) as gw:
        assert http_get(host, 8080, "/c").status == 200
        assert gw.state()["rolled_back_to"] == 0


def test_an_input_that_was_taken_back_does_not_serve_after_a_restart(tmp_path: Path) -> None:
    host, folder, arguments = loopback_address(), tmp_path / "config", [*GUARDED, "--history-dir", str(tmp_path / "h")]
    with backend() as app:
        write(folder, *config(host, app, app.endpoint))
        with running(folder, arguments=arguments) as gw:
            with load(gw, host, "/a"):
                write(folder, *config(host, app, dead_end()))
                gw.reload()
                gw.wait_until(lambda: gw.state()["guard"]["reverts"] == 1, "the revert")
        with running(folder, arguments=arguments) as again:
            assert http_get(host, 8080, "/a").status == 200
            assert again.state()["rolled_back_to"] == 3
            again.wait_log(r"reload_failed .*reverted by the guard")
            assert generations(again)[-1]["reason"] == "start"


def test_somebody_who_wants_it_nevertheless_gets_it(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, *config(host, app, app.endpoint))
        with running(tmp_path, arguments=GUARDED) as gw:
            with load(gw, host, "/a"):
                write(tmp_path, *config(host, app, dead_end()))
                gw.reload()
                gw.wait_until(lambda: gw.state()["guard"]["reverts"] == 1, "the revert")
                connection = http.client.HTTPConnection(*gw.admin, timeout=60)
                connection.request("POST", "/rollback/2", headers={"Content-Type": "application/json"})
                assert connection.getresponse().status == 200
                connection.close()
                assert gw.state()["guard"]["watching"] is None
                assert http_get(host, 8080, "/a").status == 503
            assert gw.reload()["result"] == "unchanged"
            assert gw.state()["rolled_back_to"] == 0


def test_a_route_that_is_lost_comes_back(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, *config(host, app, app.endpoint))
        with running(tmp_path, arguments=GUARDED) as gw:
            began_at = monotonic()
            with load(gw, host, "/a", "/b") as clients:
                gw.wait_until(lambda: monotonic() > began_at + WINDOW_S / 2, "a rate")  # counted each quarter of it
                gw.wait_until(lambda: clients.broken or len(clients.statuses["/a"]) > 400, "some more load")
                write(
                    tmp_path, *(each for each in config(host, app, app.endpoint) if each["metadata"] != {"name": "a"})
                )
                gw.reload()
                gw.wait_log(r"guard_reverting generation=2 back_to=1 subject=\"rules changed on default/gw/http\"")
                gw.wait_until(lambda: http_get(host, 8080, "/a").status == 200, "the route")
            assert set(clients.statuses["/b"]) == {200}


def test_a_route_of_streams_that_lead_nowhere_comes_back(tmp_path: Path) -> None:
    host = loopback_address()

    def objects(endpoint: str) -> list[Tree]:
        return [
            gateway("gw", host, listener("http", 8080), listener("tcp", 9000, "TCP")),
            tcp_route("t", "st", section="tcp"), service("st", endpoint),
        ]  # fmt: skip

    def echoes() -> bool:
        try:
            with socket.create_connection((host, 9000), timeout=60) as stream:
                stream.sendall(b"\x01")
                return stream.recv(1) == b"\x01"
        except ConnectionError:  # even while it is being made: a reset is quick
            return False

    with backend() as app:
        write(tmp_path, *objects(app.endpoint))
        with running(tmp_path, arguments=GUARDED) as gw:
            assert all(echoes() for _ in range(40))
            write(tmp_path, *objects(dead_end()))
            gw.reload()
            assert not echoes()
            gw.wait_until(lambda: echoes() or None, "the way back")
            gw.wait_log(r"guard_reverting .*subject=\"streams of rules changed on default/gw/tcp\"")


class Calls:
    """A gRPC client that makes one call after another."""

    def __init__(self, client: str, host: str) -> None:
        self.codes: list[int] = []
        self.broken: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._call(client, host)))
        self._thread.start()

    async def _call(self, client: str, host: str) -> None:
        try:
            async with CLIENTS[client]((host, 8080)) as caller:
                while not self._stop.is_set():
                    self.codes.append((await caller.call("Unary", b"x", timeout=60)).status)
        except Exception as error:
            self.broken.append(repr(error))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)


@pytest.mark.parametrize(("client", "server"), [("grpcio", "grpclib"), ("grpclib", "grpcio")])
def test_a_route_of_calls_that_leads_to_a_server_that_is_unavailable_is_taken_back(
    tmp_path: Path, client: str, server: str
) -> None:
    """The server is there and answers HTTP 200: what is wrong stands in grpc-status alone."""
    host = loopback_address()

    def objects(port: int) -> list[Tree]:
        return [
            gateway("gw", host, listener("http", 8080)), grpc_route("r", "s"),
            service("s", f"127.0.0.1:{port}", protocol="kubernetes.io/h2c"),
        ]  # fmt: skip

    with serving(server) as good, serving(f"{server}-unavailable") as bad:
        write(tmp_path, *objects(good))
        with running(tmp_path, arguments=GUARDED) as gw:
            calls = Calls(client, host)
            try:
                gw.wait_until(lambda: calls.broken or len(calls.codes) > 60, "some calls")
                write(tmp_path, *objects(bad))
                gw.reload()
                said = gw.wait_log(
                    r"guard_reverting generation=2 back_to=1 subject=\"(.*?)\" before=0/\d+ after=\d+/\d+ "
                )
                gw.wait_until(lambda: gw.state()["guard"]["reverts"] == 1, "the revert")
                n = len(calls.codes)
                gw.wait_until(lambda: calls.broken or len(calls.codes) > n + 20, "calls after the revert")
            finally:
                calls.stop()
            assert said[1] in ("GRPCRoute default/r rule 0 on default/gw/http", "rules changed on default/gw/http")
            assert (calls.broken, set(calls.codes), set(calls.codes[-20:])) == ([], {0, 14}, {0})
            assert b"gatewayproxy_failed_calls_total{" in gw.get("/metrics").body


def test_a_good_reload_stays_and_the_guard_is_content(tmp_path: Path) -> None:
    host = loopback_address()
    with backend("one") as one, backend("two") as two:
        write(tmp_path, *config(host, one, one.endpoint))
        with running(tmp_path, arguments=["--guard", "10s"]) as gw, load(gw, host, "/a", "/b") as clients:
            write(tmp_path, *config(host, one, two.endpoint))
            gw.reload()
            assert gw.state()["guard"]["watching"]["good"] == 1
            gw.wait_log("guard_content generation=2 good=1")
            assert gw.state()["guard"] == {"window_s": 10.0, "reverts": 0, "watching": None}
            assert http_get(host, 8080, "/a").json["backend"] == "two"
            assert {status for each in clients.statuses.values() for status in each} == {200}


def test_a_reload_within_the_window_of_a_bad_one_is_judged_with_it(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, *config(host, app, app.endpoint))
        with running(tmp_path, arguments=["--guard", "300s"]) as gw:  # looks every ten seconds
            with load(gw, host, "/a", "/b"):
                bad = dead_end()
                write(tmp_path, *config(host, app, bad))
                gw.reload()
                write(tmp_path, *config(host, app, bad, http_route("c", "sb", path="/c")))
                assert gw.reload()["generation"] == 3
                gw.wait_log("guard_reverting generation=3 back_to=1")
                gw.wait_until(lambda: http_get(host, 8080, "/a").status == 200, "the route")
                assert http_get(host, 8080, "/c").status == 404
                assert gw.state()["rolled_back_to"] == 1
