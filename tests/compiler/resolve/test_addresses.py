"""Addresses that Gateways leave to us: one of the pool each, the same one as long as it is free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import yaml

from gatewayproxy.compiler.pipeline import Compiler
from gatewayproxy.model.names import BindKey
from gatewayproxy.model.source import CompileOptions, Source

POOL = tuple(f"10.0.0.{n}" for n in range(1, 9))
NO_VALUE = {"type": "IPAddress"}


def gateway(name: str, *addresses: object, created: int = 1) -> str:
    spec: dict[str, object] = {"gatewayClassName": "any", "listeners": [{"name": "l", "port": 80, "protocol": "HTTP"}]}
    if addresses:
        spec["addresses"] = list(addresses)
    metadata = {"name": name, "creationTimestamp": f"2026-01-{created:02}T00:00:00Z"}
    return yaml.safe_dump(
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": metadata, "spec": spec}
    )


def status(*gateways: str, pool: Sequence[str] = POOL, **options: Any) -> dict[str, Any]:
    """Return the status of each Gateway by its name."""
    source = Source("all.yaml", "---\n".join(gateways).encode())
    compiled = Compiler().compile([source], CompileOptions(address_pool=tuple(pool), **options), {})
    return {each.key.name: each.status for each in compiled.status.objects}


def addresses(found: dict[str, Any], name: str) -> list[str]:
    assert all(address["type"] == "IPAddress" for address in found[name]["addresses"])
    return [address["value"] for address in found[name]["addresses"]]


def programmed(found: dict[str, Any], name: str) -> tuple[str, str]:
    [condition] = [each for each in found[name]["conditions"] if each["type"] == "Programmed"]
    return condition["reason"], condition["message"]


def test_every_gateway_gets_an_address_of_its_own() -> None:
    found = status(*(gateway(f"g{n}", NO_VALUE, created=n) for n in range(1, 9)))
    assert sorted(addresses(found, f"g{n}")[0] for n in range(1, 9)) == sorted(POOL)
    assert all(programmed(found, f"g{n}") == ("Programmed", "") for n in range(1, 9))


def test_an_address_that_a_gateway_names_is_not_given_to_another() -> None:
    found = status(gateway("older", NO_VALUE), gateway("younger", {"value": "10.0.0.1"}, created=2), pool=POOL[:2])
    assert (addresses(found, "older"), addresses(found, "younger")) == (["10.0.0.2"], ["10.0.0.1"])


def test_two_addresses_without_a_value_are_two() -> None:
    found = status(gateway("g", {"value": "10.0.0.1"}, NO_VALUE, NO_VALUE), pool=POOL[:3])
    assert sorted(addresses(found, "g")) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_an_address_stays_while_gateways_come_and_go_elsewhere() -> None:
    alone = addresses(status(gateway("g", NO_VALUE)), "g")
    younger = [gateway(f"x{n}", NO_VALUE, created=2 + n) for n in range(4)]
    assert addresses(status(gateway("g", NO_VALUE), *younger), "g") == alone


def test_an_exhausted_pool_leaves_the_youngest_without_and_says_what_to_do() -> None:
    found = status(gateway("first", NO_VALUE), gateway("second", NO_VALUE, created=2), pool=["10.0.0.1"])
    assert addresses(found, "first") == ["10.0.0.1"]
    assert addresses(found, "second") == []
    assert programmed(found, "second") == (
        "AddressNotAssigned",
        "addresses[0] has no value, and the pool has no other than 10.0.0.1; write an IP, or widen --address-pool",
    )


def test_a_gateway_that_is_not_accepted_takes_nothing_from_the_pool() -> None:
    odd = {"type": "Hostname", "value": "a.example.com"}
    found = status(gateway("odd", odd, NO_VALUE), gateway("good", NO_VALUE, created=2), pool=["10.0.0.1"])
    assert (addresses(found, "odd"), addresses(found, "good")) == ([], ["10.0.0.1"])


def test_a_gateway_without_addresses_binds_all_interfaces_whatever_the_pool() -> None:
    assert addresses(status(gateway("g")), "g") == ["0.0.0.0", "::"]


@pytest.mark.parametrize(
    ("refused", "shown", "reason", "message"),
    [
        pytest.param([], ["10.0.0.1", "10.0.0.2"], "Programmed", "", id="both can be bound"),
        pytest.param(
            ["10.0.0.2"], ["10.0.0.1"], "AddressNotUsable", "10.0.0.2: Cannot assign requested address", id="one cannot"
        ),
        pytest.param(
            ["10.0.0.1", "10.0.0.2"], [], "AddressNotUsable",
            "10.0.0.1: Cannot assign requested address; 10.0.0.2: Cannot assign requested address", id="none can",
        ),
    ],
)  # fmt: skip
def test_status_has_the_addresses_that_can_be_used(
    refused: list[str], shown: list[str], reason: str, message: str
) -> None:
    unbindable = {BindKey(address, 80): "Cannot assign requested address" for address in refused}
    found = status(gateway("g", {"value": "10.0.0.1"}, {"value": "10.0.0.2"}), unbindable=unbindable)
    assert addresses(found, "g") == shown
    assert programmed(found, "g") == (reason, message)
