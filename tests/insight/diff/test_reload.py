"""What a diff says of open connections is what becomes of them when the process reloads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest

from gatewayproxy.compiler.pipeline import Compiled
from gatewayproxy.insight.diff import compare
from gatewayproxy.insight.offline import compiled
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.sources import read_files, read_paths
from tests.support.process import refused, wait_until
from tests.support.seeds import Seed, Tree, http_port, serving


def compiled_now(seed: Seed) -> Compiled:
    seed.save()
    read = read_paths([str(seed.folder)])
    ports = {each["port"] for tree in seed.trees("Gateway") for each in tree["spec"]["listeners"]}
    options = CompileOptions(now=1_790_000_000.0, port_map={port: http_port(port) for port in ports})
    return compiled(read.sources, options, read_files)


def effects(old: Compiled, new: Compiled) -> dict[str, str]:
    return {each.what: each.text for each in compare(old, new).effects}


def asked(connection: HTTPConnection, host: str) -> int:
    connection.request("GET", "/", headers={"Host": host})
    answer = connection.getresponse()
    answer.read()
    return answer.status


@pytest.fixture
def seed(tmp_path: Path) -> Iterator[Seed]:
    with serving("nvcf", tmp_path, arguments=["--drain", "20"]) as seed:
        yield seed


def listener(seed: Seed, name: str) -> Tree:
    listeners: list[Tree] = seed.tree("Gateway", "envoy-gateway/nvcf-gateway")["spec"]["listeners"]
    (found,) = (each for each in listeners if each["name"] == name)
    return found


def test_a_port_that_goes_refuses_clients_and_one_that_stays_keeps_them(seed: Seed) -> None:
    old = compiled_now(seed)
    with seed.http() as kept:
        assert asked(kept, "api.nvcf.localhost") == 200
        sock = kept.sock
        listener(seed, "nats")["port"] = 4223
        told = effects(old, compiled_now(seed))
        assert told[f"TCP {seed.host}:4222"].startswith("closes")
        assert told[f"TCP {seed.host}:4223"] == "opens"
        assert not any(what.startswith("HTTP ") for what in told)
        seed.reload()
        assert asked(kept, "api.nvcf.localhost") == 200
        assert kept.sock is sock
    wait_until(lambda: refused(seed.host, 4222), "the port to be closed")
    socket.create_connection((seed.host, 4223), timeout=60).close()


def test_connections_of_a_tls_listener_that_is_renamed_are_told_to_connect_anew(seed: Seed) -> None:
    old = compiled_now(seed)
    with seed.http("api.nvcf.localhost", port=443) as connection:
        assert asked(connection, "api.nvcf.localhost") == 200
        listener(seed, "https")["name"] = "secure"
        for route in seed.trees("HTTPRoute"):
            for parent in route["spec"]["parentRefs"]:
                if parent.get("sectionName") == "https":
                    parent["sectionName"] = "secure"
        told = effects(old, compiled_now(seed))
        assert any("https" in what and "421" in text for what, text in told.items())
        seed.reload()
        assert asked(connection, "api.nvcf.localhost") == 421
    with seed.http("api.nvcf.localhost", port=443) as anew:
        assert asked(anew, "api.nvcf.localhost") == 200


def test_idle_connections_to_an_endpoint_that_goes_are_closed(tmp_path: Path) -> None:
    with serving("nvcf", tmp_path, peers=["nvcf/api"]) as seed, socket.create_server(seed.endpoint("nvcf/api")) as peer:
        old = compiled_now(seed)
        with ThreadPoolExecutor(1) as client:
            answer = client.submit(seed.ask, "api.nvcf.localhost")
            connection, _ = peer.accept()
            connection.settimeout(60)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += connection.recv(4096)
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            assert answer.result().status == 204
        host, port = seed.endpoint("nvcf/api")
        seed.tree("Service", "nvcf/api")["metadata"]["annotations"]["gatewayproxy.io/endpoints"] = "127.0.0.1:1"
        told = effects(old, compiled_now(seed))
        assert told[f"endpoint {host}:{port} of nvcf/api:8080"].startswith("idle connections to it close at once")
        seed.reload()
        assert connection.recv(1) == b""
        connection.close()
