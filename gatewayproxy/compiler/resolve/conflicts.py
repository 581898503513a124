"""Listeners that want the same place, a port and a hostname on it: who has it. Pure.

Of the listeners of one Gateway that conflict none is accepted (ListenerConditionConflicted). Those of its ListenerSets
follow one after the other, and who comes first stays (ListenerSetSpec.listeners). What a Gateway lost to itself is not
theirs either: "its network port should not be configured on any network elements".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gatewayproxy.compiler.resolve.conditions import listed
from gatewayproxy.compiler.resolve.drafts import ListenerDraft
from gatewayproxy.model.protocols import PROTOCOLS, Protocol
from gatewayproxy.model.status import Reason

__all__ = ["Places", "judge_conflicts"]


class _Port(NamedTuple):
    """A port number, which TCP and UDP each have."""

    number: int
    udp: bool


class Places:
    """What the listeners of a Gateway and of its ListenerSets have taken, in order of precedence."""

    def __init__(self, own: Iterable[ListenerDraft]) -> None:
        """*own* are the Gateway's listeners, judged."""
        self._spoken: defaultdict[_Port, dict[Protocol, ListenerDraft]] = defaultdict(dict)
        self._named: dict[tuple[_Port, str], ListenerDraft] = {}
        for draft in own:
            if draft.protocol is not None:
                self._take(draft, draft.protocol)

    def admit(self, drafts: Iterable[ListenerDraft]) -> None:
        """Give each of *drafts*, listeners of a ListenerSet, its place, or reject it where an earlier one has that."""
        for draft in drafts:
            if draft.protocol is not None and not self._conflicts(draft, draft.protocol):
                self._take(draft, draft.protocol)

    def _take(self, draft: ListenerDraft, protocol: Protocol) -> None:
        port = _port(draft)
        self._spoken[port].setdefault(_spoken(protocol), draft)
        self._named.setdefault((port, _told_by(draft)), draft)

    def _conflicts(self, draft: ListenerDraft, protocol: Protocol) -> bool:
        port, hostname = _port(draft), _told_by(draft)
        speakers = self._spoken.get(port, {})
        other = next((each for spoken, each in speakers.items() if spoken is not _spoken(protocol)), None)
        same = self._named.get((port, hostname))
        place = f"port {port.number}"
        if other is not None and (same is None or not (_has_hostname(same) and _has_hostname(draft))):
            message = f"{place} is taken, with another protocol, by {other.title(draft)}; use another port"
            draft.conflict(Reason.PROTOCOL_CONFLICT, message)
        elif same is not None and other is None and _has_hostname(draft):
            message = f"{place} with {_described(hostname)} is taken by {same.title(draft)}; use another hostname"
            draft.conflict(Reason.HOSTNAME_CONFLICT, message)
        elif same is not None:
            # It wants the very place of another: "prioritize surfacing the most specific conflict reason".
            message = f"{place} is taken by {same.title(draft)}; use another port"
            draft.conflict(Reason.LISTENER_CONFLICT, message)
        return draft.conflicted.status


def judge_conflicts(drafts: Sequence[ListenerDraft]) -> None:
    """Reject all listeners of one Gateway that conflict."""
    by_port: dict[_Port, list[ListenerDraft]] = defaultdict(list)
    for draft in drafts:
        if draft.protocol is not None:
            by_port[_port(draft)].append(draft)
    for port, sharing in by_port.items():
        if len({_spoken(draft.protocol) for draft in sharing if draft.protocol is not None}) > 1:
            what = f"port {port.number} is used with different protocols"
            _conflict_all(sharing, Reason.PROTOCOL_CONFLICT, what, "port")
        else:
            _judge_hostnames(sharing, port)


def _judge_hostnames(sharing: Iterable[ListenerDraft], port: _Port) -> None:
    by_hostname: dict[str, list[ListenerDraft]] = defaultdict(list)
    for draft in sharing:
        by_hostname[_told_by(draft)].append(draft)
    for hostname, same in by_hostname.items():
        if len(same) > 1:
            what = f"port {port.number} with {_described(hostname)} is used more than once"
            _conflict_all(same, Reason.HOSTNAME_CONFLICT, what, "hostname")


def _conflict_all(drafts: Sequence[ListenerDraft], reason: Reason, what: str, remedy: str) -> None:
    names = listed([draft.spec.name for draft in drafts])
    for draft in drafts:
        draft.conflict(reason, f"{what}: {names}; give each its own {remedy}")
        draft.contested = True


def _port(draft: ListenerDraft) -> _Port:
    return _Port(draft.spec.port, draft.udp)


def _spoken(protocol: Protocol) -> Protocol:
    """Return what a port is told apart by; HTTPS and TLS begin alike, and a ClientHello says whose it is."""
    return Protocol.TLS if protocol is Protocol.HTTPS else protocol


def _has_hostname(draft: ListenerDraft) -> bool:
    return draft.protocol is not None and PROTOCOLS[draft.protocol].has_hostname


def _told_by(draft: ListenerDraft) -> str:
    """Return the hostname that a listener is told apart by on its port."""
    return draft.hostname if _has_hostname(draft) else ""


def _described(hostname: str) -> str:
    return f"hostname {hostname}" if hostname else "no hostname"
