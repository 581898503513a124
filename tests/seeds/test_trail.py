"""What the gateway of each system says of requests that it cannot serve: the cause, and the nearest rule."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from gatewayproxy.insight import offline
from gatewayproxy.insight.decision import decide
from gatewayproxy.insight.ports import PortTable
from gatewayproxy.insight.requests import Request, server_name_for
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.sources import read_files, read_paths
from gatewayproxy.routing.nearest import Nearest
from gatewayproxy.routing.table import HostIndex, PortKind
from tests.support.seeds import copied, serving

SYSTEMS = ["cilium", "genestack", "novaedge", "nvcf", "runai"]
METHODS = [b"GET", b"DELETE"]
PATHS = [b"/", b"/apis", b"/zzz", b"/v1/admin/keyz", b"/orders.OrderService/Nothing", b"/old-pat"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_nearest_rule_is_the_one_that_explain_names_first(system: str, tmp_path: Path) -> None:
    read = read_paths([str(copied(system, tmp_path))])
    compiled = offline.compiled(read.sources, CompileOptions(), read_files)
    ports = PortTable(compiled.table)
    n_missed = 0
    for port in compiled.table.ports:
        index, tls = port.http or HostIndex(), port.kind is not PortKind.HTTP
        nearest = Nearest(index)
        hosts = [*index.exact, *(b"x" + name for name in index.wildcard), b"other.test"]
        for host, method, path in itertools.product(hosts, METHODS, PATHS):
            request = Request(
                port=port.port, address=port.address, tls=tls, authority=host, method=method,
                server_name=server_name_for(host) if tls else None,
            ).with_target(path)  # fmt: skip
            decision = decide(ports, request, compiled.plan)
            if decision.routed.reason != "no_rule" or decision.head is None or decision.routed.vhost is None:
                continue
            n_missed += 1
            near, first = nearest.match(decision.routed.vhost, decision.head), decision.missed[0]
            assert near is not None
            assert (near.failure.failed, near.failure.nearness) == (first.failed, first.nearness)
    assert n_missed or all(_takes_all(vhost) for port in compiled.table.ports for vhost in _vhosts(port.http))


def _vhosts(index: HostIndex | None) -> list[object]:
    return [*index.exact.values(), *index.wildcard.values()] if index is not None else []


def _takes_all(vhost: object) -> bool:
    layers = getattr(vhost, "layers", ())
    return not layers or any(b"" in layer.prefix for layer in layers)


def test_a_typing_error_in_a_name_is_told_with_the_name_that_was_meant(tmp_path: Path) -> None:
    with serving("nvcf", tmp_path) as nvcf:
        nvcf.ask("api-keyz.nvcf.localhost", "/health")
        nvcf.ask("api-keys.nvcf.localhost", "/health")
        page = nvcf.gateway.get("/misses").json
        told = [each for each in page["misses"] if each["host"] == "api-keyz.nvcf.localhost"]
        assert [each["cause"].rpartition("; ")[2] for each in told] == ["closest is api-keys.nvcf.localhost"]
        hit = {each["route"] for each in nvcf.gateway.get("/rules").json["rules"] if each["hits"]}
        assert len(hit) == 1
