"""What a rule answers itself in the place of its backends, in words."""

from __future__ import annotations

import pytest

from gatewayproxy.model.refusals import refuse
from gatewayproxy.routing.refused import refused_text
from gatewayproxy.routing.table import BackendChoice, BackendGroup, RouteEntry, RuleLabel

OK, GONE = BackendChoice(name="ok"), BackendChoice(name="gone", refusal=refuse("backend_not_found", "no Service gone"))
OTHER = BackendChoice(name="other", refusal=refuse("backend_not_found", "no Service other"))
EMPTY = BackendChoice(name="empty", refusal=refuse("no_endpoints"))


def entry(*weighted: tuple[int, BackendChoice], kind: str = "HTTPRoute") -> RouteEntry:
    weights, choices = zip(*weighted, strict=True)
    bounds = tuple(sum(weights[: at + 1]) for at in range(len(weights)))
    group = BackendGroup(index=0, choices=choices, bounds=bounds, step=1)
    return RouteEntry(index=0, label=RuleLabel("ns/gw/http", kind, "ns/r", 0), fingerprint=b"", group=group)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        pytest.param(entry((1, OK)), "", id="it serves"),
        pytest.param(entry((1, GONE)), "500 backend_not_found", id="its only backend is missing"),
        pytest.param(entry((9, GONE), (1, OTHER)), "500 backend_not_found", id="all for the same reason"),
        pytest.param(entry((9, OK), (1, EMPTY)), "10 % 503 no_endpoints", id="a share"),
        pytest.param(
            entry((1, GONE), (3, EMPTY)), "25 % 500 backend_not_found, 75 % 503 no_endpoints", id="for two reasons"
        ),
        pytest.param(entry((1, EMPTY), kind="TCPRoute"), "ends, no_endpoints", id="a connection has no status"),
    ],
)
def test_backends_that_cannot_be_had_are_told_with_their_share(entry: RouteEntry, text: str) -> None:
    assert refused_text(entry) == text


def test_a_rule_that_refuses_as_a_whole_says_so() -> None:
    label = RuleLabel("ns/gw/http", "HTTPRoute", "ns/r", 0)
    whole = RouteEntry(index=0, label=label, fingerprint=b"", refusal=refuse("no_backends"))
    assert refused_text(whole) == "500 no_backends"
