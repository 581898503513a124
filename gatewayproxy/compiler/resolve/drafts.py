"""Gateways and listeners while they are being resolved: what the steps write into, and what is read off at the end.

A draft starts valid; each step may take that away with a Condition. `gateways` makes drafts, `listeners` judges them,
`attach` hangs routes on them, `ports` settles who binds where, and the frontend reads plan and status off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gatewayproxy.compiler.manifests.gateway import Gateway, Listener
from gatewayproxy.compiler.manifests.listenerset import ListenerSet
from gatewayproxy.compiler.resolve.conditions import listed
from gatewayproxy.model.names import BindKey, ListenerKey, ResourceKey
from gatewayproxy.model.plan import Attachment, Certificate, ClientValidation, Refusal
from gatewayproxy.model.protocols import PROTOCOLS, Protocol, TlsMode
from gatewayproxy.model.status import Condition, Reason

__all__ = ["ACCEPTED", "RESOLVED", "GatewayDraft", "ListenerDraft", "ListenerSetDraft", "ParentDraft"]

ACCEPTED: Final = Condition("Accepted", True, Reason.ACCEPTED)
RESOLVED: Final = Condition("ResolvedRefs", True, Reason.RESOLVED_REFS)
_TOLD_OF: Final = 3  # listeners in a message
NO_CONFLICTS: Final = Condition("Conflicted", False, Reason.NO_CONFLICTS)


@dataclass(slots=True, kw_only=True, eq=False)
class ListenerDraft:
    """One listener of a Gateway of ours, or of a ListenerSet that it takes."""

    spec: Listener
    key: ListenerKey
    bind_port: int
    protocol: Protocol | None = None  # None: not supported
    tls_mode: TlsMode | None = None
    kinds: tuple[str, ...] = ()  # route kinds that may attach: status.supportedKinds
    accepted: Condition = ACCEPTED
    conflicted: Condition = NO_CONFLICTS
    contested: bool = False  # it lost its place, and nobody has won it
    resolved: Condition = RESOLVED
    overlapping: Condition | None = None  # OverlappingTLSConfig, where it applies
    certificates: tuple[Certificate, ...] = ()
    missing_files: tuple[str, str] = ("", "")  # of a certificate and its key, see CertificateError
    client_validation: ClientValidation | None = None
    attachments: list[Attachment] = field(default_factory=list)
    n_attached: int = 0

    @property
    def parent(self) -> ResourceKey:
        """Return the Gateway or ListenerSet that the listener is written in."""
        return ResourceKey(self.key.kind, self.key.namespace, self.key.parent)

    @property
    def hostname(self) -> str:
        return self.spec.hostname

    @property
    def valid(self) -> bool:
        """Tell whether nothing is wrong with the listener."""
        return self.accepted.status and self.resolved.status

    @property
    def flaw(self) -> str:
        """Return the first thing that is wrong with the listener, "" where nothing is."""
        return self.accepted.message or self.resolved.message

    @property
    def serves(self) -> bool:
        """Tell whether the listener can take traffic, as far as it alone is concerned."""
        has_certificate = bool(self.certificates) or not self.terminates
        return self.accepted.status and has_certificate and bool(self.kinds)

    @property
    def withheld(self) -> bool:
        """Tell whether the listener has names that it cannot serve, and nobody else may."""
        if self.protocol is None or not PROTOCOLS[self.protocol].has_hostname or self.serves:
            return False
        return self.accepted.status or self.accepted.reason is Reason.NO_VALID_CA_CERTIFICATE or self.contested

    @property
    def terminates(self) -> bool:
        """Tell whether TLS ends here."""
        return self.protocol is not None and self.tls_mode is TlsMode.TERMINATE

    @property
    def udp(self) -> bool:
        """Tell whether datagrams come in; port numbers of TCP and UDP have nothing to do with each other."""
        return self.protocol is not None and PROTOCOLS[self.protocol].udp

    def title(self, reader: ListenerDraft) -> str:
        """Return how a message to those who wrote *reader* may name this listener of the same Gateway.

        SPEC: "cautious about what information from the parent or siblings are reported" (ListenerSetSpec.listeners).
        """
        if self.parent == reader.parent:
            return f"listener {self.spec.name}"
        if self.key.kind == "Gateway" or self.key.namespace == reader.key.namespace:
            return f"listener {self.spec.name} of {self.parent}"
        return "a ListenerSet of another namespace"

    def bind_key(self, address: str) -> BindKey:
        """Return what a socket of the listener on *address* is bound to."""
        return BindKey(address, self.bind_port, self.udp)

    def reject(self, reason: Reason, message: str) -> None:
        """Set Accepted=False; the first reason stays."""
        if self.accepted.status:
            self.accepted = Condition("Accepted", False, reason, message)

    def conflict(self, reason: Reason, message: str) -> None:
        """Set Accepted=False and Conflicted=True."""
        self.reject(reason, message)
        if not self.conflicted.status:
            self.conflicted = Condition("Conflicted", True, reason, message)

    def unresolve(self, reason: Reason, message: str) -> None:
        """Set ResolvedRefs=False; RefNotPermitted outweighs other reasons, else the first stays."""
        if self.resolved.status or reason is Reason.REF_NOT_PERMITTED:
            self.resolved = Condition("ResolvedRefs", False, reason, message)


@dataclass(slots=True, kw_only=True, eq=False)
class ListenerSetDraft:
    """A ListenerSet of a Gateway of ours."""

    spec: ListenerSet
    refused: Condition | None = None  # the Gateway does not take it: Accepted=False
    listeners: tuple[ListenerDraft, ...] = ()  # none where it is refused


@dataclass(slots=True, kw_only=True, eq=False)
class GatewayDraft:
    """A Gateway of ours."""

    spec: Gateway
    listeners: tuple[ListenerDraft, ...]  # its own
    sets: tuple[ListenerSetDraft, ...] = ()  # in order of precedence
    addresses: tuple[str, ...] = ("",)  # IP literals; "" = all interfaces
    unusable: dict[str, str] = field(default_factory=dict)  # address -> why it cannot be bound
    accepted: Condition = ACCEPTED
    unassigned: str = ""  # an address without a value: what to do about it
    client_certificate: Certificate | Refusal | None = None  # presented to backends over TLS; Refusal: cannot be had
    unresolved: Condition | None = None  # ResolvedRefs=False because of tls.backend

    def reject(self, reason: Reason, message: str) -> None:
        """Set Accepted=False: nothing of this Gateway serves. The first reason stays."""
        if self.accepted.status:
            self.accepted = Condition("Accepted", False, reason, message)

    @property
    def usable(self) -> tuple[str, ...]:
        """Return the addresses that can be bound."""
        return tuple(address for address in self.addresses if address not in self.unusable)

    @property
    def verdict(self) -> Condition:
        """Return the Gateway's Accepted condition, its own listeners considered (GatewayReasonListenersNotValid)."""
        invalid = [listener.spec.name for listener in self.listeners if not listener.valid]
        if not self.accepted.status or not invalid:
            return self.accepted
        some_valid = any(listener.accepted.status for listener in self.listeners)
        return Condition("Accepted", some_valid, Reason.LISTENERS_NOT_VALID, f"not valid: {listed(invalid)}")

    @property
    def parents(self) -> tuple[ParentDraft, ...]:
        """Return what routes may name: the Gateway, and each of its ListenerSets."""
        return (self, *self.sets)

    def merged(self) -> Iterator[ListenerDraft]:
        """Yield the listeners of the Gateway and of the ListenerSets that it takes, in order of precedence."""
        yield from self.listeners
        for each in self.sets:
            yield from each.listeners

    def serving(self) -> Iterator[ListenerDraft]:
        """Yield the listeners that take traffic; those of ListenerSets follow those of the Gateway."""
        if self.usable and self.verdict.status:
            yield from (listener for listener in self.merged() if listener.serves)

    def withheld(self) -> Iterator[ListenerDraft]:
        """Yield the listeners that cannot serve and whose ports do, for others that must not get their names."""
        ports = {listener.bind_port for listener in self.serving() if not listener.udp}
        if ports:
            yield from (listener for listener in self.merged() if listener.withheld and listener.bind_port in ports)

    @property
    def resolved(self) -> Condition | None:
        """Return the Gateway's ResolvedRefs condition: there where it refers to something, or a listener fails to."""
        invalid = [listener.spec.name for listener in self.listeners if not listener.resolved.status]
        if self.unresolved is not None:
            return self.unresolved
        if invalid:
            return Condition("ResolvedRefs", False, Reason.LISTENERS_NOT_RESOLVED, f"not resolved: {listed(invalid)}")
        return RESOLVED if self.client_certificate is not None else None

    @property
    def programmed(self) -> Condition:
        """Return the Gateway's Programmed condition."""
        if not self.accepted.status:
            return Condition("Programmed", False, Reason.INVALID, self.accepted.message)
        if self.unassigned:
            return Condition("Programmed", False, Reason.ADDRESS_NOT_ASSIGNED, self.unassigned)
        if self.unusable:
            message = "; ".join(f"{address or 'all interfaces'}: {why}" for address, why in self.unusable.items())
            return Condition("Programmed", False, Reason.ADDRESS_NOT_USABLE, message)
        if not any(listener.serves for listener in self.listeners):
            why = "; ".join(f"{each.spec.name}: {each.flaw}" for each in self.listeners[:_TOLD_OF])
            return Condition("Programmed", False, Reason.INVALID, f"no listener can serve: {why}")
        return Condition("Programmed", True, Reason.PROGRAMMED)


ParentDraft = GatewayDraft | ListenerSetDraft  # what routes attach to
