"""P1 to P16, pitfalls inside the five systems: what `gatewayproxy check` says of each, or status, or traffic."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewayproxy.compiler.pipeline import Compiled, Compiler
from gatewayproxy.model.source import CompileOptions, Source
from gatewayproxy.model.status import Problem, Severity
from tests.support import certs
from tests.support.manifests import tls_secret
from tests.support.seeds import serving

GATEWAY_API = "apiVersion: gateway.networking.k8s.io/v1\n"
GATEWAY = f"""\
{GATEWAY_API}kind: Gateway
metadata: {{name: gw}}
spec:
  gatewayClassName: any
  listeners:
"""
HTTP = "  - {name: http, port: 8080, protocol: HTTP}\n"


def compiled(*documents: str | Mapping[str, Any]) -> Compiled:
    """Compile documents as the file all.yaml."""
    texts = [each if isinstance(each, str) else yaml.safe_dump(each) for each in documents]
    text = "---\n".join(text if text.endswith("\n") else text + "\n" for text in texts)
    return Compiler().compile([Source("all.yaml", text.encode())], CompileOptions(), {})


def route(name: str, spec: str, *, namespace: str = "default", kind: str = "HTTPRoute", metadata: str = "") -> str:
    head = f"{GATEWAY_API}kind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}{metadata}}}\nspec:\n"
    return head + textwrap.indent(textwrap.dedent(spec).strip("\n"), "  ") + "\n"


def told(found: Compiled, key: str, field: str = "") -> list[Problem]:
    """Return the problems of object "Kind namespace/name", those of *field* only if it is named."""
    return [each for each in found.status.problems if str(each.key) == key and field in ("", each.field)]


def conditions(found: Compiled, key: str) -> dict[str, str]:
    """Return a route's conditions at its first parent as type -> "True Reason"."""
    (status,) = (each.status for each in found.status.objects if str(each.key) == key)
    return {each["type"]: f"{each['status']} {each['reason']}" for each in status["parents"][0]["conditions"]}


def attached(found: Compiled, key: str = "Gateway default/gw") -> dict[str, int]:
    (status,) = (each.status for each in found.status.objects if str(each.key) == key)
    return {each["name"]: each["attachedRoutes"] for each in status["listeners"]}


def test_P1_a_header_rule_that_is_listed_second_wins(tmp_path: Path) -> None:
    with serving("novaedge", tmp_path) as seed, seed.http("store.example.com", port=443) as connection:
        rules = seed.tree("HTTPRoute", "store/store-api")["spec"]["rules"]
        assert ["headers" in rule["matches"][0] for rule in rules] == [False, True]

        def ask(headers: Mapping[str, str]) -> str:
            connection.request("GET", "/api", headers={"Host": "store.example.com", **headers})
            return str(json.loads(connection.getresponse().read())["backend"])

        assert {ask({"X-Beta-User": "true"}) for _ in range(20)} == {"store/store-api-v2"}
        assert {ask({}) for _ in range(60)} == {"store/store-api-v1", "store/store-api-v2"}  # split by weight


def test_P2_a_route_that_another_shadows_in_full_is_told_by_whom() -> None:
    rule = "{matches: [{path: {value: /api}}], backendRefs: [{name: store, port: 80}]}"
    found = compiled(
        GATEWAY + HTTP,
        route("store-api", f"parentRefs: [{{name: gw}}]\nhostnames: [store.example.com]\nrules: [{rule}]"),
        route("store-api-headers", f"parentRefs: [{{name: gw}}]\nhostnames: [store.example.com]\nrules: [{rule}]"),
    )
    (problem,) = told(found, "HTTPRoute default/store-api-headers", "spec.rules[0]")
    assert problem.severity is Severity.WARNING
    assert "fully shadowed by rules[0] of HTTPRoute default/store-api" in problem.message
    assert not told(found, "HTTPRoute default/store-api", "spec.rules[0]")


def adding(action: str) -> str:
    field = "{name: X-Forwarded-Proto, value: https}"
    return f"""
        parentRefs: [{{name: gw}}]
        rules:
        - filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{{action}: [{field}]}}}}]
          backendRefs: [{{name: store, port: 80}}]
    """


def test_P3_a_second_x_forwarded_proto_is_told() -> None:
    found = compiled(GATEWAY + HTTP, *(route(action + "s", adding(action)) for action in ("add", "set")))
    doubled = [each.message for each in told(found, "HTTPRoute default/adds") if "X-Forwarded-Proto" in each.message]
    assert doubled == ["adds X-Forwarded-Proto to the gateway's own: the backend sees two values"]
    assert not any("X-Forwarded-Proto" in each.message for each in told(found, "HTTPRoute default/sets"))


@pytest.mark.parametrize(
    ("kind", "instead"),
    [
        ("ProxyGateway", "kind: Gateway "),
        ("ProxyRoute", "kind: HTTPRoute "),
        ("ProxyPolicy", "nothing that it asks for"),
    ],
)
def test_P3_objects_of_another_proxy_are_not_passed_over_in_silence(kind: str, instead: str) -> None:
    found = compiled(f"apiVersion: novaedge.io/v1alpha1\nkind: {kind}\nmetadata: {{name: edge}}\nspec: {{}}\n")
    (problem,) = told(found, f"{kind} default/edge", "kind")
    assert "not known here, passed over" in problem.message
    assert instead in problem.hint


def test_P3_a_parent_of_another_proxys_kind_is_told_with_the_kind_to_name() -> None:
    parent = "parentRefs: [{group: novaedge.io, kind: ProxyGateway, name: gw}]"
    (problem,) = told(compiled(GATEWAY + HTTP, route("a", parent)), "HTTPRoute default/a", "spec.parentRefs[0]")
    assert problem.message == "parents of kind novaedge.io/ProxyGateway are not supported, ignored"
    assert problem.hint == "write kind: Gateway of the Gateway API in its place"


@pytest.mark.parametrize(
    ("spec", "field", "hint"),
    [
        pytest.param("rules: [{timeout: {request: 1s}}]", "spec.rules[0].timeout", "timeouts", id="of a rule"),
        pytest.param("hostname: [a.example.com]", "spec.hostname", "hostnames", id="of the route"),
        pytest.param("parentRefs: [{nam: gw}]", "spec.parentRefs[0].nam", "name", id="of a parentRef"),
    ],
)
def test_P4_an_unknown_field_is_an_error_with_a_suggestion(spec: str, field: str, hint: str) -> None:
    (problem,) = told(compiled(route("a", spec)), "HTTPRoute default/a", field)
    assert problem.severity is Severity.ERROR
    assert problem.message == "unknown field"
    assert problem.hint == f"did you mean {hint}?"
    assert problem.origin.line > 1


def test_P4_a_value_of_an_older_document_is_an_error_with_those_there_are() -> None:
    found = compiled(route("a", "rules: [{matches: [{path: {type: Prefix, value: /}}]}]"))
    (problem,) = told(found, "HTTPRoute default/a", "spec.rules[0].matches[0].path.type")
    assert problem.severity is Severity.ERROR
    assert "PathPrefix" in problem.message + problem.hint


def test_P5_a_name_that_no_certificate_covers_is_told() -> None:
    tls = "tls: {certificateRefs: [{name: cert}]}"
    found = compiled(
        GATEWAY + f'  - {{name: https, port: 8443, protocol: HTTPS, hostname: "*.nvcf.example.com", {tls}}}\n',
        tls_secret("cert", certs.certificate("*.nvcf.example.com")),
        route("functions", "parentRefs: [{name: gw}]\nhostnames: [fn.invocation.nvcf.example.com]"),
        route("api", "parentRefs: [{name: gw}]\nhostnames: [api.nvcf.example.com]"),
    )
    (problem,) = told(found, "HTTPRoute default/functions", "spec.hostnames")
    assert problem.message == (
        "no certificate of listener https is for fn.invocation.nvcf.example.com; they name *.nvcf.example.com"
    )
    assert "one label only" in problem.hint
    assert not told(found, "HTTPRoute default/api", "spec.hostnames")


def test_P6_a_wildcard_without_its_certificate_is_told_how_it_is_got() -> None:
    tls = "tls: {certificateRefs: [{name: not-issued}]}"
    found = compiled(
        "apiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata: {name: acme}\nspec: {acme: {}}\n",
        GATEWAY
        + f'  - {{name: all, port: 8443, protocol: HTTPS, hostname: "*.nvcf.example.com", {tls}}}\n'
        + f"  - {{name: one, port: 8443, protocol: HTTPS, hostname: nvcf.example.com, {tls}}}\n",
    )
    assert "passed over" in told(found, "ClusterIssuer default/acme")[0].message
    wildcard, exact = (told(found, "Gateway default/gw", f"spec.listeners[{n}]")[0] for n in (0, 1))
    assert wildcard.message.startswith("InvalidCertificateRef: ")
    assert "DNS-01" in wildcard.hint
    assert "DNS-01" not in exact.hint


def test_P7_a_name_for_clients_without_a_listener_is_not_accepted() -> None:
    found = compiled(
        GATEWAY
        + '  - {name: http, port: 8080, protocol: HTTP, hostname: "*.api.example.com"}\n'
        + "  - {name: tcp, port: 10081, protocol: TCP}\n",
        route("calls", "parentRefs: [{name: gw}]\nhostnames: [grpc.nvcf.example.com]", kind="GRPCRoute"),
        route("some", "parentRefs: [{name: gw}]\nhostnames: [a.api.example.com, llm.invocation.example.com]"),
    )
    assert conditions(found, "GRPCRoute default/calls")["Accepted"] == "False NoMatchingListenerHostname"
    (problem,) = told(found, "HTTPRoute default/some", "spec.hostnames")
    assert problem.message == "hostnames llm.invocation.example.com meet no listener of the route, ignored"


def test_P8_a_redirect_to_https_that_comes_back_is_told() -> None:
    spec = """
        parentRefs: [{name: gw, sectionName: http}]
        hostnames: ["*.nvcf.example.com"]
        rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}]
    """
    (problem,) = told(compiled(GATEWAY + HTTP, route("up", spec)), "HTTPRoute default/up", "spec.rules[0]")
    assert problem.message == "redirects to https, where no listener of Gateway default/gw has *.nvcf.example.com"
    assert "load balancer" in problem.hint
    https = "  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}\n"
    served = compiled(
        GATEWAY + HTTP + https, tls_secret("cert", certs.certificate("*.nvcf.example.com")), route("up", spec)
    )
    assert not told(served, "HTTPRoute default/up", "spec.rules[0]")


def test_P9_of_two_accepted_routes_with_one_host_the_one_without_traffic_is_told() -> None:
    spec = "parentRefs: [{name: gw}]\nhostnames: [api.nvcf.example.com]\nrules: [{backendRefs: [{name: a, port: 80}]}]"
    found = compiled(GATEWAY + HTTP, route("ours", spec), route("theirs", spec))
    assert {conditions(found, f"HTTPRoute default/{name}")["Accepted"] for name in ("ours", "theirs")} == {
        "True Accepted"
    }
    assert (
        "fully shadowed by rules[0] of HTTPRoute default/ours"
        in told(found, "HTTPRoute default/theirs", "spec.rules[0]")[0].message
    )


def test_P9_a_grant_for_another_namespace_does_not_permit() -> None:
    grant = """
        from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: envoy-gateway}]
        to: [{group: "", kind: Service}]
    """
    ref = "rules: [{backendRefs: [{name: api, port: 80, namespace: nvcf}]}]"
    found = compiled(
        GATEWAY + HTTP,
        "apiVersion: v1\nkind: Service\nmetadata: {name: api, namespace: nvcf}\nspec: {ports: [{port: 80}]}\n",
        route("grant", grant, namespace="nvcf", kind="ReferenceGrant"),
        route("api", f"parentRefs: [{{name: gw}}]\n{ref}"),
    )
    assert conditions(found, "HTTPRoute default/api")["ResolvedRefs"] == "False RefNotPermitted"
    (problem,) = told(found, "HTTPRoute default/api", "spec.rules[0].backendRefs[0]")
    assert "namespace" in problem.message + problem.hint


def test_P10_a_section_and_a_gateway_that_do_not_exist_are_told() -> None:
    found = compiled(
        GATEWAY + "  - {name: cluster-http, port: 8080, protocol: HTTP}\n",
        route("prometheus", "parentRefs: [{name: gw, sectionName: http}]"),
        route("manila", "parentRefs: [{name: flex-gateway, namespace: nginx-gateway}]"),
    )
    assert conditions(found, "HTTPRoute default/prometheus")["Accepted"] == "False NoMatchingParent"
    (problem,) = told(found, "HTTPRoute default/manila", "spec.parentRefs[0]")
    assert problem.message == "Gateway nginx-gateway/flex-gateway does not exist"
    assert attached(found) == {"cluster-http": 0}


def test_P11_names_with_an_underscore_cost_their_object_only_by_file_and_line() -> None:
    found = compiled(
        GATEWAY + HTTP,
        route("test_application", "parentRefs: [{name: gw}]\nhostnames: [test_application.example.com]"),
        route("sound", "parentRefs: [{name: gw}]"),
    )
    errors = {(str(each.origin), each.field) for each in found.status.problems if each.severity is Severity.ERROR}
    assert errors == {("all.yaml:11", "metadata.name"), ("all.yaml:14", "spec.hostnames[0]")}
    assert conditions(found, "HTTPRoute default/sound")["Accepted"] == "True Accepted"
    assert attached(found) == {"http": 1}


def test_P12_listener_names_that_patches_doubled_are_reported_and_the_gateway_is_fenced() -> None:
    found = compiled(GATEWAY + HTTP + HTTP.replace("8080", "8081"), route("a", "parentRefs: [{name: gw}]"))
    (problem,) = told(found, "Gateway default/gw", "spec.listeners[1]")
    assert (problem.severity, problem.message) == (Severity.ERROR, 'the name "http" is taken by another listener')
    assert found.plan.listeners == ()


def test_P13_routes_of_other_namespaces_are_not_allowed_by_default() -> None:
    found = compiled(
        GATEWAY + HTTP,
        route("knative", "parentRefs: [{name: gw, namespace: default}]", namespace="knative-serving"),
        route("backend", "parentRefs: [{name: gw, namespace: default}]", namespace="runai-backend"),
    )
    for key in ("HTTPRoute knative-serving/knative", "HTTPRoute runai-backend/backend"):
        assert conditions(found, key)["Accepted"] == "False NotAllowedByListeners"
        assert "allowedRoutes" in told(found, key, "spec.parentRefs[0]")[0].hint
    assert attached(found) == {"http": 0}


def test_P14_wildcards_that_do_not_meet_are_no_match() -> None:
    found = compiled(
        GATEWAY + '  - {name: http, port: 8080, protocol: HTTP, hostname: "*.runai-inference.runai.mycorp.local"}\n',
        route("inference", 'parentRefs: [{name: gw}]\nhostnames: ["*.runai-inference.mycorp.local"]'),
    )
    assert conditions(found, "HTTPRoute default/inference")["Accepted"] == "False NoMatchingListenerHostname"


def test_P15_a_rejected_route_is_both_not_accepted_and_404(tmp_path: Path) -> None:
    with serving("cilium", tmp_path) as seed:
        assert seed.conditions("httproute", "hr/hr")["Accepted"] == ("False", "NotAllowedByListeners")
        assert seed.ask("203.0.113.7", "/hr").status == 404
        assert seed.ask("203.0.113.7", "/product").status == 200


RULE = "rules: [{matches: [{path: {value: /}}], backendRefs: [{name: a, port: 80}]}]"


@pytest.mark.parametrize(
    ("dates", "winner"),
    [
        pytest.param(("", ""), "alpha", id="neither is dated: by namespace/name"),
        pytest.param(("", ", creationTimestamp: '2026-01-01T00:00:00Z'"), "beta", id="dated before undated"),
        pytest.param(
            (", creationTimestamp: '2026-01-02T00:00:00Z'", ", creationTimestamp: '2026-01-01T00:00:00Z'"),
            "beta", id="the older one",
        ),
    ],
)  # fmt: skip
def test_P16_ties_are_broken_without_a_creation_timestamp(dates: tuple[str, str], winner: str) -> None:
    alpha, beta = (
        route(name, f"parentRefs: [{{name: gw}}]\n{RULE}", metadata=date)
        for name, date in zip(("alpha", "beta"), dates, strict=True)
    )
    for order in ((alpha, beta), (beta, alpha)):  # the order of files decides nothing
        found = compiled(GATEWAY + HTTP, *order)
        shadowed = [str(each.key) for each in found.status.problems if "fully shadowed" in each.message]
        assert shadowed == [f"HTTPRoute default/{'beta' if winner == 'alpha' else 'alpha'}"]


def test_P16_files_say_what_a_cluster_would() -> None:
    """Namespaces and their labels, endpoints of Services and the content of Secrets are documents; status is read."""
    listeners = """\
  - name: https
    port: 8443
    protocol: HTTPS
    tls: {certificateRefs: [{name: cert}]}
    allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {edge: "yes"}}}}
"""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "a", "namespace": "shop", "annotations": {"gatewayproxy.io/endpoints": "192.0.2.7:8080"}
        },
        "spec": {"ports": [{"port": 80}]},
    }  # fmt: skip
    found = compiled(
        GATEWAY + listeners,
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"edge": "yes"}}},
        service,
        tls_secret("cert", certs.certificate("shop.example.com")),
        route("a", f"parentRefs: [{{name: gw, namespace: default}}]\n{RULE}", namespace="shop"),
    )
    assert [each for each in found.status.problems if each.severity is Severity.ERROR] == []
    assert attached(found) == {"https": 1}
    (listener,) = found.plan.listeners
    (cluster,) = (
        backend.cluster for rule in listener.attachments[0].route.rules for backend in rule.backends if backend.cluster
    )
    assert [tuple(endpoint) for endpoint in cluster.endpoints] == [("192.0.2.7", 8080)]
    assert conditions(found, "HTTPRoute shop/a") == {"Accepted": "True Accepted", "ResolvedRefs": "True ResolvedRefs"}
