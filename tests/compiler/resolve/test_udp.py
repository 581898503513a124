"""What is particular about datagrams: the transport of ports, and TLS that is none of theirs."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.pipeline import Compiled, Compiler
from gatewayproxy.model.names import BindKey
from gatewayproxy.model.plan import Endpoint
from gatewayproxy.model.source import CompileOptions, Source
from gatewayproxy.routing.table import PortKind

_GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: any
  addresses: [{type: IPAddress, value: 127.0.0.1}]
  listeners: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
"""
_ROUTES = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: u}
spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: dns, port: 53}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: t}
spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: dns, port: 53}]}]}
"""
_SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: dns, annotations: {gatewayproxy.io/endpoints: "10.0.0.1:5353"}}
spec: {ports: [{name: u, port: 53, protocol: UDP}, {name: t, port: 53}]}
"""
_POLICY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: tls}
spec:
  targetRefs: [{group: "", kind: Service, name: dns}]
  validation: {hostname: dns.example.com, wellKnownCACertificates: System}
"""


def compiled(text: str, **options: object) -> Compiled:
    return Compiler().compile([Source("in.yaml", text.encode())], CompileOptions(**options), {})  # type: ignore[arg-type]


def test_a_policy_for_tls_does_not_concern_datagrams() -> None:
    plan = compiled(_GATEWAY + _ROUTES + _SERVICE + _POLICY).plan
    (udp,) = (listener for listener in plan.listeners if listener.key.name == "dns")
    (backend,) = udp.attachments[0].route.rules[0].backends
    assert backend.cluster is not None
    assert backend.cluster.endpoints == (Endpoint("10.0.0.1", 5353),)


def test_both_transports_are_bound_on_one_number() -> None:
    table = compiled(_GATEWAY + _ROUTES + _SERVICE, port_map={53: 10053}).table
    bound = {port.bound: (port.kind, port.udp is not None, port.tcp is not None) for port in table.ports}
    assert bound == {
        BindKey("127.0.0.1", 10_053, udp=True): (PortKind.UDP, True, False),
        BindKey("127.0.0.1", 10_053): (PortKind.TCP, False, True),
    }


@pytest.mark.parametrize(("udp", "left"), [(True, "dns-tcp"), (False, "dns")], ids=["udp", "tcp"])
def test_what_one_transport_cannot_bind_the_other_may(udp: bool, left: str) -> None:
    refused = {BindKey("127.0.0.1", 53, udp): "Address already in use"}
    plan = compiled(_GATEWAY + _ROUTES + _SERVICE, unbindable=refused).plan
    assert [listener.key.name for listener in plan.listeners] == [left]
