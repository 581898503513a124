"""ListenerSets beside their Gateway: certificates and clients, precedence, and what is said of it."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.pipeline import Compiled, Compiler
from gatewayproxy.model.names import BindKey
from gatewayproxy.model.protocols import PROTOCOLS, Protocol
from gatewayproxy.model.source import CompileOptions, Source
from tests.support.certs import certificate
from tests.support.manifests import tls_secret

API = "gateway.networking.k8s.io/v1"
Tree = dict[str, Any]


def gateway(*listeners: Tree, **spec: object) -> Tree:
    base = {"gatewayClassName": "any", "allowedListeners": {"namespaces": {"from": "All"}}}
    return _object("Gateway", {"name": "gw"}, {**base, **spec, "listeners": list(listeners)})


def listener_set(name: str, *listeners: Tree, namespace: str = "default", day: int = 1, generation: int = 1) -> Tree:
    created = f"2026-01-{day:02}T00:00:00Z"
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": created, "generation": generation}
    parent = {"name": "gw", "namespace": "default"}
    return _object("ListenerSet", metadata, {"parentRef": parent, "listeners": list(listeners)})


def https(name: str, hostname: str = "", *secrets: Tree, port: int = 443) -> Tree:
    listener: Tree = {"name": name, "port": port, "protocol": "HTTPS", "tls": {"certificateRefs": list(secrets)}}
    return listener | ({"hostname": hostname} if hostname else {})


def compiled(*objects: Tree, **options: Any) -> Compiled:
    text = yaml.safe_dump_all(objects).encode()
    return Compiler().compile([Source("all.yaml", text)], CompileOptions(**options), {})


def status(found: Compiled, name: str, kind: str = "ListenerSet") -> Tree:
    [one] = [each.status for each in found.status.objects if (each.key.kind, each.key.name) == (kind, name)]
    return dict(one)


def condition(tree: Tree, type_: str) -> Tree:
    [one] = [each for each in tree["conditions"] if each["type"] == type_]
    return dict(one)


def _object(kind: str, metadata: Tree, spec: Tree) -> Tree:
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def _secret(name: str, hostname: str, namespace: str = "default") -> Tree:
    tree = tls_secret(name, certificate(hostname))
    metadata = tree["metadata"]
    assert isinstance(metadata, dict)
    return {**tree, "metadata": {**metadata, "namespace": namespace}}


def test_a_set_presents_secrets_of_its_own_namespace_without_a_grant() -> None:
    found = compiled(
        gateway({"name": "own", "port": 80, "protocol": "HTTP"}),
        listener_set("set", https("a", "a.test", {"name": "site"}), namespace="shop"),
        _secret("site", "a.test", "shop"),
        _secret("site", "gateway.test"),
    )
    [_, served] = found.plan.listeners
    assert [each.names for each in served.certificates] == [("a.test",)]
    assert condition(status(found, "set"), "Accepted")["status"] == "True"


def test_a_grant_to_the_gateway_is_none_to_its_sets_nor_the_other_way_round() -> None:
    from_set = {"group": "gateway.networking.k8s.io", "kind": "ListenerSet", "namespace": "shop"}
    grant_spec = {"from": [from_set], "to": [{"group": "", "kind": "Secret"}]}
    found = compiled(
        gateway(https("own", "own.test", {"name": "site", "namespace": "certs"})),
        listener_set("set", https("a", "a.test", {"name": "site", "namespace": "certs"}), namespace="shop"),
        listener_set("other", https("b", "b.test", {"name": "site", "namespace": "certs"}), namespace="pay"),
        _secret("site", "a.test", "certs"),
        _object("ReferenceGrant", {"name": "g", "namespace": "certs"}, grant_spec),
    )
    assert [str(each.key) for each in found.plan.listeners] == ["ListenerSet/shop/set/a"]
    for kind, name in (("Gateway", "gw"), ("ListenerSet", "other")):
        [listener] = status(found, name, kind)["listeners"]
        assert condition(listener, "ResolvedRefs")["reason"] == "RefNotPermitted"
    [granted] = status(found, "set")["listeners"]
    assert condition(granted, "ResolvedRefs")["status"] == "True"


def test_names_that_overlap_are_told_without_naming_sets_of_other_namespaces() -> None:
    found = compiled(
        gateway(https("own", "*.test", {"name": "site"})),
        listener_set("set", https("a", "a.test", {"name": "site"}), namespace="shop"),
        listener_set("other", https("b", "b.test", {"name": "site"}), namespace="pay"),
        *(_secret("site", name, namespace) for name, namespace in (("x.test", "default"), ("a.test", "shop"))),
        _secret("site", "b.test", "pay"),
    )
    [listener] = status(found, "set")["listeners"]
    told = condition(listener, "OverlappingTLSConfig")
    assert told["reason"] == "OverlappingHostnames"
    assert "pay" not in told["message"]


def test_conditions_are_of_the_sets_own_generation() -> None:
    http = {"name": "own", "port": 80, "protocol": "HTTP"}
    added = {"name": "added", "port": 81, "protocol": "HTTP"}
    tree = status(compiled(gateway(http), listener_set("set", added, generation=9)), "set")
    entries = [*tree["conditions"], *(each for listener in tree["listeners"] for each in listener["conditions"])]
    assert len(entries) == 6
    assert {each["observedGeneration"] for each in entries} == {9}


def test_a_set_whose_only_port_cannot_be_bound_is_not_accepted_and_its_gateway_is() -> None:
    http = {"name": "own", "port": 80, "protocol": "HTTP"}
    added = {"name": "added", "port": 81, "protocol": "HTTP"}
    found = compiled(gateway(http), listener_set("set", added), unbindable={BindKey("", 81): "Permission denied"})
    tree = status(found, "set")
    assert [condition(tree, name)["reason"] for name in ("Accepted", "Programmed")] == ["ListenersNotValid"] * 2
    assert condition(tree["listeners"][0], "Accepted")["reason"] == "PortUnavailable"
    assert condition(status(found, "gw", "Gateway"), "Programmed")["status"] == "True"
    assert status(found, "gw", "Gateway")["attachedListenerSets"] == 0


_LISTENERS = st.lists(
    st.fixed_dictionaries(
        {"port": st.sampled_from([80, 81]), "protocol": st.sampled_from(["HTTP", "TCP", "UDP"])},
        optional={"hostname": st.sampled_from(["a.test", "*.test"])},
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(own=_LISTENERS, sets=st.lists(_LISTENERS, max_size=4))
def test_what_serves_never_conflicts_and_sets_never_take_from_those_before_them(
    own: list[Tree], sets: list[list[Tree]]
) -> None:
    objects = [_numbered(each) for each in (own, *sets)]
    drafts = [listener_set(f"s{day}", *listeners, day=day + 1) for day, listeners in enumerate(objects[1:])]
    found = compiled(gateway(*objects[0]), *drafts)
    taken: dict[tuple[int, bool], tuple[Protocol, set[str]]] = {}
    for each in found.plan.listeners:
        protocol, names = taken.setdefault((each.port, PROTOCOLS[each.protocol].udp), (each.protocol, set()))
        assert each.protocol is protocol
        assert each.hostname not in names
        names.add(each.hostname)
    for n in range(len(drafts)):  # whoever comes later changes nothing for those before
        fewer = compiled(gateway(*objects[0]), *drafts[:n])
        assert [str(each.key) for each in fewer.plan.listeners] == [
            str(each.key) for each in found.plan.listeners if each.key.kind == "Gateway" or each.key.parent in _names(n)
        ]


def _numbered(listeners: list[Tree]) -> list[Tree]:
    """Return *listeners* with names, without what an API server would refuse."""
    kept: dict[tuple[int, str, str], Tree] = {}
    for each in listeners:
        plain = each if each["protocol"] == "HTTP" else {"port": each["port"], "protocol": each["protocol"]}
        kept.setdefault((plain["port"], plain["protocol"], plain.get("hostname", "")), plain)
    return [{**each, "name": f"l{index}"} for index, each in enumerate(kept.values())]


def _names(n: int) -> set[str]:
    return {f"s{day}" for day in range(n)}
