"""Which GatewayClasses and Gateways are ours, and the drafts of those that are. Pure.

In file mode a GatewayClass is optional: a Gateway whose class has no document is ours; one whose class names another
controller is not, and gets no status from us.
"""

from __future__ import annotations

from collections.abc import Iterator

from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.gateway import Gateway
from gatewayproxy.compiler.manifests.gatewayclass import GatewayClass
from gatewayproxy.compiler.resolve.addresses import assign_addresses
from gatewayproxy.compiler.resolve.attach import Namespaces
from gatewayproxy.compiler.resolve.authorities import Authorities
from gatewayproxy.compiler.resolve.conditions import Findings
from gatewayproxy.compiler.resolve.drafts import ACCEPTED, GatewayDraft
from gatewayproxy.compiler.resolve.listeners import judge_listeners
from gatewayproxy.compiler.resolve.listenersets import draft_sets
from gatewayproxy.compiler.resolve.presented import judge_client_certificate
from gatewayproxy.compiler.resolve.references import Grants
from gatewayproxy.compiler.resolve.secrets import Secrets
from gatewayproxy.model.codes import Code
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.model.status import Condition, Reason

__all__ = ["Classes", "draft_gateways"]


class Classes:
    """The GatewayClasses, and whose they are."""

    def __init__(self, resources: Resources, controller_name: str) -> None:
        self._by_name = {c.meta.name: c for c in resources.of(GatewayClass)}
        self._unreadable = {m.name for m in resources.fenced if m.key.kind == "GatewayClass"}
        self._controller_name = controller_name

    def ours(self) -> Iterator[GatewayClass]:
        """Yield the classes that name our controller."""
        yield from (c for c in self._by_name.values() if c.controller_name == self._controller_name)

    def own(self, gateway: Gateway) -> bool:
        """Tell whether a Gateway is ours; a class we cannot read may be anyone's, so its Gateways are not."""
        return self.owns(gateway.gateway_class_name)

    def owns(self, class_name: str) -> bool:
        """Tell whether Gateways of class *class_name* are ours."""
        if (found := self._by_name.get(class_name)) is not None:
            return found.controller_name == self._controller_name
        return class_name not in self._unreadable

    def of_another(self, gateway: Gateway) -> str:
        """Return the controller of the Gateway's class where that is not ours, else an empty text."""
        found = self._by_name.get(gateway.gateway_class_name)
        return found.controller_name if found is not None and not self.own(gateway) else ""

    def verdict(self, gateway_class: GatewayClass) -> Condition:
        """Return the Accepted condition of a class of ours."""
        if gateway_class.parameters_ref is not None:
            message = "parametersRef is not supported; use command-line options"
            return Condition("Accepted", False, Reason.INVALID_PARAMETERS, message)
        return ACCEPTED

    def verdict_for(self, gateway: Gateway) -> Condition:
        """Return the verdict on the class of a Gateway of ours."""
        found = self._by_name.get(gateway.gateway_class_name)
        return self.verdict(found) if found else ACCEPTED


def draft_gateways(
    resources: Resources, classes: Classes, namespaces: Namespaces, secrets: Secrets, grants: Grants,
    options: CompileOptions, findings: Findings,
) -> list[GatewayDraft]:  # fmt: skip
    """Return our Gateways with their ListenerSets, oldest first, then by namespace/name."""
    _report_foreign(resources, classes, findings)
    ours = [gateway for gateway in resources.of(Gateway) if classes.own(gateway)]
    ours.sort(key=lambda gateway: gateway.meta.age)
    authorities = Authorities(resources)
    sets = draft_sets(resources, ours, namespaces, findings)
    drafts: list[GatewayDraft] = []
    for gateway in ours:
        own_sets = tuple(sets.get(gateway.meta.key, ()))
        taken = [each for each in own_sets if each.refused is None]
        listeners = judge_listeners(gateway, taken, secrets, authorities, grants, findings, options.port_map)
        draft = GatewayDraft(spec=gateway, listeners=listeners, sets=own_sets)
        _judge_parameters(draft, classes)
        judge_client_certificate(draft, secrets, grants, findings)
        drafts.append(draft)
    assign_addresses(drafts, options.address_pool, findings)
    for draft in drafts:
        if not draft.accepted.status:
            message = f"{draft.accepted.reason}: {draft.accepted.message}"
            findings.error(draft.spec.meta.origin, draft.spec.meta.key, "spec", message, code=Code.GATEWAY)
    return drafts


def _report_foreign(resources: Resources, classes: Classes, findings: Findings) -> None:
    """Warn of Gateways that are not ours: manifests that come from a cluster would serve nothing, unnoticed."""
    for gateway in resources.of(Gateway):
        if controller := classes.of_another(gateway):
            message = f"not served: GatewayClass {gateway.gateway_class_name} is of controller {controller}, not ours"
            hint = f"to serve it, run with --controller-name {controller}, or take the GatewayClass out of the files"
            findings.warn(gateway.meta.origin, gateway.meta.key, "spec.gatewayClassName", message, hint, Code.GATEWAY)
        elif not classes.own(gateway):
            message = f"not served: GatewayClass {gateway.gateway_class_name} has errors"
            findings.warn(
                gateway.meta.origin,
                gateway.meta.key,
                "spec.gatewayClassName",
                message,
                "correct it first",
                Code.GATEWAY,
            )


def _judge_parameters(draft: GatewayDraft, classes: Classes) -> None:
    verdict = classes.verdict_for(draft.spec)
    if not verdict.status:
        name = draft.spec.gateway_class_name
        draft.reject(Reason.INVALID_PARAMETERS, f"GatewayClass {name} is not accepted: {verdict.message}")
    if draft.spec.parameters_ref is not None:
        draft.reject(Reason.INVALID_PARAMETERS, "infrastructure.parametersRef is not supported; remove it")
