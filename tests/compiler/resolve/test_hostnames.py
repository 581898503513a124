"""Hostnames of listeners and routes meet as the Gateway API says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.compiler.resolve.hostnames import covers, intersect, pairs

LABELS = st.sampled_from(["a", "b", "c"])
HOSTNAMES = st.one_of(
    st.just(""),
    st.lists(LABELS, min_size=1, max_size=4).map(".".join),
    st.lists(LABELS, min_size=1, max_size=3).map(lambda labels: "*." + ".".join(labels)),
)
NAMES = st.lists(LABELS, min_size=1, max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("listener", "route", "met"),
    [
        pytest.param("", "", "", id="any and any"),
        pytest.param("", "a.example.com", "a.example.com", id="any listener takes the route's name"),
        pytest.param("a.example.com", "", "a.example.com", id="a route for any host gets the listener's name"),
        pytest.param("a.example.com", "a.example.com", "a.example.com", id="equal names"),
        pytest.param("a.example.com", "b.example.com", None, id="different names"),
        pytest.param("*.example.com", "a.example.com", "a.example.com", id="one label under the wildcard"),
        pytest.param("*.example.com", "a.b.example.com", "a.b.example.com", id="many labels under the wildcard"),
        pytest.param("*.example.com", "example.com", None, id="the parent is not under its own wildcard"),
        pytest.param("*.example.com", "evilexample.com", None, id="a longer last label is another domain"),
        pytest.param("a.example.com", "*.example.com", "a.example.com", id="wildcard route, exact listener"),
        pytest.param("*.example.com", "*.b.example.com", "*.b.example.com", id="the narrower wildcard of two"),
        pytest.param("*.b.example.com", "*.example.com", "*.b.example.com", id="either way round"),
        pytest.param("*.a.example.com", "*.b.example.com", None, id="sibling wildcards"),
        pytest.param("*.com", "*.com", "*.com", id="equal wildcards"),
    ],
)
def test_a_listener_and_a_route_meet_in_the_narrower_name(listener: str, route: str, met: str | None) -> None:
    assert intersect(listener, route) == met


@given(HOSTNAMES, HOSTNAMES, NAMES)
def test_the_meeting_takes_exactly_the_names_both_take(listener: str, route: str, name: str) -> None:
    met = intersect(listener, route)
    assert (met is not None and covers(met, name)) == (covers(listener, name) and covers(route, name))


def test_a_route_without_hostnames_stands_for_any_host() -> None:
    assert pairs("*.example.com", ()) == (("*.example.com", ""),)


def test_only_the_hostnames_that_meet_are_taken() -> None:
    own = ("grafana", "grafana.example.com", "*.example.com")
    assert pairs("grafana.example.com", own) == (("grafana.example.com", "grafana.example.com"),)


@pytest.mark.parametrize(
    ("own", "narrowest"),
    [
        pytest.param(("a.example.com", "*.example.com"), "a.example.com", id="a name as long as a wildcard, first"),
        pytest.param(("*.example.com", "a.example.com"), "a.example.com", id="a name as long as a wildcard, last"),
        pytest.param(("*.example.com", "*.com"), "*.example.com", id="the longer wildcard, first"),
        pytest.param(("*.com", "*.example.com"), "*.example.com", id="the longer wildcard, last"),
    ],
)
def test_the_narrowest_of_the_hostnames_that_meet_in_one_counts(own: tuple[str, ...], narrowest: str) -> None:
    assert pairs("a.example.com", own) == (("a.example.com", narrowest),)
