"""Every plug-in file is registered, under the name it has, and what is registered agrees with its neighbours."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

import gatewayproxy.compiler.frontends
import gatewayproxy.compiler.manifests
import gatewayproxy.compiler.resolve.backends
import gatewayproxy.dataplane.listeners
import gatewayproxy.filters
import gatewayproxy.ops.sources
from gatewayproxy.compiler.frontends import FRONTENDS
from gatewayproxy.compiler.manifests import KINDS
from gatewayproxy.compiler.resolve.backends import BACKENDS
from gatewayproxy.dataplane.listeners import LISTENERS
from gatewayproxy.filters import FILTERS
from gatewayproxy.insight import kinds
from gatewayproxy.model.protocols import PROTOCOLS
from gatewayproxy.ops.sources import SOURCES
from gatewayproxy.routing.table import PortKind


def modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def offered(package: ModuleType, name: str, *parameters: str) -> set[Callable[..., object]]:
    """Return the functions *name* of the package's modules that take *parameters*: what may be registered."""
    functions = (vars(module).get(name) for module in modules(package))
    return {
        function
        for function in functions
        if inspect.isfunction(function) and tuple(inspect.signature(function).parameters) == parameters
    }


def listener_classes() -> set[object]:
    """Return the classes of the listeners' modules that can do what a Listener must."""
    parts = ("update", "stop", "drain", "abort", "connections")
    classes = (
        each
        for module in modules(gatewayproxy.dataplane.listeners)
        for _, each in inspect.getmembers(module, inspect.isclass)
        if each.__module__ == module.__name__
    )
    return {each for each in classes if all(hasattr(each, part) for part in parts)}


def test_every_manifest_reader_is_registered() -> None:
    readers = offered(gatewayproxy.compiler.manifests, "read", "meta", "root", "version")
    assert readers == {kind.read for kind in KINDS.values()}


@pytest.mark.parametrize("key", KINDS, ids=lambda key: key[1])
def test_a_manifest_reader_lives_in_the_file_named_after_its_kind(key: tuple[str, str]) -> None:
    assert KINDS[key].read.__module__.rpartition(".")[2] == key[1].lower()


@pytest.mark.parametrize("key", KINDS, ids=lambda key: key[1])
def test_objects_of_a_kind_are_found_by_a_type_of_their_own(key: tuple[str, str]) -> None:
    made = inspect.get_annotations(KINDS[key].read, eval_str=True)["return"]
    assert made.__name__ == key[1]
    assert {field.name: field.type for field in dataclasses.fields(made)}["meta"] == "Meta"


def test_every_kind_that_is_read_can_be_asked_for() -> None:
    assert {(info.group, info.kind) for info in kinds.KINDS} == set(KINDS)


def test_every_kind_of_backend_is_registered_and_can_be_read() -> None:
    classes = {
        each
        for module in modules(gatewayproxy.compiler.resolve.backends)
        for _, each in inspect.getmembers(module, inspect.isclass)
        if each.__module__ == module.__name__ and hasattr(each, "target") and not getattr(each, "_is_protocol", False)
    }
    assert classes == set(BACKENDS.values())
    assert set(BACKENDS) <= set(KINDS)


def test_every_filter_is_registered() -> None:
    assert offered(gatewayproxy.filters, "read", "fields") == {kind.read for kind in FILTERS.values()}


def test_every_listener_is_registered() -> None:
    assert listener_classes() == set(LISTENERS.values())


def test_every_kind_of_port_has_a_listener() -> None:
    assert set(LISTENERS) == set(PortKind)


def test_every_route_kind_of_a_protocol_can_be_read() -> None:
    routes = {kind for traits in PROTOCOLS.values() for kind in traits.route_kinds}
    assert routes <= {kind for _, kind in KINDS}


@pytest.mark.parametrize(
    ("package", "registered"),
    [
        pytest.param(gatewayproxy.compiler.frontends, FRONTENDS, id="frontends"),
        pytest.param(gatewayproxy.ops.sources, SOURCES, id="sources"),
    ],
)
def test_every_frontend_and_source_is_registered(package: ModuleType, registered: dict[str, object]) -> None:
    assert {module.__name__.rpartition(".")[2] for module in modules(package)} == set(registered)
