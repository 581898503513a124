"""Routes on listeners that they are not meant for, and addresses and backends that mean two things. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from gatewayproxy.compiler.lower.edits import bind_redirect
from gatewayproxy.compiler.manifests.backendtlspolicy import BackendTLSPolicy
from gatewayproxy.compiler.manifests.httproute import HTTPRoute
from gatewayproxy.compiler.manifests.references import ParentRef
from gatewayproxy.compiler.manifests.service import Service
from gatewayproxy.insight.lint.config import Config
from gatewayproxy.insight.lint.rule import ERROR, Finding, Lint
from gatewayproxy.insight.lint.walk import attached, parent_of
from gatewayproxy.model.names import ListenerKey, ResourceKey
from gatewayproxy.model.plan import Listener, Match, PathKind, Rule
from gatewayproxy.model.protocols import AppProtocol, Protocol

__all__ = ["LINTS"]

_SOLVER: Final = "/.well-known/acme-challenge/"  # RFC 8555 §8.3
_SOLVER_PORT: Final = 80
_OWN_PORTS: Final = {Protocol.HTTP: 80, Protocol.HTTPS: 443}  # that a URL does not name
_CLEAR: Final = (AppProtocol.H2C.value, AppProtocol.WS.value)


# --- ACME solvers


def misplaced_solvers(config: Config) -> Iterator[Finding]:
    """Yield parentRefs of ACME HTTP-01 solvers that lead to listeners nobody asks, or not to the one that is asked."""
    where: dict[ResourceKey, dict[ListenerKey, Listener]] = defaultdict(dict)
    for listener, key, _ in attached(config):
        where[key][listener.key] = listener
    for route in config.resources.of(HTTPRoute):
        if not _solves(route):
            continue
        for ref in route.parent_refs:
            parent = ResourceKey(ref.kind, ref.namespace or route.meta.namespace, ref.name)
            on = where[route.meta.key].values()
            listeners = [each for each in on if parent_of(each.key) == parent and _named(ref, each)]
            if listeners and (message := _misplaced(listeners)):
                hint = "write sectionName with the name of the HTTP listener of port 80"
                yield Finding(route.meta.key, ref.path, message, hint)


def _solves(route: HTTPRoute) -> bool:
    paths = [match.path for rule in route.rules for match in rule.matches if match.path_kind is not PathKind.REGEX]
    return bool(paths) and all(f"{path}/".startswith(_SOLVER) for path in paths)


def _named(ref: ParentRef, listener: Listener) -> bool:
    return ref.section_name in (None, listener.key.name) and ref.port in (None, listener.port)


def _misplaced(listeners: list[Listener]) -> str:
    wrong = [each.key.name for each in listeners if (each.protocol, each.port) != (Protocol.HTTP, _SOLVER_PORT)]
    if len(wrong) == len(listeners):
        return f"an ACME server asks on port {_SOLVER_PORT}, and the solver is on {', '.join(wrong)} alone"
    if not any(each.protocol is Protocol.HTTPS for each in listeners):
        return ""
    return (
        f"the solver of an ACME challenge is on {', '.join(wrong)}, too, where it stands before the site's own routes"
    )


# --- redirects to themselves


def round_trips(config: Config) -> Iterator[Finding]:
    """Yield redirects to the URL that the request came for."""
    for listener, route, rule in attached(config):
        if listener.protocol in _OWN_PORTS and _returns(listener, rule):
            message = f"redirects requests of listener {listener.key.name} to the URL that they came for, for ever"
            hint = "name the listener that it is for in sectionName of the parentRef, or change what it redirects to"
            yield Finding(route, f"spec.rules[{rule.index}].filters", message, hint)


def _returns(listener: Listener, rule: Rule) -> bool:
    redirect = rule.filters.redirect
    if redirect is None or redirect.host is not None or rule.refusal is not None:
        return False
    written = b"" if listener.port == _OWN_PORTS[listener.protocol] else b":%d" % listener.port
    for match in rule.matches:
        prefix = match.path if isinstance(match, Match) and match.path_kind is PathKind.PREFIX else b""
        respond = bind_redirect(redirect, listener, prefix)
        there = respond.path is None and respond.prefix in (None, (len(prefix.rstrip(b"/")), prefix.rstrip(b"/")))
        if there and (respond.scheme, respond.port) == (listener.protocol.value.lower().encode(), written):
            return True
    return False


# --- addresses


def split_addresses(config: Config) -> Iterator[Finding]:
    """Yield Gateways on all interfaces where another has one address of a port for itself."""
    special: dict[tuple[int, bool], dict[str, ResourceKey]] = defaultdict(dict)
    for listener in config.plan.listeners:
        for address in listener.addresses:
            if address:
                special[_port(listener)][address] = parent_of(listener.key)
    told: set[tuple[ResourceKey, int]] = set()
    for listener in config.plan.listeners:
        own = parent_of(listener.key)
        taken = {address: who for address, who in special[_port(listener)].items() if who != own}
        if "" not in listener.addresses or not taken or (own, listener.port) in told:
            continue
        told.add((own, listener.port))
        address, who = sorted(taken.items())[0]
        message = f"takes port {listener.port} of all addresses, but {address} is {who}'s: this Gateway never sees it"
        yield Finding(
            own, "spec.addresses", message, "write spec.addresses, so that both say which addresses are theirs"
        )


def _port(listener: Listener) -> tuple[int, bool]:
    return listener.bind_port, listener.protocol is Protocol.UDP


# --- protocols of backends


def contradicted_protocols(config: Config) -> Iterator[Finding]:
    """Yield targets of BackendTLSPolicies whose port says that it is spoken to in clear text."""
    services = {(each.meta.namespace, each.meta.name): each for each in config.resources.of(Service)}
    for policy in config.resources.of(BackendTLSPolicy):
        for index, target in enumerate(policy.targets):
            service = services.get((policy.meta.namespace, target.name))
            for port in service.ports if service is not None and target.kind == "Service" else ():
                if port.app_protocol in _CLEAR and target.section_name in (None, port.name):
                    message = (
                        f"Service {target.name} port {port.port} is {port.app_protocol}, clear text; TLS is spoken"
                    )
                    hint = "remove appProtocol: ALPN settles the protocol; or remove the policy"
                    yield Finding(policy.meta.key, f"spec.targetRefs[{index}]", message, hint)


LINTS: Final[Mapping[str, Lint]] = {
    "GW206": Lint(
        title="ACME solver on the wrong listeners",
        meaning="An HTTP-01 challenge is asked for on port 80, in clear text. Without sectionName the solver's route "
        "is on the HTTPS listeners too, or it is on none of port 80, and the certificate never comes.",
        fix="Write sectionName with the name of the HTTP listener of port 80.",
        find=misplaced_solvers,
    ),
    "GW314": Lint(
        title="clear-text appProtocol beside a BackendTLSPolicy",
        meaning="kubernetes.io/h2c and kubernetes.io/ws say clear text, the policy says TLS, and the policy is obeyed: "
        "a backend that speaks clear text there answers nothing.",
        fix="Remove appProtocol, or the policy.",
        find=contradicted_protocols,
    ),
    "GW413": Lint(
        title="redirect that leads to itself",
        meaning="The Location is the URL that was asked for: clients follow it until they give up. Most often, a "
        "redirect to https whose parentRef has no sectionName, so that the HTTPS listener has it as well.",
        fix="Name the HTTP listener in sectionName.",
        find=round_trips,
    ),
    "GW506": Lint(
        title="Gateway on all addresses beside one on a single address",
        meaning="Connections to an address go to who names it. The Gateway without addresses has the others.",
        fix="Write spec.addresses in both.",
        find=split_addresses,
    ),
    "GW507": Lint(
        title="listener that is there twice",
        meaning="Two listeners have one name, or one port, protocol and hostname, as after a patch applied twice. "
        "An API server refuses such a Gateway, and none of its listeners serves.",
        fix="Remove one of the two.",
        severity=ERROR,
    ),
}
