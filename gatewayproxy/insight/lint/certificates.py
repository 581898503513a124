"""GW2: certificates, and names that they do not hold for. Pure: the time is that of the compilation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from gatewayproxy.compiler.manifests.gateway import Gateway
from gatewayproxy.insight.lint.config import Config
from gatewayproxy.insight.lint.rule import ERROR, Finding, Lint
from gatewayproxy.model.names import ResourceKey

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
    gateway = next((each for each in config.resources.of(Gateway) if each.meta.key == key), None)
    listeners = gateway.listeners if gateway is not None else ()
    return next((f"{each.path}.tls" for each in listeners if each.name == name), "spec.listeners")


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
        fix="Write the Secret that the listener names, of type kubernetes.io/tls, with tls.crt and tls.key.",
        severity=ERROR,
    ),
}
