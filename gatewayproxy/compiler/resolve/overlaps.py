"""Listeners of one port that speak TLS and share names: what a client may be confused by. Pure.

OverlappingTLSConfig (GEP-3567) warns that a client which reuses a connection for another name (HTTP/2 coalescing) may
arrive at the wrong listener; such requests get 421. It does so where hostnames overlap, and where certificates do,
which is what clients go by. And a hostname that no certificate of its listener names will be refused by every client.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from gatewayproxy.compiler.resolve.conditions import listed
from gatewayproxy.compiler.resolve.drafts import ListenerDraft
from gatewayproxy.model.names import widening
from gatewayproxy.model.protocols import PROTOCOLS
from gatewayproxy.model.status import Condition, Reason

__all__ = ["judge_overlaps", "names_cover"]

_Meetings = dict[ListenerDraft, dict[ListenerDraft, None]]  # who meets whom, in the order of the listeners


def judge_overlaps(drafts: Sequence[ListenerDraft]) -> None:
    """Note on each accepted listener that speaks TLS which others of its port speak for some of its names.

    One that passes TLS through has no configuration of its own: it counts beside those that terminate.
    """
    by_port: dict[int, list[ListenerDraft]] = defaultdict(list)
    for draft in drafts:
        if draft.protocol is not None and PROTOCOLS[draft.protocol].tls_modes and draft.accepted.status:
            by_port[draft.spec.port].append(draft)
    for sharing in by_port.values():
        if len(sharing) > 1 and any(draft.terminates for draft in sharing):
            _judge_port(sharing)


def names_cover(names: Iterable[str], hostname: str) -> bool:
    """Tell whether a certificate's *names* hold for *hostname*; "*" stands for exactly one label (RFC 9525 §6.3)."""
    covering = {hostname, *_covering(hostname)}
    return any(name in covering for name in names)


def _judge_port(sharing: Sequence[ListenerDraft]) -> None:
    by_certificate = _meetings(sharing, _certified, _covering)
    by_hostname = _meetings(sharing, lambda draft: (draft.hostname,), widening)
    for draft in sharing:
        # "if both are true, it SHOULD set the OverlappingCertificates Reason"
        if others := by_certificate.get(draft):
            message = f"its certificates hold for names of those of listener {_names(others)}"
            draft.overlapping = Condition("OverlappingTLSConfig", True, Reason.OVERLAPPING_CERTIFICATES, message)
        elif others := by_hostname.get(draft):
            message = f"hostname {draft.hostname or 'any'} overlaps with listener {_names(others)}"
            draft.overlapping = Condition("OverlappingTLSConfig", True, Reason.OVERLAPPING_HOSTNAMES, message)


def _meetings(
    sharing: Sequence[ListenerDraft],
    names_of: Callable[[ListenerDraft], Iterable[str]],
    wider: Callable[[str], Iterable[str]],
) -> _Meetings:
    """Return which of *sharing* meet by a name, or by one that is covered by another's (*wider*)."""
    by_name: dict[str, dict[ListenerDraft, None]] = defaultdict(dict)
    for draft in sharing:
        for name in names_of(draft):
            by_name[name][draft] = None
    met: _Meetings = defaultdict(dict)
    for draft in sharing:
        for name in names_of(draft):
            for other in (each for covering in (name, *wider(name)) for each in by_name.get(covering, ())):
                if other is not draft and (draft.terminates or other.terminates):
                    met[draft][other] = met[other][draft] = None
    return met


def _certified(draft: ListenerDraft) -> Iterator[str]:
    for certificate in draft.certificates:
        yield from certificate.names


def _covering(name: str) -> Iterator[str]:
    """Yield the wildcard that a certificate may cover *name* with."""
    rest = name.partition(".")[2]
    if rest and not name.startswith("*."):
        yield f"*.{rest}"


def _names(others: Iterable[ListenerDraft]) -> str:
    return listed([other.spec.name for other in others])
