"""Targets end with the table they were made for."""

from __future__ import annotations

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.targets import Target
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.routing.table import BackendChoice
from tests.support.calls import leaves_nothing
from tests.support.worker import entry


def test_targets_and_their_variants_go_without_the_garbage_collector() -> None:
    # A reload freezes what is there (gc.freeze): a cycle of an old table would stay for good.
    context = Context(registry=Registry())
    choice = BackendChoice(name="x")

    def make() -> None:
        target = Target(entry(choice), choice, context)
        variant = target.variant(b"vary: origin\r\n", None)
        assert (target.base, variant.base) == (target, target)

    assert leaves_nothing(make)
