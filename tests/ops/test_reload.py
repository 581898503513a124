"""What a reload tells of the difference between two configurations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.reload import Reloader
from tests.support.manifests import gateway, http_route, listener, service, write

RULE = "HTTPRoute default/{} rule 0 on default/gw/http"


def config() -> dict[str, Any]:
    objects = [
        gateway("gw", "127.0.0.1", listener("http", 8080)),
        http_route("a", "app", hostnames=["a.test", "*.b.test"], path="/a"),
        http_route("b", "app", path="/b"),
        service("app", "127.0.0.1:1"),
    ]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in objects}  # type: ignore[index]


def request(number: int) -> dict[str, Any]:
    """Return what the supervisor asks when every compilation before has been applied."""
    before = number - 1
    return {
        "number": number, "adopted": before, "generation": number, "serving": before, "digest": "", "unbindable": [],
    }  # fmt: skip


def told(folder: Path, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Return the changes that a reload reports after *change*."""
    reloader = Reloader([str(folder)], CompileOptions())
    objects = config()
    write(folder, *objects.values())
    reloader.compile(request(1))
    change(objects)
    write(folder, *objects.values())
    head = reloader.compile(request(2)).head
    return {name: found for name, found in head["changes"].items() if found and name != "counts"}


def set_at(name: str, path: list[str | int], value: object) -> Callable[[dict[str, Any]], None]:
    def change(objects: dict[str, Any]) -> None:
        node = objects[name]["spec"]
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value

    return change


RULES: list[str | int] = ["rules", 0]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(set_at("HTTPRoute/a", [*RULES, "matches", 0, "path", "value"], "/c"), id="path"),
        pytest.param(set_at("HTTPRoute/a", [*RULES, "matches", 0, "path", "type"], "Exact"), id="kind of path"),
        pytest.param(set_at("HTTPRoute/a", [*RULES, "matches", 0, "method"], "GET"), id="method"),
        pytest.param(
            set_at("HTTPRoute/a", [*RULES, "matches", 0, "headers"], [{"name": "x", "value": "y"}]), id="header"
        ),
        pytest.param(
            set_at("HTTPRoute/a", [*RULES, "matches", 0, "queryParams"], [{"name": "x", "value": "y"}]), id="query"
        ),
        pytest.param(
            set_at("HTTPRoute/a", [*RULES, "matches"], [{"path": {"value": "/a"}}, {"path": {"value": "/d"}}]),
            id="another match",
        ),
        pytest.param(set_at("HTTPRoute/a", ["hostnames"], ["a.test"]), id="hostnames"),
        pytest.param(set_at("HTTPRoute/a", [*RULES, "timeouts"], {"request": "3s"}), id="timeout"),
        pytest.param(set_at("HTTPRoute/a", [*RULES, "backendRefs"], []), id="backends"),
    ],
)
def test_a_rule_that_takes_or_does_something_else_is_told(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    assert told(tmp_path, change) == {"rules_changed": [RULE.format("a")]}


def test_endpoints_change_every_rule_that_leads_to_them(tmp_path: Path) -> None:
    found = told(tmp_path, lambda objects: objects.update({"Service/app": service("app", "127.0.0.1:2")}))
    assert found == {"rules_changed": [RULE.format("a"), RULE.format("b")]}


def test_a_route_that_comes_does_not_change_the_others(tmp_path: Path) -> None:
    new = http_route("c", "app", hostnames=["c.test", "x.b.test"])
    assert told(tmp_path, lambda objects: objects.update({"HTTPRoute/c": new})) == {"rules_added": [RULE.format("c")]}


def test_a_route_that_goes_is_told(tmp_path: Path) -> None:
    assert told(tmp_path, lambda objects: objects.pop("HTTPRoute/b")) == {"rules_removed": [RULE.format("b")]}


def test_nothing_is_told_of_what_stayed(tmp_path: Path) -> None:
    assert told(tmp_path, lambda objects: None) == {}


def test_another_port_is_another_listener(tmp_path: Path) -> None:
    found = told(tmp_path, set_at("Gateway/gw", ["listeners", 0, "port"], 8081))
    assert found["listeners_added"] == ["default/gw/http on 127.0.0.1:8081"]
    assert found["listeners_removed"] == ["default/gw/http on 127.0.0.1:8080"]
