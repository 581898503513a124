"""Names that HTTPS listeners share, and names that no certificate covers."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.pipeline import Compiler
from gatewayproxy.compiler.resolve.overlaps import names_cover
from gatewayproxy.model.source import CompileOptions, Source
from tests.support.certs import certificate

FILES = {"a.crt": certificate("a.example.com").chain_pem, "a.key": certificate("a.example.com").key_pem}
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: tls, annotations: {gatewayproxy.io/cert-file: a.crt, gatewayproxy.io/key-file: a.key}}
"""


def overlapping(*listeners: tuple[str, int]) -> dict[str, str]:
    """Return listener hostname -> message of its OverlappingTLSConfig condition."""
    listed = "".join(
        f"  - {{name: l{index}, port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: tls}}]}}"
        + (f', hostname: "{hostname}"}}\n' if hostname else "}\n")
        for index, (hostname, port) in enumerate(listeners)
    )
    text = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gw}}
spec:
  gatewayClassName: any
  listeners:
{listed}---{SECRET}"""
    report = Compiler().compile([Source("gw.yaml", text.encode())], CompileOptions(), FILES).status
    status = next(each.status for each in report.objects if each.key.kind == "Gateway")
    return {
        listener["name"]: condition["message"]
        for listener in status["listeners"]
        for condition in listener["conditions"]
        if condition["type"] == "OverlappingTLSConfig"
    }


@pytest.mark.parametrize(
    ("listeners", "named"),
    [
        pytest.param([("a.example.com", 443), ("b.example.com", 443)], set(), id="different names"),
        pytest.param([("a.example.com", 443), ("*.example.com", 443)], {"l0", "l1"}, id="a name under a wildcard"),
        pytest.param([("a.example.com", 443), ("", 443)], {"l0", "l1"}, id="a name beside any"),
        pytest.param([("a.example.com", 443), ("*.example.com", 8443)], set(), id="other ports do not meet"),
    ],
)
def test_listeners_of_a_port_that_share_names_say_so(listeners: list[tuple[str, int]], named: set[str]) -> None:
    assert set(overlapping(*listeners)) == named


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
  - {{name: l, port: 443, protocol: HTTPS, hostname: b.example.com, tls: {{certificateRefs: [{{name: tls}}]}}}}
---{SECRET}"""
    found = Compiler().compile([Source("gw.yaml", text.encode())], CompileOptions(), FILES)
    assert [p.message for p in found.status.problems] == [
        "no certificate is for b.example.com; they name a.example.com"
    ]
    assert len(found.plan.listeners) == 1
