"""An HTTPRoute and a GRPCRoute do not share a hostname of a listener."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.compiler.manifests.gateway import Listener
from gatewayproxy.compiler.resolve.drafts import ListenerDraft
from gatewayproxy.compiler.resolve.hostnames import intersect
from gatewayproxy.compiler.resolve.rivals import Rival, Rivals
from gatewayproxy.model.names import ListenerKey, Origin, ResourceKey

CALLS = ResourceKey("GRPCRoute", "default", "calls")
PAGES = ResourceKey("HTTPRoute", "default", "pages")
LABELS = st.sampled_from(["a", "b"])
HOSTNAMES = st.one_of(
    st.just(""),
    st.lists(LABELS, min_size=1, max_size=4).map(".".join),
    st.lists(LABELS, min_size=1, max_size=3).map(lambda labels: "*." + ".".join(labels)),
)


def listener(name: str = "http") -> ListenerDraft:
    spec = Listener(name=name, hostname="", port=80, protocol="HTTP", at=Origin("f"), path="spec.listeners[0]")
    return ListenerDraft(spec=spec, key=ListenerKey("default", "gw", name), bind_port=80)


@pytest.mark.parametrize(
    ("taken", "wanted", "rival"),
    [
        pytest.param("a.b", "a.b", True, id="the same name"),
        pytest.param("a.b", "c.b", False, id="another name"),
        pytest.param("*.b", "a.b", True, id="a name under a wildcard"),
        pytest.param("a.b", "*.b", True, id="a wildcard over a name"),
        pytest.param("*.a.b", "*.b", True, id="a wildcard over a wildcard"),
        pytest.param("*.b", "b", False, id="the parent of a wildcard"),
        pytest.param("", "a.b", True, id="any host"),
        pytest.param("a.b", "", True, id="any host against a name"),
    ],
)
def test_names_that_meet_are_rivals(taken: str, wanted: str, rival: bool) -> None:
    rivals, own = Rivals(), listener()
    rivals.take(own, CALLS, [taken])
    assert rivals.rival(own, "HTTPRoute", [wanted]) == (Rival(CALLS, taken) if rival else None)


def test_routes_of_one_kind_are_no_rivals() -> None:
    rivals, own = Rivals(), listener()
    rivals.take(own, CALLS, ["a.b"])
    assert rivals.rival(own, "GRPCRoute", ["a.b"]) is None


def test_listeners_are_apart() -> None:
    rivals = Rivals()
    rivals.take(listener("one"), CALLS, ["a.b"])
    assert rivals.rival(listener("two"), "HTTPRoute", ["a.b"]) is None


def test_other_kinds_of_routes_have_no_rivals() -> None:
    rivals, own = Rivals(), listener()
    rivals.take(own, ResourceKey("TLSRoute", "default", "r"), ["a.b"])
    assert rivals.rival(own, "TLSRoute", ["a.b"]) is None
    assert rivals.rival(own, "HTTPRoute", ["a.b"]) is None


@given(st.lists(HOSTNAMES, max_size=4), HOSTNAMES)
def test_a_rival_is_found_iff_names_meet(taken: list[str], wanted: str) -> None:
    rivals, own = Rivals(), listener()
    rivals.take(own, PAGES, taken)
    found = rivals.rival(own, "GRPCRoute", [wanted])
    assert (found is not None) == any(intersect(each, wanted) is not None for each in taken)
    assert found is None or intersect(found.hostname, wanted) is not None
