"""`explain` tells of each system's requests what the running gateway does with them: offline, live, and in its header.

Every request is sent by curl, from an address that --explain-header-from names; what the answer says of itself is what
/explain says of the same words.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.certs import client_context
from tests.support.seeds import ROOT, Seed, Served, serving

TELL = ["--explain-header-from", "127.0.0.0/8"]
_ITEM = re.compile(r'([a-z]+)=(?:"([^"]*)"|(\d+))')

REQUESTS = {
    "nvcf": [
        "http://api-keys.nvcf.localhost:8080/health",  # N1
        "http://API.nvcf.localhost:8080/health",
        "http://nobody.nvcf.localhost:8080/",  # N2
        "http://fn1.invocation.nvcf.localhost:8080/",  # N3
        "http://a.b.invocation.nvcf.localhost:8080/",
        "http://invocation.nvcf.localhost:8080/",
        "http://evilinvocation.nvcf.localhost:8080/",
        "http://llm.invocation.nvcf.localhost:8080/v1/chat",  # N4
        "-X POST http://api-keys.nvcf.localhost:8080/v1/admin/keys",  # N5
        "http://api-keys.nvcf.localhost:8080/v1/keys",
        "http://sandbox.nvcf.localhost:8080/",  # N6, N7
        "http://console.nvcf.localhost:8080/.well-known/acme-challenge/demo-token",  # N15
        "http://console.nvcf.localhost:8080/x?y=1",
        "https://console.nvcf.localhost:8443/",
        "--http2-prior-knowledge http://api.nvcf.localhost:8080/health",
    ],
    "novaedge": [
        "-H 'X-Beta-User: true' http://store.example.com:8080/api",  # E1
        "http://store.example.com:8080/api/version",  # E2
        "https://store.example.com:8443/apiary",
        "https://store.example.com:8443/shop/a?b=1",  # E3
        "https://store.example.com:8443/shopping",
        "https://store.example.com:8443/old-path/x?q",  # E4
        "--http2 https://store.example.com:8443/api",
        "https://other.example.com:8443/",
        # E6
        "-X POST -H 'Content-Type: application/grpc' --http2 https://grpc.example.com:8443/orders.OrderService/Get",
    ],
    "genestack": [
        "http://prometheus.stack.localhost:8080/",  # G5
        "http://loki.stack.localhost:8080/ready",  # G4
        "http://nova.stack.localhost:8080/v2?x=1",
        "https://nova.stack.localhost:8443/",  # G2
        "https://keystone.stack.localhost:8443/v3",
        "https://grafana.stack.localhost:8443/",  # G6
        "http://grafana:8080/",
        "http://x.cluster.local:8080/",
    ],
    "runai": [
        "https://runai.localhost:8443/",  # R1
        "https://p-w.runai.localhost:8443/",
        "https://svc.inference.runai.localhost:8443/",  # R2
        "https://a.b.inference.runai.localhost:8443/",
        "https://inference.runai.localhost:8443/",
        "https://team-a-notebook.runai.localhost:8443/",
        "-H 'Host: svc.inference.runai.localhost' https://p-w.runai.localhost:8443/",  # R3
        "--http2 -H 'Host: runai.localhost' https://p-w.runai.localhost:8443/",
    ],
    "cilium": [
        "http://any.localhost:8080/product",  # C1
        "http://any.localhost:8080/careers",
        "http://any.localhost:8080/hr",
        "http://any.localhost:8080/",
    ],
}


@pytest.fixture(scope="module", params=sorted(REQUESTS))
def seed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    with serving(request.param, tmp_path_factory.mktemp(request.param), arguments=TELL) as found:
        yield found


def sent(seed: Seed, words: str) -> tuple[Served, list[str]]:
    """Return the answer to the request of *words*, and all the words that said it."""
    *options, url = shlex.split(words)
    name, _, port = url.partition("://")[2].partition("/")[0].rpartition(":")
    return seed.curl(url, "--insecure", *options), [*options, url, "--resolve", f"{name}:{port}:{seed.host}"]


def asked(seed: Seed, words: list[str]) -> dict[str, Any]:
    """Return what /explain says of *words*."""
    answer = seed.gateway.get("/explain?" + urlencode({"request": shlex.join(words)}))
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json
    return told


def header(answer: Served) -> dict[str, str]:
    """Return what *answer* says of itself."""
    return {name: text or number for name, text, number in _ITEM.findall(answer.headers["x-gatewayproxy-explain"])}


def agree(told: dict[str, Any], answer: Served) -> None:
    """Fail unless what is *told* is what the *answer* to the request says."""
    said = header(answer)
    rule = "" if told["rule"] is None else str(told["rule"]) + (f" ({told['ruleName']})" if told["ruleName"] else "")
    route = f"{told['kind']} {told['route']}" if told["route"] else ""
    assert [said.get(name, "") for name in ("listener", "route", "rule")] == [told["listener"] or "", route, rule]
    assert said["generation"] == str(told["generation"])
    own = told["answer"] or next((each["answer"] for each in told["backends"] if each["answer"]), None)
    if own is not None:
        assert said["reason"] == own["reason"]
        if own["grpc"]:
            assert (answer.status, answer.headers["grpc-status"]) == (200, own["grpc"].split(" ")[1])
        else:
            assert answer.status == own["status"]
        assert answer.headers.get("location") == dict(line.split(": ", 1) for line in own["headers"]).get("location")
        return
    assert answer.status == 200
    (backend,) = (each for each in told["backends"] if each["name"] == said["backend"])
    assert answer.backend == backend["name"].rpartition(":")[0]
    line = backend["request"][0].split(" ")
    assert (answer.seen["method"], answer.seen["path"]) == (line[0], line[1])


def test_the_answer_to_each_request_is_what_explain_tells(seed: Seed) -> None:
    name = seed.folder.name
    for words in REQUESTS[name]:
        answer, said = sent(seed, words)
        try:
            agree(asked(seed, said), answer)
        except AssertionError as error:
            raise AssertionError(f"{name}: {words}: {error}") from error


def test_the_command_tells_the_same_of_the_manifests_as_of_the_gateway(seed: Seed) -> None:
    host, port = seed.gateway.admin
    server = ["--server", f"{host}:{port}"]
    for words in REQUESTS[seed.folder.name][:2]:
        _, said = sent(seed, words)
        live, live_status = explained(*server, words=said)
        offline, status = explained(str(seed.folder), *seed.port_flags(), words=said)
        assert (live.pop("generation"), live.pop("note")) == (1, "")
        assert (live, live_status) == (offline, status)


def explained(*arguments: str, words: list[str]) -> tuple[dict[str, Any], int]:
    """Return what `gatewayproxy explain -o json` prints, read, and its exit status."""
    command = [sys.executable, "-m", "gatewayproxy", "explain", *arguments, "-o", "json", "--", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told, done.returncode


@pytest.fixture(scope="module")
def nvcf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    with serving("nvcf", tmp_path_factory.mktemp("nvcf")) as found:
        yield found


@pytest.mark.parametrize("port", [10_081, 10_086, 4222])
def test_N10_a_connection_goes_where_explain_tells(nvcf: Seed, port: int) -> None:
    with socket.create_connection((nvcf.host, port), timeout=60) as client:
        client.sendall(b"\x00")
        assert client.recv(1) == b"\x00"
    told = asked(nvcf, [f"tcp://{nvcf.host}:{port}"])
    line = nvcf.logged(listener=told["listener"], protocol="tcp")
    assert line["route"] == f"TCPRoute {told['route']}"
    assert line["backend"] == told["backends"][0]["name"]
    missed = {(each["route"], each["failed"]) for each in told["missed"]}
    assert missed == {(f"envoy-gateway/{name}", "port") for name in ("grpc", "worker", "nats")} - {
        (told["route"], "port")
    }


@pytest.fixture(scope="module")
def novaedge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    with serving("novaedge", tmp_path_factory.mktemp("novaedge")) as found:
        yield found


@pytest.mark.parametrize("name", ["redis.internal.example.com", "other.example.com"])
def test_E8_a_server_name_leads_where_explain_tells(novaedge: Seed, name: str) -> None:
    told = asked(novaedge, [f"tls://{name}:6379", "--resolve", f"{name}:6379:{novaedge.host}"])
    with socket.create_connection((novaedge.host, 6379), timeout=60) as client:
        with pytest.raises(OSError):  # nobody speaks TLS behind it
            client_context().wrap_socket(client, server_hostname=name)
    if name.startswith("redis"):
        assert (told["kind"], told["route"]) == ("TLSRoute", "gateway-system/redis-tls-route")
        assert told["match"]["text"] == "server name redis.internal.example.com"
        line = novaedge.logged(protocol="tls", host=name)
        assert (line["route"], line["backend"]) == ("TLSRoute " + told["route"], told["backends"][0]["name"])
    else:
        assert (told["route"], told["answer"]["reason"]) == (None, "no_route")
        assert [(each["kind"], each["failed"]) for each in told["missed"]] == [("TLSRoute", "host")]
        assert novaedge.logged(protocol="tls", host=name)["reason"] == "no_route"


def test_C2_a_route_that_no_listener_has_is_named_with_its_reason(tmp_path: Path) -> None:
    with serving("cilium", tmp_path) as cilium:
        told = asked(cilium, ["http://any.localhost:8080/hr", "--resolve", f"any.localhost:8080:{cilium.host}"])
        assert cilium.ask("any.localhost", "/hr").status == 404
        (hr,) = told["unaccepted"]
        assert (hr["kind"], hr["route"], hr["reason"]) == ("HTTPRoute", "hr/hr", "NotAllowedByListeners")
        cilium.tree("Namespace", "hr")["metadata"].setdefault("labels", {})["shared-gateway-access"] = "true"
        cilium.reload()
        told = asked(cilium, ["http://any.localhost:8080/hr", "--resolve", f"any.localhost:8080:{cilium.host}"])
        assert (told["route"], told["generation"], told["unaccepted"]) == ("hr/hr", 2, [])
