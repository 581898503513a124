"""GW5: Gateways, listeners, ports and endpoints. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatewayproxy.insight.lint.rule import ERROR, Lint

__all__ = ["LINTS"]

LINTS: Final[Mapping[str, Lint]] = {
    "GW501": Lint(
        title="ports that clash",
        meaning="Two listeners want one port and cannot share it. Those of one Gateway serve neither of them, of two "
        "Gateways the older one has it.",
        fix="Give one of them another port or, if they are of two Gateways, its Gateway an address of its own. "
        "Listeners of one Gateway and protocol share a port if each has a hostname of its own.",
        severity=ERROR,
    ),
    "GW502": Lint(
        title="listener that cannot serve",
        meaning="Its protocol, its kinds of route or its TLS cannot be honoured.",
        fix="Correct what the message names.",
        severity=ERROR,
    ),
    "GW503": Lint(
        title="Gateway that does not serve as it is written",
        meaning="Its class, an address or its parameters cannot be honoured.",
        fix="Correct what the message names, or run with the --controller-name of the class.",
    ),
    "GW505": Lint(
        title="backend without endpoints",
        meaning="The Service has no ready endpoints. Its share of the requests is answered 503.",
        fix="List ready endpoints in an EndpointSlice, or in the annotation gatewayproxy.io/endpoints.",
    ),
}
