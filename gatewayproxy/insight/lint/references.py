"""GW3: parents, sections, backends, grants and policies that name what is not there, or may not. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatewayproxy.insight.lint.rule import ERROR, Lint

__all__ = ["LINTS"]

LINTS: Final[Mapping[str, Lint]] = {
    "GW301": Lint(
        title="parent that does not exist",
        meaning="The Gateway or ListenerSet that is named is not in the manifests, or has errors. Nothing is routed.",
        fix="Add it, or correct name, namespace and kind of the parentRef.",
    ),
    "GW302": Lint(
        title="section that the parent does not have",
        meaning="The parent has no listener of this sectionName or port. Nothing is routed through this parentRef.",
        fix="Name a listener that it has, or leave sectionName and port out.",
    ),
    "GW303": Lint(
        title="route that no listener allows",
        meaning="allowedRoutes of the listeners do not take this kind, or this namespace. Nothing is routed.",
        fix="Widen allowedRoutes of a listener, or give the namespace the labels that its selector asks for.",
    ),
    "GW304": Lint(
        title="route without a hostname in common with a listener",
        meaning="No hostname of the route meets one of the parent's listeners. Nothing is routed.",
        fix="Use a hostname that a listener covers, or add a listener for it.",
    ),
    "GW305": Lint(
        title="backend that does not exist",
        meaning="The Service, or its port, is not there. Its share of the requests is answered 500.",
        fix="Correct name, namespace and port, or add the Service.",
    ),
    "GW306": Lint(
        title="reference to another namespace without a grant",
        meaning="No ReferenceGrant of that namespace permits it. Requests are answered 500, or the certificate is not "
        "used.",
        fix="Add a ReferenceGrant to the namespace that is referred to, from this kind and namespace.",
    ),
    "GW308": Lint(
        title="policy whose target does not exist",
        meaning="The policy has no effect on it; a backend that TLS was asked for is reached in plain text.",
        fix="Correct name, kind and sectionName of the target.",
    ),
    "GW309": Lint(
        title="policy that another one outdoes",
        meaning="Two policies name one target. The older one, then the first by namespace/name, holds.",
        fix="Remove one of the two, or give each a sectionName of its own.",
    ),
    "GW310": Lint(
        title="backend of a kind or protocol that cannot be spoken to",
        meaning="The kind is not known here, or the route cannot speak the port's appProtocol. Answered 500.",
        fix="Name a Service, and an appProtocol that the kind of route can carry.",
    ),
    "GW311": Lint(
        title="certificate authority that cannot be used",
        meaning="The ConfigMap or Secret is missing or holds no certificates. Who needs it fails closed.",
        fix="Name a ConfigMap with the certificates in ca.crt.",
        severity=ERROR,
    ),
    "GW312": Lint(
        title="backend whose TLS cannot be spoken",
        meaning="A BackendTLSPolicy or XBackend asks for TLS that cannot be had. Its requests are answered 500.",
        fix="Correct the policy, or use a route of a kind that TLS goes with.",
    ),
    "GW313": Lint(
        title="route without parents",
        meaning="It has no parentRefs. Nothing is routed.",
        fix="Add parentRefs with the name of a Gateway.",
    ),
}
