"""From manifests to answers: status and table say what a naive reading of the specification does."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings

from gatewayproxy.compiler.lower import lower
from gatewayproxy.compiler.pipeline import Compiled, Compiler
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.source import CompileOptions, Source
from gatewayproxy.routing.match import find_entry, find_host, host_key
from gatewayproxy.routing.table import RoutingTable
from tests.properties.attachment import Place, Reading, kinds_of, place_of
from tests.properties.clusters import Child, Parent, children, manifests, parents
from tests.properties.crowds import SEEDS
from tests.support.plans import Ask

HOSTS = ["a.test", "b.test", "a.b.test", "test", "c.test", "x.a.b.test", "c.b.test", "elsewhere"]
ASKED = ["/", "/a", "/a/", "/a/b", "/ab", "/a/bb", "/service/method"]


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_status_and_answers_are_those_of_a_naive_reading(seed: int) -> None:
    chance = Random(seed)
    among = parents(chance)
    routes = children(chance, among)
    text = manifests(among, routes, chance)
    compiled = Compiler().compile([Source("all.yaml", text)], CompileOptions(), {})
    reading = Reading(among, routes)
    _check_listeners(compiled, reading, among)
    for route in routes:
        parents_said = _status(compiled, route.kind, route)["parents"]
        said = [_condition(each["conditions"], "Accepted")["reason"] for each in parents_said]
        assert said == reading.verdicts[route.kind, route.name], route
    table = lower(compiled.plan, CompileOptions())
    for port in (8001, 8002):
        for host in HOSTS:
            for path in ASKED:
                assert _answer(table, port, host, path) == reading.answer(port, host, path), (port, host, path, text)


def _check_listeners(compiled: Compiled, reading: Reading, among: list[Parent]) -> None:
    for parent in among:
        status = _status(compiled, parent.kind, parent)
        if parent not in reading.parents:
            assert _condition(status["conditions"], "Accepted")["reason"] == "NotAllowed"
            continue
        said: dict[Place, dict[str, Any]] = {
            (parent.kind, parent.namespace, parent.name, each["name"]): each for each in status["listeners"]
        }
        for spot in parent.spots:
            place = place_of(parent, spot)
            told = said[place]
            assert (_condition(told["conditions"], "Accepted")["status"] == "True") == reading.accepted[place], place
            assert told["attachedRoutes"] == len(reading.attached[place]), place
            assert {each["kind"] for each in told["supportedKinds"]} == kinds_of(spot), place


def _status(compiled: Compiled, kind: str, item: Parent | Child) -> Any:
    key = ResourceKey(kind, item.namespace, item.name)
    return next(each.status for each in compiled.status.objects if each.key == key)


def _condition(conditions: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(each for each in conditions if each["type"] == name)


def _answer(table: RoutingTable, port: int, host: str, path: str) -> tuple[str, int] | None:
    http = next((each.http for each in table.ports if each.bind_port == port and each.http is not None), None)
    vhost = find_host(http, host_key(f"{host.upper()}.:{port}".encode())) if http is not None else None
    entry = find_entry(vhost, Ask(host=host.encode(), path=path.encode())) if vhost is not None else None
    return None if entry is None else (entry.label.route, entry.label.rule)
