"""Lints of what stands beside what: grants, certificates, listeners, addresses, solvers."""

from __future__ import annotations

import pytest

from tests.support.lints import HTTP, HTTPS, backends, codes, gateway, judged, route, secret, service, told

API = "apiVersion: gateway.networking.k8s.io/v1\n"
ELSEWHERE = f"{{{backends('a', namespace='far')}}}"
FAR = (gateway(), route(ELSEWHERE), service("a", "far"))
CORE = 'group: ""'
ROUTES = "group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default"


def grant(from_: str = ROUTES, to: str = f"{CORE}, kind: Service", *more: str, name: str = "g") -> str:
    listed = ", ".join(f"{{{each}}}" for each in (to, *more))
    meta = f"metadata: {{name: {name}, namespace: far}}"
    return f"{API}kind: ReferenceGrant\n{meta}\nspec: {{from: [{{{from_}}}], to: [{listed}]}}\n"


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        pytest.param(grant(), [], id="needed"),
        pytest.param(grant(ROUTES, f"{CORE}, kind: Service, name: a"), [], id="needed, by name"),
        pytest.param(grant(ROUTES, f"{CORE}, kind: Service, name: b"), [""], id="for another name"),
        pytest.param(grant(ROUTES.replace("default", "team-b")), [""], id="for another namespace"),
        pytest.param(grant(ROUTES.replace("HTTP", "GRPC")), [""], id="for another kind of route"),
        pytest.param(grant(ROUTES, f"{CORE}, kind: Secret", f"{CORE}, kind: Service"), ["spec.to[0]"], id="in part"),
    ],
)
def test_grants_that_nobody_uses(given: str, fields: list[str]) -> None:
    assert [field for _, field, _ in told("GW307", *FAR, given)] == fields


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        pytest.param(
            grant(ROUTES.replace("default", "team-b")),
            "write namespace: default? its HTTPRoutes refer to Service far/*",
            id="of another namespace than the route's",
        ),
        pytest.param(
            grant(f"{ROUTES}}}, {{{ROUTES.replace('default', 'team-b')}"),
            "remove the entry, or correct it",
            id="whose namespace is there, too",
        ),
        pytest.param(
            grant(ROUTES, f"{CORE}, kind: Secret"),
            "remove it, or correct from and to: both are exact in group, kind and namespace",
            id="to another kind",
        ),
    ],
)
def test_a_grant_that_nobody_uses_is_told_with_who_may_be_meant(given: str, hint: str) -> None:
    assert [problem.hint for problem in judged(*FAR, given) if problem.code == "GW307"] == [hint]


def test_what_a_route_with_errors_refers_to_is_not_held_against_a_grant() -> None:
    broken = route(ELSEWHERE).replace("parentRefs", "parentReffs")
    two = grant().replace("from: [", "from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: x}, ")
    assert told("GW307", gateway(), broken, service("a", "far"), grant()) == []
    assert told("GW307", *FAR, broken.replace("name: r", "name: s"), two) == []
    assert [field for _, field, _ in told("GW307", *FAR, two)] == ["spec.from[0]"]


def test_certificates_that_nothing_names() -> None:
    https = (gateway(HTTPS), secret("a.test"), route(hosts="a.test"), service())
    assert codes(*https) == set()
    assert told("GW205", *https, secret("b.test", "spare")) == [
        ("Secret default/spare", "", "no listener, Gateway or XBackend names this certificate")
    ]
    opaque = secret("b.test", "spare").replace("kubernetes.io/tls", "Opaque")
    assert codes(*https, opaque) == set()
    unread = gateway(HTTPS, name="other").replace("gatewayClassName", "class")
    assert told("GW205", *https, unread, secret("b.test", "spare")) == []  # who knows what that names


@pytest.mark.parametrize(
    ("routes", "fires"),
    [
        pytest.param([], True, id="no route at all"),
        pytest.param([route(parents="{name: gw, sectionName: http}")], False, id="its own route"),
        pytest.param([route(parents="{name: gw}", hosts="b.test")], False, id="a route of all listeners"),
        pytest.param([route(parents="{name: gw, sectionName: htp}")], False, id="one that probably means it"),
        pytest.param([route(parents="{name: gateway}")], False, id="one that may mean it"),
        pytest.param([route().replace("rules", "ruls")], False, id="one with errors"),
    ],
)
def test_listeners_without_routes(routes: list[str], fires: bool) -> None:
    assert bool(told("GW504", gateway(), *routes, service())) is fires


def test_a_listener_is_told_beside_one_that_has_the_routes_and_a_stray_route() -> None:
    idle = "{name: tcp, port: 5432, protocol: TCP}"
    manifests = (gateway(HTTP, idle), route(), route(name="stray", parents="{name: gone}"), service())
    assert told("GW504", *manifests) == [
        ("Gateway default/gw", "spec.listeners[1]", "listener tcp has no routes: connections end at once")
    ]


def test_a_listener_of_a_set_is_told_of_the_set() -> None:
    parent = gateway(spec="allowedListeners: {namespaces: {from: Same}}, ")
    spec = "spec: {parentRef: {name: gw}, listeners: [{name: more, port: 81, protocol: HTTP}]}"
    more = f"{API}kind: ListenerSet\nmetadata: {{name: extra}}\n{spec}\n"
    assert [each[:2] for each in told("GW504", parent, more, route(), service())] == [
        ("ListenerSet default/extra", "spec.listeners[0]")
    ]


def solver(parents: str, path: str = "/.well-known/acme-challenge/token") -> str:
    return route(
        f"{{matches: [{{path: {{type: Exact, value: {path}}}}}], {backends('a')}}}", name="solver", parents=parents
    )


@pytest.mark.parametrize(
    ("parents", "path", "fires"),
    [
        pytest.param("{name: gw}", "/.well-known/acme-challenge/t", True, id="every listener"),
        pytest.param("{name: gw, sectionName: https}", "/.well-known/acme-challenge/t", True, id="https alone"),
        pytest.param("{name: gw, sectionName: http}", "/.well-known/acme-challenge/t", False, id="http alone"),
        pytest.param("{name: gw, port: 80}", "/.well-known/acme-challenge/t", False, id="port 80"),
        pytest.param("{name: gw}", "/.well-known/openid-configuration", False, id="no solver"),
    ],
)
def test_solvers_on_the_wrong_listeners(parents: str, path: str, fires: bool) -> None:
    manifests = (gateway(HTTP, HTTPS), secret("a.test"), route(hosts="a.test"), solver(parents, path), service())
    assert bool(told("GW206", *manifests)) is fires


@pytest.mark.parametrize(
    ("first", "second", "fires"),
    [
        pytest.param("", "addresses: [{value: 192.0.2.2}], ", True, id="all, and one"),
        pytest.param("addresses: [{value: 192.0.2.1}], ", "addresses: [{value: 192.0.2.2}], ", False, id="one each"),
    ],
)
def test_gateways_on_all_addresses_beside_one(first: str, second: str, fires: bool) -> None:
    gateways = (gateway(spec=first), gateway(spec=second, name="two"))
    manifests = (*gateways, route(parents="{name: gw}, {name: two}"), service())
    assert codes(*manifests) == ({"GW506"} if fires else set())


def test_addresses_of_other_ports_do_not_matter() -> None:
    other = gateway(HTTP.replace("80", "81"), spec="addresses: [{value: 192.0.2.2}], ", name="two")
    assert codes(gateway(), other, route(parents="{name: gw}, {name: two}"), service()) == set()


@pytest.mark.parametrize(
    ("port", "section", "fires"),
    [
        pytest.param("name: web, port: 80, appProtocol: kubernetes.io/h2c", "", True, id="h2c"),
        pytest.param(
            "name: web, port: 80, appProtocol: kubernetes.io/ws", ", sectionName: web", True, id="ws, by name"
        ),
        pytest.param("name: web, port: 80, appProtocol: kubernetes.io/wss", "", False, id="wss"),
        pytest.param("name: web, port: 80, appProtocol: http", "", False, id="a hint for people"),
    ],
)
def test_clear_text_beside_a_policy_of_tls(port: str, section: str, fires: bool) -> None:
    target = f'targetRefs: [{{group: "", kind: Service, name: a{section}}}]'
    validation = "validation: {hostname: a.internal, wellKnownCACertificates: System}"
    policy = f"{API}kind: BackendTLSPolicy\nmetadata: {{name: p}}\nspec: {{{target}, {validation}}}\n"
    assert codes(gateway(), route(), service(port=port), policy) == ({"GW314"} if fires else set())


def test_problems_stand_where_they_are_written() -> None:
    (problem,) = judged(gateway(), route(f"{{{backends('a', weight=0)}}}"), service())
    assert (str(problem.origin), problem.hint) == (
        "all.yaml:9",
        "give one of them a weight above 0, or remove the rule",
    )
