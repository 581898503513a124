"""P1 to P16 again, as manifests that someone brings along: each fires its code, and its remedy none."""

from __future__ import annotations

import json

import pytest

from gatewayproxy.insight.lint import lint
from gatewayproxy.model.source import CompileOptions, Source
from tests.support.lints import HTTP, HTTPS, backends, codes, gateway, route, secret, service

API = "apiVersion: gateway.networking.k8s.io/v1\n"
WILD = HTTPS.replace("port: 443,", 'port: 443, hostname: "*.nvcf.example.com",')
TO_HTTPS = "{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}"
API_V1 = f"{{matches: [{{path: {{value: /api}}}}], {backends('a')}}}"
BETA = f"{{matches: [{{path: {{value: /api}}, headers: [{{name: X-Beta-User, value: 'true'}}]}}], {backends('b')}}}"
STORE = "store.example.com"
ELSEWHERE = f"{{{backends('api', namespace='nvcf')}}}"
API_SERVICE = service("api", "nvcf")


def modifier(action: str) -> str:
    edit = f"requestHeaderModifier: {{{action}: [{{name: X-Forwarded-Proto, value: https}}]}}"
    return f"{{filters: [{{type: RequestHeaderModifier, {edit}}}], {backends('a')}}}"


def grant(namespace: str) -> str:
    spec = f"from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: {namespace}}}]"
    to = 'to: [{group: "", kind: Service}]'
    return f"{API}kind: ReferenceGrant\nmetadata: {{name: g, namespace: nvcf}}\nspec: {{{spec}, {to}}}\n"


def issuer(solver: str) -> str:
    spec = f"spec: {{acme: {{solvers: [{{{solver}}}]}}}}\n"
    return f"apiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata: {{name: acme}}\n{spec}"


def novaedge(kind: str) -> str:
    target = "targetRef: {kind: ProxyGateway, name: gw}"
    return f"apiVersion: novaedge.io/v1alpha1\nkind: {kind}\nmetadata: {{name: edge}}\nspec: {{{target}}}\n"


ISSUED = ", annotations: {cert-manager.io/cluster-issuer: acme}"
NVCF = "api.nvcf.example.com"
SOUND = (gateway(), route(), service())
FOREIGN_PARENT = route(parents="{group: novaedge.io, kind: ProxyGateway, name: gw}")
OPEN = HTTP.replace("port: 80,", "port: 80, allowedRoutes: {namespaces: {from: All}},")
KNATIVE = (route(parents="{name: gw, namespace: default}", metadata=", namespace: knative"), service("a", "knative"))
NESTED = HTTP.replace("port: 80,", 'port: 80, hostname: "*.inference.runai.corp.local",')

CASES = [
    pytest.param(
        (gateway(), route(API_V1, BETA, hosts=STORE), service(), service("b")), set(), None,
        id="P1 a header rule that is listed second wins here",
    ),
    pytest.param(
        (gateway(), route(API_V1, hosts=STORE), route(API_V1, name="r-headers", hosts=STORE), service()), {"GW101"},
        (gateway(), route(API_V1, BETA, hosts=STORE), service(), service("b")),
        id="P2 two routes with one match",
    ),
    pytest.param(
        (gateway(), route(modifier("add")), service()), {"GW401"}, (gateway(), route(modifier("set")), service()),
        id="P3 a second X-Forwarded-Proto",
    ),
    pytest.param((*SOUND, novaedge("ProxyPolicy")), {"GW002"}, SOUND, id="P3 a policy of another proxy"),
    pytest.param((*SOUND, novaedge("ProxyRoute")), {"GW002"}, SOUND, id="P3 a route of another proxy"),
    pytest.param((gateway(), FOREIGN_PARENT, service()), {"GW301"}, SOUND, id="P3 a parent of another proxy's kind"),
    pytest.param(
        (gateway(), route(f"{{timeout: {{request: 1s}}, {backends('a')}}}"), service()), {"GW007"},
        (gateway(), route(f"{{timeouts: {{request: 1s}}, {backends('a')}}}"), service()),
        id="P4 a field of older documents",
    ),
    pytest.param(
        (gateway(), route(f"{{matches: [{{path: {{type: Prefix, value: /}}}}], {backends('a')}}}"), service()),
        {"GW001"}, SOUND, id="P4 a value of older documents",
    ),
    pytest.param(
        (gateway(WILD), secret("*.nvcf.example.com"), route(hosts="fn.invocation.nvcf.example.com"), service()),
        {"GW201"}, (gateway(WILD), secret("*.nvcf.example.com"), route(hosts=NVCF), service()),
        id="P5 a wildcard for one label, a name of two",
    ),
    pytest.param(
        (issuer("http01: {}"), gateway(WILD, metadata=ISSUED), secret("*.nvcf.example.com"), route(), service()),
        {"GW209"},
        (issuer("dns01: {}"), gateway(WILD, metadata=ISSUED), secret("*.nvcf.example.com"), route(), service()),
        id="P6 a wildcard from HTTP-01",
    ),
    pytest.param(
        (gateway(WILD), secret("*.nvcf.example.com"), route(kind="GRPCRoute", hosts="grpc.example.com"), service()),
        {"GW304"},
        (gateway(WILD), secret("*.nvcf.example.com"), route(kind="GRPCRoute", hosts=NVCF), service()),
        id="P7 a name for clients that no listener has",
    ),
    pytest.param(
        (gateway(WILD), secret("*.nvcf.example.com"), route(hosts=f"{NVCF}, invocation.example.com"), service()),
        {"GW105"}, (gateway(WILD), secret("*.nvcf.example.com"), route(hosts=NVCF), service()),
        id="P7 one of several names that no listener has",
    ),
    pytest.param(
        (gateway(), route(TO_HTTPS, hosts=NVCF)), {"GW108"},
        (
            gateway(HTTP, HTTPS), secret(NVCF), service(), route(TO_HTTPS, hosts=NVCF, parents="{name: gw, port: 80}"),
            route(name="s", hosts=NVCF, parents="{name: gw, port: 443}"),
        ),
        id="P8 TLS in front, and a redirect to https",
    ),
    pytest.param(
        (gateway(HTTP, HTTPS), secret(NVCF), route(TO_HTTPS, hosts=NVCF)), {"GW413"},
        (
            gateway(HTTP, HTTPS), secret(NVCF), service(), route(TO_HTTPS, hosts=NVCF, parents="{name: gw, port: 80}"),
            route(name="s", hosts=NVCF, parents="{name: gw, port: 443}"),
        ),
        id="P8 a redirect to https on the https listener, too",
    ),
    pytest.param(
        (gateway(), route(name="ours", hosts=NVCF), route(name="theirs", hosts=NVCF), service()), {"GW101"},
        (gateway(), route(name="ours", hosts=NVCF), service()),
        id="P9 two accepted routes with one host",
    ),
    pytest.param(
        (gateway(), route(ELSEWHERE), API_SERVICE, grant("envoy-gateway")), {"GW306", "GW307"},
        (gateway(), route(ELSEWHERE), API_SERVICE, grant("default")),
        id="P9 a grant for another namespace: it is missed here, and of no use there",
    ),
    pytest.param(
        (gateway(), route(parents="{name: gw, sectionName: cluster-http}"), service()), {"GW302"}, SOUND,
        id="P10 a section that no listener is",
    ),
    pytest.param(
        (*SOUND, route(name="manila", parents="{name: flex-gateway, namespace: nginx-gateway}")), {"GW301"}, SOUND,
        id="P10 a Gateway that is no more",
    ),
    pytest.param((*SOUND, route(name="test_application")), {"GW005"}, SOUND, id="P11 an underscore in a name"),
    pytest.param(
        (gateway(), route(hosts="test_application.example.com"), service()), {"GW005"}, SOUND,
        id="P11 an underscore in a hostname",
    ),
    pytest.param(
        (gateway(HTTP, HTTP.replace("80", "8080")),), {"GW507"}, SOUND, id="P12 a patch that was applied twice"
    ),
    pytest.param(
        (gateway(), *KNATIVE), {"GW303"}, (gateway(OPEN), *KNATIVE), id="P13 routes of other namespaces"
    ),
    pytest.param(
        (gateway(NESTED), route(hosts='"*.inference.corp.local"'), service()), {"GW304"},
        (gateway(NESTED), route(hosts='"*.inference.runai.corp.local"'), service()),
        id="P14 wildcards that do not meet",
    ),
    pytest.param((gateway(), *KNATIVE), {"GW303"}, (gateway(OPEN), *KNATIVE), id="P15 a route that is turned away"),
    pytest.param(SOUND, set(), None, id="P16 files without dates, EndpointSlices and Namespaces"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "fired", "right"), CASES)
def test_each_pitfall_fires_its_code_and_its_remedy_none(
    wrong: tuple[str, ...], fired: set[str], right: tuple[str, ...] | None
) -> None:
    assert codes(*wrong) == fired
    assert codes(*(right or SOUND)) == set()


@pytest.mark.parametrize(
    ("ports", "fired"),
    [
        pytest.param([8081], set(), id="once"),
        pytest.param([8081, 8081], set(), id="twice, which is once"),
        pytest.param([8081, 8082], {"GW008"}, id="two with one name"),
    ],
)
def test_P12_patches_that_add_two_listeners_of_one_name_are_told(ports: list[int], fired: set[str]) -> None:
    patch = 'spec: {target: {kind: Gateway, name: gw}, files: ["*.json"]}\n'
    patch = f"apiVersion: gatewayproxy.io/v1alpha1\nkind: Patch\nmetadata: {{name: p}}\n{patch}"
    sources = [Source("all.yaml", "---\n".join((gateway(), patch, service(), route())).encode())]
    for number, port in enumerate(ports):
        added = {"name": "grafana", "port": port, "protocol": "HTTP"}
        operations = [{"op": "add", "path": "/spec/listeners/-", "value": added}]
        sources.append(Source(f"{number}.json", json.dumps(operations).encode()))
    _, judged = lint(sources, CompileOptions(), lambda _: {})
    assert {problem.code for problem in judged.told} == fired
