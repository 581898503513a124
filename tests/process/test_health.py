"""The gRPC health service of the real process, asked by grpcio and by grpclib."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.process import Gateway, http_get, loopback_address, running
from tests.support.seed_peers import grpc_check

NAME = "/grpc.health.v1.Health/"
SERVING, NOT_SERVING, UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


@pytest.fixture
def host() -> str:
    return loopback_address()


@pytest.fixture
def folder(tmp_path: Path, host: str) -> Path:
    write(
        tmp_path, gateway("gw", host, listener("http", 8080)), http_route("r", "app"), service("app", "127.0.0.1:9")
    )  # fmt: skip
    return tmp_path


class Client:
    """A grpcio channel to the admin address."""

    def __init__(self, gateway: Gateway) -> None:
        self.channel = grpc.insecure_channel("{}:{}".format(*gateway.admin))

    def check(self, name: str = "") -> bytes:
        return bytes(self.channel.unary_unary(NAME + "Check")(request(name), timeout=60))

    def watch(self, name: str = "") -> Iterator[bytes]:
        return iter(self.channel.unary_stream(NAME + "Watch")(request(name), timeout=60))


def request(name: str) -> bytes:
    return b"\x0a" + bytes((len(name),)) + name.encode() if name else b""


@pytest.fixture
def served(folder: Path) -> Iterator[tuple[Gateway, Client]]:
    with running(folder, workers=1) as running_gateway:
        client = Client(running_gateway)
        try:
            yield running_gateway, client
        finally:
            client.channel.close()


async def test_both_clients_hear_that_the_gateway_serves(served: tuple[Gateway, Client]) -> None:
    running_gateway, client = served
    assert client.check() == SERVING
    assert client.check("default/gw") == SERVING
    assert await grpc_check(*running_gateway.admin)
    assert running_gateway.get("/readyz").status == 200  # on the same port


def test_an_unknown_name_is_not_found(served: tuple[Gateway, Client]) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        served[1].check("default/other")
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert "namespace/name" in raised.value.details()


def test_a_gateway_that_is_not_programmed_does_not_serve(
    served: tuple[Gateway, Client], folder: Path, host: str
) -> None:
    running_gateway, client = served
    watch = client.watch("default/second")
    assert next(watch) == UNKNOWN
    with socket.create_server((host, 8081)):
        write(folder, gateway("second", host, listener("http", 8081)), name="second.yaml")
        running_gateway.reload()
        assert next(watch) == NOT_SERVING
        assert client.check("default/second") == NOT_SERVING
        assert client.check() == SERVING
    running_gateway.reload()
    assert next(watch) == SERVING
    (folder / "second.yaml").unlink()
    running_gateway.reload()
    assert next(watch) == UNKNOWN


def test_a_watcher_hears_of_a_worker_that_dies_and_of_its_successor(served: tuple[Gateway, Client]) -> None:
    running_gateway, client = served
    watch = client.watch()
    assert next(watch) == SERVING
    (pid,) = running_gateway.worker_pids()
    os.kill(pid, signal.SIGKILL)
    assert next(watch) == NOT_SERVING
    assert next(watch) == SERVING


def test_before_the_first_configuration_nothing_serves(tmp_path: Path) -> None:
    fifo = tmp_path / "manifests.yaml"
    os.mkfifo(fifo)  # the compiler waits for somebody to write
    started = Gateway([str(fifo), "--workers", "1"])
    client = Client(started)
    try:
        assert client.check() == NOT_SERVING
        assert http_get(*started.admin, "/readyz").status == 503
    finally:
        client.channel.close()
        writer = started.wait_until(lambda: _writer(fifo), "the compiler to read")
        started.process.kill()
        os.close(writer)  # lets the compiler go, and find that the rest is gone
        started.close()


def _writer(fifo: Path) -> int:
    """Return a descriptor to write to *fifo*; 0 while nobody reads from it."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return 0


def test_who_watches_is_told_of_the_drain_before_the_process_ends(served: tuple[Gateway, Client]) -> None:
    running_gateway, client = served
    watch = client.watch()
    named = client.watch("default/gw")
    assert (next(watch), next(named)) == (SERVING, SERVING)
    running_gateway.signal(signal.SIGTERM)
    assert (next(watch), next(named)) == (NOT_SERVING, NOT_SERVING)
    for each in (watch, named):
        with pytest.raises(grpc.RpcError) as raised:
            next(each)
        assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.UNAVAILABLE, "the gateway stops")
    assert running_gateway.wait_exit() == 0
    assert "Traceback" not in running_gateway.log
