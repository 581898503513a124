"""Certificates: what cert-manager can have, how long they hold, and what browsers do with those that hold for more."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.insight.lint.certificates import SOON_S, expiring
from gatewayproxy.insight.lint.config import Config
from gatewayproxy.model.names import ListenerKey
from gatewayproxy.model.plan import Certificate, Listener, Plan
from gatewayproxy.model.protocols import Protocol
from gatewayproxy.model.status import StatusReport
from tests.support.lints import gateway, route, secret, service, told
from tests.support.plans import table_of

WILDCARD = '{name: https, port: 443, protocol: HTTPS, hostname: "*.example", tls: {certificateRefs: [{name: cert}]}}'
HTTP01 = "{http01: {ingress: {}}}"
DNS01 = "{dns01: {route53: {}}"


def issuer(*solvers: str, kind: str = "ClusterIssuer", acme: bool = True) -> str:
    spec = f"acme: {{solvers: [{', '.join(solvers)}]}}" if acme else "ca: {secretName: ca}"
    return f"apiVersion: cert-manager.io/v1\nkind: {kind}\nmetadata: {{name: le}}\nspec: {{{spec}}}\n"


def asking(annotation: str = "cluster-issuer") -> str:
    return gateway(WILDCARD, metadata=f", annotations: {{cert-manager.io/{annotation}: le}}")


@pytest.mark.parametrize(
    ("issuers", "n"),
    [
        pytest.param([issuer(HTTP01)], 1, id="HTTP-01 alone"),
        pytest.param([issuer(HTTP01, DNS01 + "}")], 0, id="DNS-01 too"),
        pytest.param([issuer(HTTP01, DNS01 + ", selector: {dnsZones: [other]}}")], 1, id="DNS-01 for another zone"),
        pytest.param([issuer(HTTP01, DNS01 + ", selector: {dnsZones: [example]}}")], 0, id="DNS-01 for its zone"),
        pytest.param([issuer(HTTP01, DNS01 + ', selector: {dnsNames: ["*.example"]}}')], 0, id="DNS-01 for its name"),
        pytest.param([issuer(acme=False)], 0, id="no ACME"),
        pytest.param([issuer(HTTP01, kind="Issuer")], 0, id="an issuer of another kind"),
        pytest.param([], 0, id="an issuer that is not among the manifests"),
        pytest.param([issuer(DNS01 + ", selector: {dnsZones: 7}}")], 0, id="a selector that cannot be read"),
        pytest.param([issuer("7", "[8]")], 1, id="solvers that cannot be read"),
        pytest.param([issuer(HTTP01).replace("spec: {", "spec: 7 # {")], 0, id="a spec that cannot be read"),
    ],
)  # fmt: skip
def test_a_wildcard_needs_a_solver_of_dns01(issuers: list[str], n: int) -> None:
    assert len(told("GW209", asking(), secret("*.example"), *issuers)) == n


def test_an_issuer_of_the_namespace_is_asked_by_an_annotation_of_its_own() -> None:
    assert told("GW209", asking("issuer"), secret("*.example"), issuer(HTTP01, kind="Issuer"))


def test_a_certificate_object_is_told_by_the_name_in_it() -> None:
    wanted = (
        "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c}\n"
        'spec: {issuerRef: {name: le, kind: ClusterIssuer}, dnsNames: [a.example, "*.example"]}\n'
    )
    ((key, field, message),) = told("GW209", wanted, issuer(HTTP01))
    assert (key, field) == ("Certificate default/c", "spec.dnsNames[1]")
    assert message.startswith("ClusterIssuer le solves HTTP-01 challenges only")


def test_objects_of_cert_manager_are_not_told_to_be_passed_over() -> None:
    assert not told("GW002", issuer(DNS01 + "}"))
    assert told("GW002", issuer(DNS01 + "}").replace("cert-manager.io", "certs.example"))


@pytest.mark.parametrize(
    ("left_s", "said"),
    [
        pytest.param(SOON_S, "", id="long enough"),
        pytest.param(SOON_S - 1, "in 13 days", id="soon"),
        pytest.param(86_400.0, "in 1 day", id="a day"),
        pytest.param(1.0, "in less than a day", id="a second"),
        pytest.param(-1.0, "", id="expired, which is another code"),
    ],
)
def test_certificates_are_told_two_weeks_before_they_expire(left_s: float, said: str) -> None:
    now = 1_700_000_000.0
    certificate = Certificate(chain_pem=b"", key_pem=b"", digest="", names=("a.example",), not_after=int(now + left_s))
    listener = Listener(
        key=ListenerKey("default", "gw", "https"), protocol=Protocol.HTTPS, port=443, bind_port=443,
        certificates=(certificate,),
    )  # fmt: skip
    found = Config(
        plan=Plan(listeners=(listener,)), table=table_of(), status=StatusReport(), resources=Resources(), sources=(),
        now=now,
    )  # fmt: skip
    messages = [each.message for each in expiring(found)]
    assert [message.endswith(said) for message in messages] == ([True] if said else [])


@pytest.mark.parametrize(("host", "n"), [("login.example", 1), ("login.eu.example", 0), ("login.test", 0)])
def test_passthrough_of_a_name_that_a_certificate_beside_it_holds_for_is_told(host: str, n: int) -> None:
    passthrough = f"{{name: pass, port: 443, protocol: TLS, hostname: {host}, tls: {{mode: Passthrough}}}}"
    found = told("GW208", gateway(WILDCARD, passthrough), secret("*.example"))
    assert len(found) == n
    assert not told("GW208", gateway(WILDCARD, passthrough.replace("443", "8443")), secret("*.example"))


def test_a_name_that_a_narrower_listener_has_needs_no_certificate_of_the_wider_one() -> None:
    narrow = (
        '{name: narrow, port: 443, protocol: HTTPS, hostname: "*.a.example", tls: {certificateRefs: [{name: own}]}}'
    )
    routed = route(hosts='"*.a.example"')
    secrets = (secret("*.example"), secret("*.a.example", "own"), service())
    assert not told("GW201", gateway(WILDCARD, narrow), *secrets, routed)
    assert told("GW201", gateway(WILDCARD, narrow.replace("443", "8443")), *secrets, routed)
    assert told("GW201", gateway(WILDCARD, narrow), *secrets, route(hosts='"*.b.example"'))
