"""Small manifests for tests of the real process, written to a folder as an operator would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from gatewayproxy.model.plan import Certificate

__all__ = [
    "gateway", "grpc_route", "http_route", "listener", "service", "tcp_route", "tls_secret", "udp_route", "udp_service",
    "write",
]  # fmt: skip

_API = "gateway.networking.k8s.io"
Tree = dict[str, object]


def listener(name: str, port: int, protocol: str = "HTTP", **rest: object) -> Tree:
    return {"name": name, "port": port, "protocol": protocol, **rest}


def gateway(name: str, address: str, *listeners: Tree) -> Tree:
    """A Gateway on one IP address."""
    spec = {
        "gatewayClassName": "gatewayproxy",
        "addresses": [{"type": "IPAddress", "value": address}],
        "listeners": list(listeners),
    }
    return {"apiVersion": f"{_API}/v1", "kind": "Gateway", "metadata": {"name": name}, "spec": spec}


def http_route(
    name: str, backend: str, *, parent: str = "gw", section: str | None = None, hostnames: Sequence[str] = (),
    path: str = "/",
) -> Tree:  # fmt: skip
    """An HTTPRoute with one prefix rule to port 80 of Service *backend*."""
    reference = {"name": parent} | ({"sectionName": section} if section else {})
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": path}}],
        "backendRefs": [{"name": backend, "port": 80}],
    }
    spec = {"parentRefs": [reference], "hostnames": list(hostnames), "rules": [rule]}
    return {"apiVersion": f"{_API}/v1", "kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec}


def grpc_route(name: str, backend: str, *, parent: str = "gw") -> Tree:
    """A GRPCRoute with one rule for all calls to port 80 of Service *backend*."""
    spec = {"parentRefs": [{"name": parent}], "rules": [{"backendRefs": [{"name": backend, "port": 80}]}]}
    return {"apiVersion": f"{_API}/v1", "kind": "GRPCRoute", "metadata": {"name": name}, "spec": spec}


def tcp_route(name: str, backend: str, *, section: str, parent: str = "gw") -> Tree:
    spec = {
        "parentRefs": [{"name": parent, "sectionName": section}],
        "rules": [{"backendRefs": [{"name": backend, "port": 80}]}],
    }
    return {"apiVersion": f"{_API}/v1", "kind": "TCPRoute", "metadata": {"name": name}, "spec": spec}


def service(name: str, *endpoints: str, labels: Mapping[str, str] | None = None, protocol: str = "") -> Tree:
    """A Service whose port 80 leads to *endpoints* ("127.0.0.1:8080"); *protocol* is its appProtocol."""
    annotations = {"gatewayproxy.io/endpoints": ", ".join(endpoints)}
    metadata = {"name": name, "annotations": annotations, "labels": dict(labels or {})}
    port: Tree = {"port": 80} | ({"appProtocol": protocol} if protocol else {})
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [port]}}


def udp_route(name: str, *backends: tuple[str, int], parent: str = "gw", section: str | None = None) -> Tree:
    """A UDPRoute to port 53 of Services, by weight."""
    reference = {"name": parent} | ({"sectionName": section} if section else {})
    refs = [{"name": backend, "port": 53, "weight": weight} for backend, weight in backends]
    spec = {"parentRefs": [reference], "rules": [{"backendRefs": refs}]}
    return {"apiVersion": f"{_API}/v1", "kind": "UDPRoute", "metadata": {"name": name}, "spec": spec}


def udp_service(name: str, *endpoints: str) -> Tree:
    """A Service whose UDP port 53 leads to *endpoints*."""
    tree = service(name, *endpoints)
    return {**tree, "spec": {"ports": [{"port": 53, "protocol": "UDP"}]}}


def tls_secret(name: str, certificate: Certificate) -> Tree:
    content = {"tls.crt": certificate.chain_pem.decode(), "tls.key": certificate.key_pem.decode()}
    metadata = {"name": name}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/tls",
        "stringData": content,
    }


def write(folder: Path, *objects: Tree, name: str = "all.yaml") -> None:
    """Replace *name* in *folder* by rename, so that no reload sees half of it."""
    folder.mkdir(exist_ok=True)
    fresh = folder / f".{name}.new"
    fresh.write_text(yaml.safe_dump_all(objects, sort_keys=False))
    fresh.rename(folder / name)
