"""GW2: certificates, and names that they do not hold for. Pure: the time is that of the compilation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from gatewayproxy.compiler.manifests.gateway import Gateway
from gatewayproxy.compiler.manifests.listenerset import ListenerSet
from gatewayproxy.compiler.resolve.overlaps import names_cover
from gatewayproxy.insight.lint.config import Config, Foreign, mappings
from gatewayproxy.insight.lint.rule import ERROR, Finding, Lint
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.protocols import Protocol, TlsMode

__all__ = ["LINTS", "SOON_S"]

SOON_S: Final = 14 * 86_400.0  # ACME clients renew a month ahead: half of that is a renewal that fails


def expiring(config: Config) -> Iterator[Finding]:
    """Yield the listeners with a certificate that expires within SOON_S."""
    for listener in config.plan.listeners if config.now else ():
        for certificate in listener.certificates:
            left_s = certificate.not_after - config.now
            if 0 <= left_s < SOON_S:
                day = datetime.fromtimestamp(certificate.not_after, UTC).strftime("%Y-%m-%d")
                names = ", ".join(certificate.names) or "no name"
                message = f"the certificate for {names} expires on {day}, in {_days(left_s)}"
                key = ResourceKey(listener.key.kind, listener.key.namespace, listener.key.parent)
                hint = "renew it; if cert-manager should have, kubectl describe certificate says why not"
                yield Finding(key, _listener_field(config, key, listener.key.name), message, hint)


def _days(left_s: float) -> str:
    days = int(left_s // 86_400)
    return "less than a day" if days == 0 else f"{days} day{'' if days == 1 else 's'}"


def _listener_field(config: Config, key: ResourceKey, name: str) -> str:
    holders: tuple[Gateway | ListenerSet, ...] = (*config.resources.of(Gateway), *config.resources.of(ListenerSet))
    listeners = next((each.listeners for each in holders if each.meta.key == key), ())
    return next((f"{each.path}.tls" for each in listeners if each.name == name), "spec.listeners")


# --- wildcards and HTTP-01

_ISSUERS: Final = {  # annotations of Gateways and ListenerSets, by which cert-manager issues what their listeners name
    "cert-manager.io/cluster-issuer": "ClusterIssuer",
    "cert-manager.io/issuer": "Issuer",
}


def unissuable_wildcards(config: Config) -> Iterator[Finding]:
    """Yield wildcards that cert-manager is to get from an issuer whose solvers are of HTTP-01 alone."""
    issuers = {(each.key.kind, each.key.namespace, each.key.name): each for each in _of_cert_manager(config)}

    def only_http01(kind: str, namespace: str, name: object, host: str) -> bool:
        # A ClusterIssuer has no namespace: any that its manifest may say is of no account.
        found = [
            each for (own, space, other), each in issuers.items()
            if (own, other) == (kind, name) and (kind == "ClusterIssuer" or space == namespace)
        ]  # fmt: skip
        return bool(found) and not any(_may_solve(each, host) for each in found)

    holders: tuple[Gateway | ListenerSet, ...] = (*config.resources.of(Gateway), *config.resources.of(ListenerSet))
    for holder in holders:
        asked = [(kind, name) for key, kind in _ISSUERS.items() if (name := holder.meta.annotations.get(key))]
        for listener in holder.listeners if asked else ():
            kind, name = asked[0]
            wildcard = listener.hostname.startswith("*.") and listener.tls is not None
            if wildcard and only_http01(kind, holder.meta.namespace, name, listener.hostname):
                yield Finding(holder.meta.key, f"{listener.path}.hostname", _NO_WILDCARD.format(f"{kind} {name}"), _DNS)
    for each in _of_cert_manager(config):
        ref = each.spec.get("issuerRef")
        names = each.spec.get("dnsNames")
        if each.key.kind != "Certificate" or not isinstance(ref, Mapping) or not isinstance(names, list):
            continue
        kind, name = str(ref.get("kind", "Issuer")), ref.get("name")
        for index, host in enumerate(names):
            if str(host).startswith("*.") and only_http01(kind, each.key.namespace, name, str(host)):
                yield Finding(each.key, f"spec.dnsNames[{index}]", _NO_WILDCARD.format(f"{kind} {name}"), _DNS)


_NO_WILDCARD: Final = "{} solves HTTP-01 challenges only, which no authority issues a wildcard for"
_DNS: Final = "add a solver of DNS-01 to the issuer, or list the names one by one"


def _of_cert_manager(config: Config) -> Iterator[Foreign]:
    return (each for each in config.foreign if each.api_version.startswith("cert-manager.io/"))


def _may_solve(issuer: Foreign, host: str) -> bool:
    """Return whether *issuer* may get a wildcard: it is not of ACME, or solves DNS-01 for *host*."""
    acme = issuer.spec.get("acme")
    if not isinstance(acme, Mapping):
        return True
    return any("dns01" in solver and _selects(solver, host) for solver in mappings(acme.get("solvers")))


def _selects(solver: Mapping[str, object], host: str) -> bool:
    selector = solver.get("selector")
    names, zones = (_texts(selector, key) for key in ("dnsNames", "dnsZones"))
    if not (names or zones):
        return True
    return host in names or any(host.removeprefix("*.") == zone or host.endswith(f".{zone}") for zone in zones)


def _texts(tree: object, key: str) -> list[str]:
    """Return the strings of a list in a tree that nobody has checked."""
    written = tree.get(key) if isinstance(tree, Mapping) else None
    return [each for each in written if isinstance(each, str)] if isinstance(written, list) else []


# --- TLS that ends here beside TLS that passes through


def coalesced_passthrough(config: Config) -> Iterator[Finding]:
    """Yield listeners that pass TLS through, for names that a certificate of an HTTPS listener of the port covers."""
    ending = [each for each in config.plan.listeners if each.protocol is Protocol.HTTPS]
    for listener in config.plan.listeners:
        if listener.tls_mode is not TlsMode.PASSTHROUGH or not listener.hostname:
            continue
        for other in ending:
            names = [name for certificate in other.certificates for name in certificate.names]
            beside = other.bind_port == listener.bind_port and set(other.addresses) & set(listener.addresses)
            if beside and names_cover(names, listener.hostname):
                key = ResourceKey(listener.key.kind, listener.key.namespace, listener.key.parent)
                message = (
                    f"passes TLS of {listener.hostname} through, and a certificate of listener {other.key.name} holds "
                    "for it: browsers send its requests over connections to that listener, which answers 421"
                )
                hint = "give that listener a certificate without this name, or this one another port or address"
                yield Finding(key, _listener_field(config, key, listener.key.name), message, hint)
                break


LINTS: Final[Mapping[str, Lint]] = {
    "GW201": Lint(
        title="hostname that no certificate covers",
        meaning="Clients check the name of the certificate, and refuse it. A wildcard stands for exactly one label: "
        "*.example.com is not for a.b.example.com.",
        fix="Get a certificate for the name, or a wildcard one label below.",
    ),
    "GW202": Lint(
        title="certificate that has expired",
        meaning="Clients refuse it.",
        fix="Renew it.",
    ),
    "GW203": Lint(
        title="certificate that expires soon",
        meaning="It is good for less than 14 days more, and nobody has renewed it so far.",
        fix="Renew it, and find out why that does not happen by itself.",
        find=expiring,
    ),
    "GW204": Lint(
        title="certificate that cannot be used",
        meaning="The Secret is missing, or holds no chain and key that a server can use. A listener without any "
        "certificate does not serve.",
        fix="Mend what the message names: the Secret holds tls.crt and tls.key, or names files that can be read.",
        severity=ERROR,
    ),
    "GW209": Lint(
        title="wildcard from an issuer of HTTP-01",
        meaning="ACME authorities issue wildcards for DNS-01 challenges only. The certificate never comes, and its "
        "listener does not serve.",
        fix="Add a dns01 solver to the issuer, or give the listener names without a wildcard.",
        find=unissuable_wildcards,
    ),
    "GW207": Lint(
        title="host outside that is reached in plain text",
        meaning="An XBackend without tls: what goes there, over whatever networks, can be read and changed.",
        fix="Add tls with a mode, or write mode: None if that is what you want.",
    ),
    "GW208": Lint(
        title="passthrough beside a certificate for the same name",
        meaning="HTTP/2 clients reuse a connection for every name that its certificate holds for (RFC 9113 §9.1.1), "
        "and ask the HTTPS listener for what the passthrough listener has. It answers 421; not all clients try again.",
        fix="Keep the name out of the other listener's certificate, or use another port or address.",
        find=coalesced_passthrough,
    ),
}
