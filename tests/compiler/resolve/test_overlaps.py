"""Names that listeners of TLS share, and names that no certificate covers."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.pipeline import Compiler
from gatewayproxy.compiler.resolve.overlaps import names_cover
from gatewayproxy.model.source import CompileOptions, Source
from tests.support.certs import certificate

NAMES = ("a.example.com", "b.example.com", "*.example.com", "*.b.example.com")
FILES = {
    f"{index}.{suffix}": pem
    for index, name in enumerate(NAMES)
    for suffix, pem in (("crt", certificate(name).chain_pem), ("key", certificate(name).key_pem))
}
SECRETS = "".join(
    f"""---
apiVersion: v1
kind: Secret
metadata:
  name: s{index}
  annotations: {{gatewayproxy.io/cert-file: {index}.crt, gatewayproxy.io/key-file: {index}.key}}
"""
    for index in range(len(NAMES))
)
A, B, ANY, BELOW_B = (f"{{mode: Terminate, certificateRefs: [{{name: s{index}}}]}}" for index in range(len(NAMES)))
PASS = "{mode: Passthrough}"
HOSTS, CERTIFICATES = "OverlappingHostnames", "OverlappingCertificates"


def overlapping(*listeners: str) -> dict[str, dict[str, str]]:
    """Return the OverlappingTLSConfig conditions of *listeners*, which are "PROTOCOL PORT HOSTNAME TLS", by name."""
    listed = ""
    for index, each in enumerate(listeners):
        protocol, port, hostname, tls = each.split(" ", 3)
        name = "" if hostname == "*" else f', hostname: "{hostname}"'
        listed += f"  - {{name: l{index}, port: {port}, protocol: {protocol}, tls: {tls}{name}}}\n"
    text = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gw}}
spec:
  gatewayClassName: any
  listeners:
{listed}{SECRETS}"""
    report = Compiler().compile([Source("gw.yaml", text.encode())], CompileOptions(), FILES).status
    status = next(each.status for each in report.objects if each.key.kind == "Gateway")
    return {
        listener["name"]: condition
        for listener in status["listeners"]
        for condition in listener["conditions"]
        if condition["type"] == "OverlappingTLSConfig"
    }


@pytest.mark.parametrize(
    ("listeners", "found"),
    [
        pytest.param([f"HTTPS 443 a.example.com {A}", f"HTTPS 443 b.example.com {B}"], {}, id="different names"),
        pytest.param(
            [f"HTTPS 443 a.example.com {A}", f"HTTPS 443 *.example.com {B}"], {"l0": HOSTS, "l1": HOSTS},
            id="a name under a wildcard",
        ),
        pytest.param(
            [f"HTTPS 443 a.example.com {A}", f"HTTPS 443 * {B}"], {"l0": HOSTS, "l1": HOSTS}, id="a name beside any"
        ),
        pytest.param(
            [f"HTTPS 443 *.a.example.com {A}", f"HTTPS 443 *.example.com {B}"], {"l0": HOSTS, "l1": HOSTS},
            id="a wildcard under a wildcard",
        ),
        pytest.param([f"HTTPS 443 a.example.com {A}", f"HTTPS 8443 *.example.com {A}"], {}, id="other ports"),
        pytest.param(
            [f"HTTPS 443 a.example.com {A}", f"HTTPS 443 b.example.com {A}"],
            {"l0": CERTIFICATES, "l1": CERTIFICATES}, id="one certificate at two listeners",
        ),
        pytest.param(
            [f"HTTPS 443 a.example.org {A}", f"HTTPS 443 b.example.org {ANY}", f"HTTPS 443 c.example.org {BELOW_B}"],
            {"l0": CERTIFICATES, "l1": CERTIFICATES}, id="a certificate that covers another's name",
        ),
        pytest.param(
            [f"HTTPS 443 a.example.com {A}", f"HTTPS 443 *.example.com {ANY}"],
            {"l0": CERTIFICATES, "l1": CERTIFICATES}, id="both: the certificates are told of",
        ),
        pytest.param(
            [f"HTTPS 443 *.example.com {B}", f"TLS 443 a.example.com {PASS}"], {"l0": HOSTS, "l1": HOSTS},
            id="HTTPS around a name passed through",
        ),
        pytest.param(
            [f"TLS 443 *.example.com {PASS}", f"TLS 443 a.example.com {PASS}", f"TLS 443 a.example.org {A}"], {},
            id="two that pass through",
        ),
        pytest.param(
            [f"TLS 443 *.example.com {B}", f"TLS 443 a.example.com {A}"], {"l0": HOSTS, "l1": HOSTS},
            id="two that terminate streams",
        ),
    ],
)  # fmt: skip
def test_listeners_of_a_port_that_share_names_say_so(listeners: list[str], found: dict[str, str]) -> None:
    conditions = overlapping(*listeners)
    assert {name: each["reason"] for name, each in conditions.items()} == found
    assert all(each["status"] == "True" for each in conditions.values())


def test_a_listener_names_those_it_overlaps_with() -> None:
    conditions = overlapping(f"HTTPS 443 * {BELOW_B}", f"HTTPS 443 a.example.com {A}", f"HTTPS 443 b.example.com {B}")
    assert conditions["l0"]["message"] == "hostname any overlaps with listener l1, l2"
    assert conditions["l1"]["message"] == "hostname a.example.com overlaps with listener l0"


@pytest.mark.parametrize(
    ("names", "hostname", "covered"),
    [
        pytest.param(["a.example.com"], "a.example.com", True, id="the name"),
        pytest.param(["*.example.com"], "a.example.com", True, id="one label under a wildcard"),
        pytest.param(["*.example.com"], "b.a.example.com", False, id="two labels under a wildcard"),
        pytest.param(["*.example.com"], "*.example.com", True, id="the wildcard itself"),
        pytest.param(["a.example.com"], "*.example.com", False, id="a name for a wildcard listener"),
        pytest.param(["example.com"], "a.example.com", False, id="the parent"),
        pytest.param([], "a.example.com", False, id="no names"),
    ],
)
def test_a_certificate_covers_what_clients_accept_it_for(names: list[str], hostname: str, covered: bool) -> None:
    assert names_cover(names, hostname) is covered


def test_a_hostname_that_no_certificate_covers_is_told_of() -> None:
    text = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gw}}
spec:
  gatewayClassName: any
  listeners:
  - {{name: l, port: 443, protocol: HTTPS, hostname: b.example.com, tls: {A}}}
{SECRETS}"""
    found = Compiler().compile([Source("gw.yaml", text.encode())], CompileOptions(), FILES)
    assert [p.message for p in found.status.problems] == [
        "no certificate is for b.example.com; they name a.example.com"
    ]
    assert len(found.plan.listeners) == 1
