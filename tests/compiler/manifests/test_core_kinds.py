"""Kinds without a CustomResourceDefinition: Service, EndpointSlice, Secret, ConfigMap, Namespace."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.configmap import ConfigMap
from gatewayproxy.compiler.manifests.endpointslice import EndpointSlice
from gatewayproxy.compiler.manifests.namespace import Namespace
from gatewayproxy.compiler.manifests.reader import gather_files, read_source
from gatewayproxy.compiler.manifests.secret import Secret
from gatewayproxy.compiler.manifests.service import Service
from gatewayproxy.model.source import Source


def resources(kind: str, body: str, api_version: str = "v1") -> Resources:
    metadata = "{name: x, labels: {kubernetes.io/service-name: web}}"
    text = f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {metadata}\n{body}\n"
    return gather_files([read_source(Source("f.yaml", text.encode()))])


def told(kind: str, body: str, api_version: str = "v1") -> list[tuple[str, str]]:
    return [(p.field, p.message) for p in resources(kind, body, api_version).problems]


def test_a_service_as_a_cluster_writes_it() -> None:
    found = resources(
        "Service",
        "spec: {clusterIP: None, clusterIPs: [None], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack,"
        " internalTrafficPolicy: Cluster, sessionAffinity: None, type: ClusterIP, selector: {app: web}, ports: ["
        "{name: http, port: 80, targetPort: web, nodePort: 30080, protocol: TCP, appProtocol: kubernetes.io/h2c},"
        "{name: admin, port: 9000}]}\nstatus: {loadBalancer: {}}",
    )
    assert found.problems == ()
    (service,) = found.of(Service)
    assert service.cluster_ip == ""
    assert [(p.name, p.port, p.target_port, p.app_protocol) for p in service.ports] == [
        ("http", 80, "web", "kubernetes.io/h2c"),
        ("admin", 9000, 9000, None),
    ]
    assert service.ports[1].path == "spec.ports[1]"


def test_a_service_may_stand_for_a_name() -> None:
    (service,) = resources("Service", "spec: {type: ExternalName, externalName: db.example.com}").of(Service)
    assert (service.external_name, service.ports) == ("db.example.com", ())


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        pytest.param(
            "{ports: [{port: 80}, {port: 81, name: b}]}",
            ("spec.ports[0]", "a Service with several ports must name each"),
            id="nameless port",
        ),
        pytest.param(
            "{ports: [{name: a, port: 80}, {name: a, port: 81}]}",
            ("spec.ports[1]", 'the name "a" is taken by another port'),
            id="name twice",
        ),
        pytest.param(
            "{ports: [{name: a, port: 80}, {name: b, port: 80}]}",
            ("spec.ports[1]", "TCP port 80 is listed twice"),
            id="number twice",
        ),
        pytest.param("{ports: [{port: 0}]}", ("spec.ports[0].port", "0 is out of range"), id="port 0"),
        pytest.param(
            "{ports: [{port: 80, targetPort: 70000}]}",
            ("spec.ports[0].targetPort", "70000 is out of range"),
            id="targetPort",
        ),
        pytest.param(
            "{ports: [{port: 80, targetPort: '8080'}]}",
            ("spec.ports[0].targetPort", '"8080" has the wrong form'),
            id="quoted targetPort",
        ),
        pytest.param("{type: ExternalName}", ("spec.externalName", "is required for type ExternalName"), id="no name"),
        pytest.param("{port: 80}", ("spec.port", "unknown field"), id="port for ports"),
        pytest.param(
            "{ports: [{port: 80, protocol: HTTP}]}",
            ("spec.ports[0].protocol", '"HTTP" is not a known value'),
            id="protocol",
        ),
    ],
)
def test_a_bad_service_is_refused(spec: str, problem: tuple[str, str]) -> None:
    assert told("Service", f"spec: {spec}") == [problem]


def test_tcp_and_udp_may_share_a_port_number() -> None:
    spec = "{ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}]}"
    assert told("Service", f"spec: {spec}") == []


def test_an_endpoint_slice() -> None:
    (part,) = resources(
        "EndpointSlice",
        "addressType: IPv6\nports: [{name: http, port: 8080}, {name: '', port: null}]\nendpoints:\n"
        "- {addresses: ['2001:db8::1'], conditions: {ready: true, serving: true, terminating: false}, nodeName: n}\n"
        "- {addresses: ['::1'], conditions: {ready: false}}\n- {addresses: ['::2'], zone: z, hints: {forZones: []}}\n",
        "discovery.k8s.io/v1",
    ).of(EndpointSlice)
    assert part.service == "web"
    assert [(p.name, p.port) for p in part.ports] == [("http", 8080), ("", None)]
    assert [(e.addresses, e.ready) for e in part.endpoints] == [
        (("2001:db8::1",), True),
        (("::1",), False),
        (("::2",), True),
    ]


@pytest.mark.parametrize(
    ("address_type", "address"),
    [
        ("IPv4", "::1"),
        ("IPv4", "300.0.0.1"),
        ("IPv4", "a.b"),
        ("IPv6", "1.2.3.4"),
        ("IPv6", "fe80::1%eth0"),
        ("FQDN", "A_b"),
    ],
)
def test_an_address_of_another_type_is_refused(address_type: str, address: str) -> None:
    body = f"addressType: {address_type}\nendpoints: [{{addresses: ['{address}']}}]"
    assert told("EndpointSlice", body, "discovery.k8s.io/v1") == [
        ("endpoints[0].addresses[0]", f'"{address}" is not of addressType {address_type}')
    ]


def test_a_secret_decodes_data_and_prefers_string_data() -> None:
    body = "type: kubernetes.io/tls\ndata:\n  a: aGVs\n    bG8=\n  b: |\n    aGVs\n    bG8=\n  c: ''\n"
    body += "stringData: {c: plain}"
    (secret,) = resources("Secret", body).of(Secret)
    assert (secret.type, secret.data) == ("kubernetes.io/tls", {"a": b"hello", "b": b"hello", "c": b"plain"})


def test_a_secret_keeps_its_data_out_of_its_repr() -> None:
    (secret,) = resources("Secret", "stringData: {tls.key: topsecret}").of(Secret)
    assert "topsecret" not in repr(secret)


@pytest.mark.parametrize(
    "body",
    [
        "data: {a: 4711}", "stringData: {a: 4711}", "stringData: 'pin 4711'", "data: [4711]", "data: {a: [4711]}",
        "data: {a: '=4711'}", "stringData: {a: !pin 4711}", "stringData: {a: 4711, a: 4711}", "data: 4711",
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_secret_is_told_without_its_contents(body: str) -> None:
    problems = resources("Secret", body).problems
    assert problems
    assert not [each for each in problems if "4711" in f"{each.message}{each.hint}{each.field}"]


@pytest.mark.parametrize("text", ["plain text!", "aGVsbG8", "aGVsbG8==", "é"])
def test_what_is_not_base64_is_refused(text: str) -> None:
    assert told("Secret", f"data: {{tls.key: '{text}'}}") == [('data["tls.key"]', "is not base64")]


def test_a_config_map_holds_text_and_bytes() -> None:
    (found,) = resources("ConfigMap", "immutable: true\ndata: {a: é}\nbinaryData: {b: AAE=}").of(ConfigMap)
    assert found.data == {"a": "é".encode(), "b": b"\x00\x01"}


def test_a_config_map_key_stands_in_one_of_its_maps() -> None:
    assert told("ConfigMap", "data: {a: x}\nbinaryData: {a: AAE=}") == [("binaryData.a", "stands in data as well")]


def test_a_namespace_is_its_labels() -> None:
    (namespace,) = resources("Namespace", "spec: {finalizers: [kubernetes]}\nstatus: {phase: Active}").of(Namespace)
    assert (namespace.meta.key.namespace, namespace.meta.labels) == ("", {"kubernetes.io/service-name": "web"})
