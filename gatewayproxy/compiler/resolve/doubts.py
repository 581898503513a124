"""What serves as it is written, and hardly as it is meant: warnings on routes that are attached. Pure.

Nothing here changes what is served. A rule that another has shadowed in full, a name that no certificate of its
listener is for, a redirect to https that leads nowhere, a second value of a field that the gateway writes itself:
each is a correct configuration that answers requests otherwise than its reader expects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from gatewayproxy.compiler.resolve.conditions import Findings, listed
from gatewayproxy.compiler.resolve.drafts import GatewayDraft, ListenerDraft
from gatewayproxy.compiler.resolve.hostnames import covers, intersect
from gatewayproxy.compiler.resolve.overlaps import names_cover
from gatewayproxy.compiler.resolve.routes import RouteDraft
from gatewayproxy.model.codes import Code
from gatewayproxy.model.headops import Add
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.plan import Attachment, GRPCMatch, Match, PathKind, Route, Rule
from gatewayproxy.model.protocols import Protocol

__all__ = ["tell_doubts"]

_OWN_LINES: Final = frozenset((b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-host", b"x-request-id"))
_HTTPS_PORT: Final = 443


class _Place(NamedTuple):
    """What requests are told apart by: who claims it first has it."""

    listener: ListenerDraft
    hostname: str
    own: str  # as the route has it: the narrower one comes first
    match: Match | GRPCMatch


class _Claimant(NamedTuple):
    route: Route
    rule: Rule

    @property
    def title(self) -> str:
        return f"rules[{self.rule.index}] of {self.route.key}"


def tell_doubts(gateways: Iterable[GatewayDraft], routes: Iterable[RouteDraft], findings: Findings) -> None:
    """Warn of what *routes*, all attached, do on the listeners of *gateways* that serve."""
    drafts = {draft.spec.meta.key: draft for draft in routes}
    served = {listener: gateway for gateway in gateways for listener in gateway.serving()}
    _tell_shadowed(served, drafts, findings)
    _tell_uncertified(served, drafts, findings)
    _tell_lost_redirects(served, drafts, findings)
    for draft in drafts.values():
        _tell_doubled_fields(draft, findings)


def _warn(findings: Findings, draft: RouteDraft, rule: Rule, message: str, hint: str, code: Code) -> None:
    spec = draft.spec.rules[rule.index]
    findings.warn(spec.at, draft.spec.meta.key, spec.path, message, hint, code)


# --- rules that never get a request


def _tell_shadowed(
    served: Iterable[ListenerDraft], drafts: Mapping[ResourceKey, RouteDraft], findings: Findings
) -> None:  # fmt: skip
    owners: dict[_Place, _Claimant] = {}
    claims: dict[tuple[ResourceKey, int], tuple[_Claimant, list[_Place]]] = {}
    for listener in served:
        for attachment in sorted(listener.attachments, key=_precedence):
            for claimant, places in _claims(listener, attachment):
                for place in places:
                    owners.setdefault(place, claimant)
                claims.setdefault((claimant.route.key, claimant.rule.index), (claimant, []))[1].extend(places)
    for claimant, places in claims.values():
        above = {owners[place].title: None for place in places}
        if places and claimant.title not in above:
            message = f"never gets a request: fully shadowed by {listed(list(above))}: they match the same"
            hint = "merge the two rules, or tell their matches or hostnames apart"
            _warn(findings, drafts[claimant.route.key], claimant.rule, message, hint, Code.SHADOWED)


def _precedence(attachment: Attachment) -> tuple[float, str]:
    """Return what decides between equal matches: "oldest Route", then "{namespace}/{name}"."""
    return attachment.route.created, attachment.route.key.full_name


def _claims(listener: ListenerDraft, attachment: Attachment) -> Iterator[tuple[_Claimant, list[_Place]]]:
    for rule in attachment.route.rules:
        matches = [_plain(match) for match in rule.matches]
        yield (
            _Claimant(attachment.route, rule),
            [_Place(listener, *names, match) for names in attachment.hostnames for match in matches],
        )


def _plain(match: Match | GRPCMatch) -> Match | GRPCMatch:
    """Return *match* as it compares: a prefix with and without "/" at its end is the same."""
    if isinstance(match, Match) and match.path_kind is PathKind.PREFIX and match.path.endswith(b"/"):
        return replace(match, path=match.path.rstrip(b"/"))
    return match


# --- names without a certificate


def _tell_uncertified(
    served: Mapping[ListenerDraft, GatewayDraft], drafts: Mapping[ResourceKey, RouteDraft], findings: Findings
) -> None:  # fmt: skip
    for listener, gateway in served.items():
        names = [name for certificate in listener.certificates for name in certificate.names]
        for attachment in listener.attachments if listener.terminates and names else ():
            # A listener's own name is told where the listener is judged.
            hosts = [host for host, _ in attachment.hostnames if host not in ("", listener.hostname)]
            bare = [
                host for host in hosts if not names_cover(names, host) and not _is_elsewhere(host, listener, gateway)
            ]
            if bare:
                draft = drafts[attachment.route.key]
                message = (
                    f"no certificate of listener {listener.spec.name} is for {listed(bare)}; they name {listed(names)}"
                )
                hint = "clients will refuse it: get a certificate for this name; a wildcard stands for one label only"
                findings.warn(
                    draft.spec.meta.origin, draft.spec.meta.key, "spec.hostnames", message, hint, Code.UNCERTIFIED
                )


def _is_elsewhere(host: str, listener: ListenerDraft, gateway: GatewayDraft) -> bool:
    """Tell whether a narrower listener of the port has all of *host*: no handshake for it comes to *listener*."""
    return any(
        other.bind_port == listener.bind_port
        and other.hostname != listener.hostname
        and covers(listener.hostname, other.hostname)
        and covers(other.hostname, host)
        for other in gateway.serving()
    )


# --- redirects to https that no listener answers


def _tell_lost_redirects(
    served: Mapping[ListenerDraft, GatewayDraft], drafts: Mapping[ResourceKey, RouteDraft], findings: Findings
) -> None:
    found: dict[tuple[ResourceKey, int], tuple[Rule, GatewayDraft, str]] = {}
    for listener, gateway in served.items():
        for attachment in listener.attachments if listener.protocol is Protocol.HTTP else ():
            for rule in attachment.route.rules:
                if (host := _lost_redirect(rule, attachment, gateway)) is not None:
                    found.setdefault((attachment.route.key, rule.index), (rule, gateway, host))
    for (key, _), (rule, gateway, host) in found.items():
        message = f"redirects to https, where no listener of {gateway.spec.meta.key} has {host or 'any host'}"
        hint = (
            "add an HTTPS listener; if TLS ends in front of the gateway, the request comes back here for ever:"
            " have that load balancer redirect, and remove this rule"
        )
        _warn(findings, drafts[key], rule, message, hint, Code.LOST_REDIRECT)


def _lost_redirect(rule: Rule, attachment: Attachment, gateway: GatewayDraft) -> str | None:
    """Return the hostname that *rule* sends to an https port where nobody has it; None if there is none."""
    redirect = rule.filters.redirect
    if redirect is None or redirect.scheme != "https":
        return None
    port = redirect.port or _HTTPS_PORT
    ends = [each.hostname for each in gateway.serving() if each.tls_mode is not None and each.spec.port == port]
    hosts = (redirect.host,) if redirect.host else tuple(host for host, _ in attachment.hostnames)
    if redirect.host and not any(intersect(each.hostname, redirect.host) is not None for each in gateway.serving()):
        return None  # a host of somebody else's
    return next((host for host in hosts if all(intersect(end, host) is None for end in ends)), None)


# --- fields that the gateway writes itself


def _tell_doubled_fields(draft: RouteDraft, findings: Findings) -> None:
    for rule in draft.route.rules:
        chains = (rule.filters, *(backend.filters for backend in rule.backends))
        added = [op.name.decode() for chain in chains for op in chain.request if isinstance(op, Add)]
        doubled = [name for name in added if name.lower().encode() in _OWN_LINES]
        if doubled:
            message = f"adds {listed(doubled)} to the gateway's own: the backend sees two values"
            hint = "write set in place of add, or leave it to the gateway"
            _warn(findings, draft, rule, message, hint, Code.DOUBLED_FIELD)
