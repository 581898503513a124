"""Routes that would take a request, had a listener them."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayproxy.insight.unaccepted import Unaccepted
from gatewayproxy.insight.unattached import attach_fix, statuses, unattached, with_unattached


def route(*matches: dict[str, Any], kind: str = "HTTPRoute") -> Unaccepted:
    rules = ({"matches": list(matches)},)
    return Unaccepted(kind, "hr/hr", "Gateway infra/web", "NotAllowedByListeners", "not allowed", (), rules)


@pytest.mark.parametrize(
    ("match", "path", "taken"),
    [
        pytest.param({"path": {"value": "/hr"}}, "/hr/jobs", True, id="below a prefix"),
        pytest.param({"path": {"value": "/hr/"}}, "/hr", True, id="the prefix itself"),
        pytest.param({"path": {"value": "/hr"}}, "/hrx", False, id="a longer segment"),
        pytest.param({"path": {"type": "Exact", "value": "/hr"}}, "/hr", True, id="exact"),
        pytest.param({"path": {"type": "Exact", "value": "/hr"}}, "/hr/", False, id="not exact"),
        pytest.param({"path": {"type": "RegularExpression", "value": "/h."}}, "/hr", True, id="a pattern"),
        pytest.param({"path": {"type": "RegularExpression", "value": "/(h"}}, "/hr", False, id="a broken pattern"),
        pytest.param({"method": "GET"}, "/any", True, id="method"),
        pytest.param({"method": "POST"}, "/any", False, id="another method"),
        pytest.param({"path": ["odd"], "headers": 7}, "/any", True, id="not as the schema has it"),
    ],
)
def test_an_http_route_would_take_what_its_matches_ask_for(match: dict[str, Any], path: str, taken: bool) -> None:
    assert (unattached([route(match)], b"GET", path.encode()) is not None) is taken


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        pytest.param({"service": "a.B"}, True, id="service"),
        pytest.param({"service": "a.B", "method": "C"}, True, id="method"),
        pytest.param({"method": "D"}, False, id="another method"),
        pytest.param({"type": "RegularExpression", "service": "x"}, True, id="patterns are not tried"),
    ],
)
def test_a_grpc_route_would_take_calls(asked: dict[str, Any], taken: bool) -> None:
    assert (unattached([route({"method": asked}, kind="GRPCRoute")], b"POST", b"/a.B/C") is not None) is taken


def test_rules_without_matches_and_routes_without_rules_take_all() -> None:
    assert unattached([route()], b"GET", b"/x") is not None
    assert unattached([route()._replace(rules=())], b"GET", b"/x") is not None
    assert unattached([route(kind="TCPRoute")], b"", b"") is not None


HR = {
    "kind": "HTTPRoute",
    "metadata": {"name": "hr", "namespace": "hr"},
    "spec": {"hostnames": ["hr.example"], "rules": [{"matches": [{"path": {"value": "/hr"}}]}]},
    "status": {
        "parents": [
            {
                "parentRef": {"name": "web", "namespace": "infra"},
                "conditions": [
                    {
                        "type": "Accepted",
                        "status": "False",
                        "reason": "NotAllowedByListeners",
                        "message": "of hr",
                    }
                ],
            }
        ]
    },
}


def miss(host: str, path: str) -> dict[str, Any]:
    return {"host": host, "method": "GET", "path": path, "fix": "add a rule"}


def test_a_miss_that_a_route_is_there_for_is_mended_by_its_parent() -> None:
    report = statuses([HR, "odd", {"kind": "HTTPRoute", "metadata": 7}])
    found = with_unattached([miss("hr.example", "/hr"), miss("hr.example", "/x"), miss("other.example", "/hr")], report)
    assert [each["fix"] for each in found] == [
        "HTTPRoute hr/hr would take it, but Gateway infra/web has not got it: NotAllowedByListeners, of hr",
        "add a rule",
        "add a rule",
    ]
    assert attach_fix(route()).endswith("NotAllowedByListeners, not allowed")


def test_a_route_that_other_listeners_have_is_told_so() -> None:
    assert "has it on other listeners only: NotAllowedByListeners" in attach_fix(route()._replace(partly=True))
