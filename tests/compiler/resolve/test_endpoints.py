"""Where a Service port leads, with slices, with the annotation, and with neither."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.manifests.endpointslice import EndpointSlice, SliceEndpoint, SlicePort
from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.service import Service, ServicePort
from gatewayproxy.compiler.resolve.endpoints import EndpointsError, fallback_name, from_annotation, from_slices
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.plan import Endpoint

AT = Origin("services.yaml", 1)
META = Meta(key=ResourceKey("Service", "shop", "api"), origin=AT, api_version="v1")


def port(number: int = 80, *, name: str = "", target: int | str = 8080, protocol: str = "TCP") -> ServicePort:
    return ServicePort(name=name, port=number, target_port=target, protocol=protocol, at=AT, path="spec.ports[0]")


def part(*addresses: str, ports: tuple[SlicePort, ...], ready: bool = True) -> EndpointSlice:
    endpoints = tuple(SliceEndpoint(addresses=(address,), ready=ready, at=AT) for address in addresses)
    return EndpointSlice(meta=META, address_type="IPv4", endpoints=endpoints, ports=ports)


def slice_port(number: int | None, name: str = "", protocol: str = "TCP") -> SlicePort:
    return SlicePort(name=name, port=number, protocol=protocol)


@pytest.mark.parametrize(
    ("slices", "found"),
    [
        pytest.param([part("10.0.0.1", ports=(slice_port(9000),))], {("10.0.0.1", 9000)}, id="slice ports are targets"),
        pytest.param(
            [part("10.0.0.1", ports=(slice_port(9000),)), part("10.0.0.2", "10.0.0.1", ports=(slice_port(9000),))],
            {("10.0.0.1", 9000), ("10.0.0.2", 9000)},
            id="several slices add up, each endpoint once",
        ),
        pytest.param([part("10.0.0.1", ports=(slice_port(9000),), ready=False)], set(), id="not ready is left out"),
        pytest.param([part("10.0.0.1", ports=(slice_port(9000, "admin"),))], set(), id="a port of another name"),
        pytest.param([part("10.0.0.1", ports=(slice_port(53, "", "UDP"),))], set(), id="a port of another protocol"),
        pytest.param([part("10.0.0.1", ports=(slice_port(None),))], {("10.0.0.1", 8080)}, id="no number: the target"),
        pytest.param([part("::1", ports=(slice_port(9000),))], {("::1", 9000)}, id="IPv6"),
        pytest.param([], set(), id="no slices"),
    ],
)
def test_slices_give_their_ready_endpoints(slices: list[EndpointSlice], found: set[tuple[str, int]]) -> None:
    assert from_slices(slices, port()) == tuple(sorted(Endpoint(*each) for each in found))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("10.0.0.7:8081", [("10.0.0.7", 8081)], id="one"),
        pytest.param("10.0.0.7", [("10.0.0.7", 8080)], id="no port: the target port"),
        pytest.param("[::1]:9090", [("::1", 9090)], id="IPv6"),
        pytest.param("[0:0:0:0:0:0:0:1]", [("::1", 8080)], id="IPv6 in full, no port"),
        pytest.param("unix:/run/app.sock", [("unix:/run/app.sock", 0)], id="unix socket"),
        pytest.param("App.internal:80", [("app.internal", 80)], id="a name"),
        pytest.param(
            "10.0.0.7:8080, [::1]:9090, unix:/run/app.sock",
            [("10.0.0.7", 8080), ("::1", 9090), ("unix:/run/app.sock", 0)],
            id="several, in order",
        ),
        pytest.param("10.0.0.7:1,10.0.0.7:1", [("10.0.0.7", 1)], id="each once"),
        pytest.param("http=10.0.0.7:1, admin=10.0.0.7:2", [("10.0.0.7", 1)], id="only this port's, by name"),
        pytest.param("80=10.0.0.7:1, 81=10.0.0.7:2", [("10.0.0.7", 1)], id="only this port's, by number"),
        pytest.param("10.0.0.9:3, http=10.0.0.7:1", [("10.0.0.7", 1)], id="own entries outweigh common ones"),
        pytest.param("10.0.0.9:3, admin=10.0.0.7:1", [("10.0.0.9", 3)], id="common ones serve the others"),
        pytest.param("admin=10.0.0.7:2", [], id="none for this port"),
    ],
)
def test_the_annotation_gives_endpoints(text: str, found: list[tuple[str, int]]) -> None:
    assert from_annotation(text, port(name="http")) == tuple(Endpoint(*each) for each in found)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("10.0.0.7:80,", id="trailing comma"),
        pytest.param("::1:9090", id="IPv6 without brackets"),
        pytest.param("10.0.0.7:0", id="port 0"),
        pytest.param("10.0.0.7:65536", id="port too large"),
        pytest.param("10.0.0.256:80", id="not an IPv4 address"),
        pytest.param("10.0.1:80", id="three octets"),
        pytest.param("[::g]:80", id="not an IPv6 address"),
        pytest.param("unix:run/app.sock", id="relative socket path"),
        pytest.param("http://10.0.0.7", id="a URL"),
        pytest.param("10.0.0.7:80 10.0.0.8:80", id="no comma"),
        pytest.param("unix:/" + "a" * 108, id="socket path too long for the system"),
        pytest.param(",".join(["10.0.0.7:80"] * 1_001), id="too many"),
    ],
)
def test_an_annotation_that_does_not_read_is_refused(text: str) -> None:
    with pytest.raises(EndpointsError):
        from_annotation(text, port())


@pytest.mark.parametrize(
    ("service", "of", "found"),
    [
        pytest.param(Service(meta=META), port(), ("api.shop.svc.cluster.local", 8080), id="plain: target port"),
        pytest.param(
            Service(meta=META), port(target="web"), ("api.shop.svc.cluster.local", 80), id="named target: own port"
        ),
        pytest.param(
            Service(meta=META, cluster_ip="10.96.0.9"), port(), ("api.shop.svc.cluster.local", 80),
            id="a cluster IP listens on the Service's port",
        ),
        pytest.param(
            Service(meta=META), port(), ("api.shop.svc.cluster.local", 8080), id="headless, or nothing said: pods"
        ),
        pytest.param(
            Service(meta=META, type="ExternalName", external_name="db.example.com"), port(), ("db.example.com", 8080),
            id="externalName",
        ),
    ],
)  # fmt: skip
def test_without_slices_and_annotation_a_name_is_resolved(
    service: Service, of: ServicePort, found: tuple[str, int]
) -> None:
    assert fallback_name(service, of, "cluster.local") == Endpoint(*found)
