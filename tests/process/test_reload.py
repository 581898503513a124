"""SIGHUP on the real process: what changes changes, what does not lives on, what is wrong stays out."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.manifests import Tree, gateway, http_route, listener, service, tcp_route, write
from tests.support.process import http_get, loopback_address, refused, running
from tests.support.threaded_backend import Backend, backend


def _simple(host: str, app: Backend, *more: Tree) -> list[Tree]:
    return [gateway("gw", host, listener("http", 8080)), http_route("r", "app"), service("app", app.endpoint), *more]


def test_new_requests_on_an_old_connection_use_the_new_table(tmp_path: Path) -> None:
    host = loopback_address()
    with backend("one") as one, backend("two") as two:
        write(tmp_path, *_simple(host, one))
        with running(tmp_path, workers=1) as gw:
            connection = http.client.HTTPConnection(host, 8080, timeout=60)
            assert _backend_of(connection) == "one"
            old = connection.sock
            write(tmp_path, *_simple(host, two))
            report = gw.reload()
            assert (report["result"], report["generation"]) == ("applied", 2)
            assert report["changes"]["rules_changed"] == ["HTTPRoute default/r rule 0 on default/gw/http"]
            assert report["connections"]["kept"] == 1
            assert _backend_of(connection) == "two"
            assert connection.sock is old
            connection.close()


def test_a_reload_that_changes_nothing_keeps_the_generation(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, *_simple(host, app))
        with running(tmp_path, workers=1) as gw:
            write(tmp_path, *_simple(host, app, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}))
            report = gw.reload()
            assert (report["result"], report["generation"]) == ("unchanged", 1)
            assert ("Namespace", "n") in gw.objects()  # the status is new nevertheless


def test_listeners_come_and_go_and_the_others_do_not_notice(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, *_simple(host, app))
        with running(tmp_path) as gw:
            kept = http.client.HTTPConnection(host, 8080, timeout=60)
            assert _backend_of(kept) == "app"
            both = [gateway("gw", host, listener("http", 8080), listener("more", 8081))]
            write(tmp_path, *both, http_route("r", "app"), service("app", app.endpoint))
            report = gw.reload()
            assert report["changes"]["listeners_added"] == [f"default/gw/more on {host}:8081"]
            assert http_get(host, 8081).status == 200
            gw.wait_log(rf"listening address={host}:8081 protocol=HTTP listeners=default/gw/more")
            write(tmp_path, *_simple(host, app))
            report = gw.reload()
            assert report["changes"]["listeners_removed"] == [f"default/gw/more on {host}:8081"]
            gw.wait_until(lambda: refused(host, 8081), "the port to be closed")
            gw.wait_log(rf"listening_ended address={host}:8081")
            assert _backend_of(kept) == "app"
            kept.close()


def test_a_removed_listener_lets_its_exchanges_end(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, gateway("gw", host, listener("http", 8080), listener("old", 8081)), *_simple(host, app)[1:])
        with running(tmp_path, workers=1) as gw:
            with _asked(host, 8081, "/hold") as connection:
                assert app.held.acquire(timeout=60)
                write(tmp_path, *_simple(host, app))
                assert gw.reload()["connections"]["draining"] == 1
                app.release()
                assert connection.getresponse().status == 200
            gw.wait_until(lambda: gw.state()["reload"]["connections"]["finished"] == 1, "the drain to be told")
            assert gw.state()["reload"]["connections"]["cut"] == 0


def test_a_removed_listener_cuts_what_outlives_the_deadline(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, gateway("gw", host, listener("http", 8080), listener("old", 8081)), *_simple(host, app)[1:])
        with (
            running(tmp_path, workers=1, arguments=["--drain", "0.2"]) as gw,
            _asked(host, 8081, "/hold") as connection,
        ):
            assert app.held.acquire(timeout=60)
            write(tmp_path, *_simple(host, app))
            gw.reload()
            gw.wait_until(lambda: gw.state()["reload"]["connections"]["cut"] == 1, "the cut to be told")
            with pytest.raises((http.client.HTTPException, OSError)):
                connection.getresponse()


def test_sources_that_cannot_be_read_keep_the_old_table_and_say_why(tmp_path: Path) -> None:
    host = loopback_address()
    folder = tmp_path / "config"
    with backend() as app:
        write(folder, *_simple(host, app))
        with running(folder, workers=1) as gw:
            shutil.rmtree(folder)
            report = gw.reload()
            assert (report["result"], report["generation"], report["where"]) == ("failed", 1, str(folder))
            gw.wait_log("reload_failed")
            assert http_get(host, 8080).status == 200
            assert gw.get("/readyz").status == 200
            write(folder, *_simple(host, app))
            assert gw.reload()["result"] == "unchanged"


def test_a_wrong_object_is_told_with_its_line_and_the_rest_goes_live(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, *_simple(host, app))
        with running(tmp_path, workers=1) as gw:
            write(tmp_path, *_simple(host, app), http_route("new", "app", path="/new"))
            (tmp_path / "bad.yaml").write_text("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
                                               "metadata: {name: bad}\nspec: {rulez: []}\n")  # fmt: skip
            report = gw.reload()
            assert report["result"] == "applied"
            assert {problem["object"] for problem in report["problems"]} == {"HTTPRoute default/bad"}
            gw.wait_log(r"manifest_problem .*bad\.yaml:4.*rulez")
            assert http_get(host, 8080, "/new").status == 200


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("kind: HTTPRoute\nmetadata: {na", id="half a file"),
        pytest.param("just words", id="no object"),
        pytest.param("\x00\xff", id="no text"),
    ],
)
def test_a_document_that_cannot_be_read_keeps_the_table_and_is_named(tmp_path: Path, text: str) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, *_simple(host, app))
        with running(tmp_path, workers=1) as gw:
            good = (tmp_path / "all.yaml").read_text()
            write(tmp_path, gateway("gw", host, listener("http", 8080)))  # without the route
            (tmp_path / "broken.yaml").write_text(text, encoding="latin-1")
            report = gw.reload()
            assert (report["result"], report["generation"]) == ("failed", 1)
            assert report["where"].startswith(str(tmp_path / "broken.yaml"))
            assert report["hint"]
            assert http_get(host, 8080).status == 200
            (tmp_path / "all.yaml").write_text(good)
            (tmp_path / "broken.yaml").unlink()
            assert gw.reload()["result"] == "unchanged"


def test_a_start_with_a_broken_document_serves_the_others(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, *_simple(host, app))
        (tmp_path / "broken.yaml").write_text("{")
        with running(tmp_path, workers=1) as gw:
            gw.wait_log(r"manifest_problem .*broken\.yaml:")
            assert http_get(host, 8080).status == 200


def test_a_port_that_cannot_be_bound_is_in_the_status_and_the_rest_goes_live(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app, socket.socket() as squatter:
        squatter.bind((host, 8081))
        squatter.listen()
        both = [gateway("gw", host, listener("http", 8080), listener("taken", 8081)), *_simple(host, app)[1:]]
        write(tmp_path, *both)
        with running(tmp_path) as gw:
            assert http_get(host, 8080).status == 200
            assert gw.state()["reload"]["unbound"] == [
                {"address": host, "port": 8081, "error": "Address already in use"}
            ]
            assert _listener_condition(gw.objects(), "taken")["Programmed"] == "False"
            assert _listener_condition(gw.objects(), "http")["Programmed"] == "True"
            gw.wait_log("ss -ltnp")
            squatter.close()
            assert gw.reload()["unbound"] == []  # tried again at each reload
            assert http_get(host, 8081).status == 200
            assert _listener_condition(gw.objects(), "taken")["Programmed"] == "True"


def test_an_address_the_machine_does_not_have_is_not_usable(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        elsewhere = gateway("elsewhere", "192.0.2.1", listener("http", 8080))
        write(tmp_path, *_simple(host, app, elsewhere))
        with running(tmp_path, workers=1) as gw:
            assert http_get(host, 8080).status == 200
            conditions = gw.objects()["Gateway", "elsewhere"]["status"]["conditions"]
            programmed = next(c for c in conditions if c["type"] == "Programmed")
            assert (programmed["status"], programmed["reason"]) == ("False", "AddressNotUsable")


def test_a_second_gateway_does_not_take_half_of_the_connections(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, *_simple(host, app))
        with running(tmp_path, workers=1) as first, running_unready(tmp_path) as second:
            second.wait_log("bind_failed")
            assert second.get("/readyz").status == 503
            assert first.get("/readyz").status == 200


@contextmanager
def running_unready(folder: Path) -> Iterator[object]:
    from tests.support.process import Gateway

    gw = Gateway([str(folder), "--workers", "1"])
    try:
        yield gw
    finally:
        gw.close()


def test_a_storm_of_hangups_becomes_a_few_reloads(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, *_simple(host, app), *(http_route(f"r{n}", "app", path=f"/{n}") for n in range(300)))
        with running(tmp_path, workers=1) as gw:
            write(tmp_path, *_simple(host, app))
            for _ in range(200):
                gw.signal(signal.SIGHUP)
            gw.wait_until(lambda: gw.state()["generation"] == 2, "the last state of the folder")
            report = gw.reload()
            assert report["attempt"] < 100
            assert report["result"] == "unchanged"


def test_reloads_under_load_fail_no_request_and_cut_no_stream(tmp_path: Path) -> None:
    host = loopback_address()
    listeners = [listener("http", 8080), listener("tcp", 9000, "TCP")]
    with backend("one") as one, backend("two") as two:

        def config(app: Backend, n_more: int) -> list[Tree]:
            routes = [http_route(f"r{n}", "app", hostnames=[f"h{n}.example"]) for n in range(n_more)]
            gate = gateway("gw", host, *listeners)
            fixed = [http_route("r", "app"), tcp_route("t", "stream", section="tcp"), service("stream", one.endpoint)]
            return [gate, *fixed, service("app", app.endpoint), *routes]

        write(tmp_path, *config(one, 0))
        with running(tmp_path) as gw:
            with _Load(host, 8080) as load, _upgraded(host, 8080) as tunnel, _stream(host, 9000) as stream:
                for n in range(100):
                    write(tmp_path, *config((two, one)[n % 2], n % 10))
                    assert gw.reload()["result"] == "applied"
                    for connection in (tunnel, stream):
                        connection.sendall(b"%04d" % n)
                        assert _receive(connection, 4) == b"%04d" % n
            assert load.failures == []
            assert load.n_done > 200
            assert {"one", "two"} <= load.backends
            assert gw.state()["generation"] == 101


class _Load:
    """Keep-alive and new connections, each in a thread, until the end of the block."""

    def __init__(self, host: str, port: int) -> None:
        self.failures: list[str] = []
        self.backends: set[str] = set()
        self.n_done = 0
        self._host, self._port = host, port
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(new,)) for new in (False, False, True)]

    def __enter__(self) -> _Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, new: bool) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
        while not self._ended.is_set():
            try:
                self.backends.add(_backend_of(connection))
                self.n_done += 1
            except Exception as error:
                self.failures.append(f"{time.monotonic()}: {error!r}")
                connection.close()
            if new:
                connection.close()
        connection.close()


def _backend_of(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/")
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise AssertionError(f"{answer.status} {body!r}")
    name: str = json.loads(body)["backend"]
    return name


@contextmanager
def _asked(host: str, port: int, path: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("GET", path)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _upgraded(host: str, port: int) -> Iterator[socket.socket]:
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        yield connection


@contextmanager
def _stream(host: str, port: int) -> Iterator[socket.socket]:
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(b"0")
        assert connection.recv(1) == b"0"
        yield connection


def _receive(connection: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        part = connection.recv(n - len(data))
        assert part, "the stream was cut"
        data += part
    return data


def _listener_condition(objects: dict[tuple[str, str], dict[str, object]], name: str) -> dict[str, str]:
    status = objects["Gateway", "gw"]["status"]
    found = next(each for each in status["listeners"] if each["name"] == name)  # type: ignore[index]
    return {c["type"]: c["status"] for c in found["conditions"]}
