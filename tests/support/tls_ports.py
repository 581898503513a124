"""Ports of TLS listeners, hand-made: server names that are passed through, terminated for streams, or speak HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import trustme

from gatewayproxy.model.plan import Certificate, ClientValidation, TrustBundle
from gatewayproxy.routing.table import (
    HostIndex,
    ListenerLabel,
    Port,
    PortKind,
    RouteEntry,
    SniAction,
    SniIndex,
    SniTarget,
)
from tests.support.certs import certificate
from tests.support.l4 import LISTENER

__all__ = ["clients_of", "https", "label", "passed", "terminated", "tls_port"]


def label(name: str, validation: ClientValidation | None = None) -> ListenerLabel:
    """Return a listener's label, as the compiler makes it."""
    return ListenerLabel(0, name, f"{name} {validation.scope}" if validation else name)


def clients_of(authority: trustme.CA | bytes, *, insecure_fallback: bool = False) -> ClientValidation:
    """Return the validation that lets in clients of *authority*."""
    pem = authority if isinstance(authority, bytes) else authority.cert_pem.bytes()
    trust = TrustBundle(pem=pem, digest=hashlib.sha256(pem).hexdigest())
    return ClientValidation(trust=trust, insecure_fallback=insecure_fallback)


def passed(entry: RouteEntry) -> SniTarget:
    """Return what passes connections through to *entry*."""
    return SniTarget(listener=LISTENER, action=SniAction.PASSTHROUGH, entry=entry)


def terminated(
    entry: RouteEntry | None, *names: str, validation: ClientValidation | None = None, listener: str = LISTENER.name
) -> SniTarget:
    """Return what ends TLS with a certificate for *names* (a.test), and sends what is inside to *entry*."""
    return SniTarget(
        listener=label(listener, validation),
        action=SniAction.STREAM,
        certificates=(certificate(*(names or ("a.test",))),),
        validation=validation,
        entry=entry,
    )


def https(name: str, *certificates: Certificate, validation: ClientValidation | None = None) -> SniTarget:
    """Return what speaks HTTP for a listener called *name*."""
    return SniTarget(
        listener=label(name, validation), certificates=certificates or (certificate(name),), validation=validation
    )


def tls_port(
    targets: Mapping[bytes, SniTarget], *, default: SniTarget | None = None, http: HostIndex | None = None
) -> Port:
    """Return a port on which *targets* are told apart; names that begin with "." are wildcards."""
    sni = SniIndex(
        exact={name: target for name, target in targets.items() if name[:1] != b"."},
        wildcard={name: target for name, target in targets.items() if name[:1] == b"."},
        default=default,
    )
    listeners = tuple({target.listener.name: target.listener for target in targets.values()}.values())
    return Port(kind=PortKind.TLS, address="127.0.0.1", bind_port=0, port=443, listeners=listeners, http=http, sni=sni)
