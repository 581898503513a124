"""Manifests said in another way: other order, other files, other names. What is compiled must say the same.

Every variant comes with what brings its words back, so that the two can be compared as text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import yaml

from gatewayproxy.compiler.pipeline import Compiled
from gatewayproxy.model.source import Source
from gatewayproxy.routing.show import show

__all__ = ["RENAMINGS", "Back", "dumped", "listed", "loaded", "said", "shuffled", "split"]

Tree = Any
Back = Callable[[str], str]

_MARK: Final = "qz"
# Fields whose values are words of the API, whatever objects are called.
_WORDS: Final = {
    "apiVersion", "kind", "group", "type", "protocol", "appProtocol", "from", "mode", "scheme", "method", "operator",
    "addressType", "lifetimeType", "headerName", "service",
}  # fmt: skip
_CLUSTER_WIDE: Final = {"GatewayClass", "Namespace"}


class _Loader(yaml.SafeLoader):
    """Dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0] != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def loaded(text: str) -> list[Tree]:
    """Return the documents, and the items of Lists in the place of these."""
    trees = [each for each in yaml.load_all(text, _Loader) if each is not None]
    return [item for each in trees for item in (each["items"] if each["kind"] == "List" else [each])]


def dumped(trees: list[Tree]) -> list[Source]:
    return [Source("in.yaml", yaml.safe_dump_all(trees, sort_keys=False).encode())]


def said(compiled: Compiled) -> dict[str, list[str]]:
    """Return what runs, what objects say and what a person is told, without file and line, in lines."""
    objects = sorted((str(each.key), each.status) for each in compiled.status.objects if each.status)
    problems = sorted(
        f"{each.severity.value} {each.key} {each.field}: {each.message} | {each.hint}"
        for each in compiled.status.problems
    )
    texts = {
        "table": show(compiled.table),
        "status": yaml.safe_dump([[key, _plain(status)] for key, status in objects], width=10_000),
        "problems": "\n".join(problems),
    }
    return {name: _without_places(text).splitlines() for name, text in texts.items()}


def _plain(tree: Tree) -> Tree:
    if isinstance(tree, Mapping):
        return {key: _plain(value) for key, value in tree.items()}
    return [_plain(each) for each in tree] if isinstance(tree, (list, tuple)) else tree


def _without_places(text: str) -> str:
    text = re.sub(r"gwp-[0-9a-f]{12}", "gwp-", text)  # a cookie named after its rule
    return re.sub(r"[\w-]+\.yaml:\d+", "in.yaml", text)


# --- the same documents elsewhere


def shuffled(text: str, seed: int) -> list[Source]:
    documents = _documents(text)
    random.Random(seed).shuffle(documents)
    return [Source("in.yaml", "\n---\n".join(documents).encode())]


def split(text: str, seed: int) -> list[Source]:
    """Give each document a file of its own; files come by name, so their order is another too."""
    documents = _documents(text)
    numbers = random.Random(seed).sample(range(1000), len(documents))
    sources = [
        Source(f"f-{number:03}.yaml", document.encode()) for number, document in zip(numbers, documents, strict=True)
    ]
    return sorted(sources, key=lambda source: source.file)


def listed(text: str) -> list[Source]:
    """Say all as the items of one List, last first."""
    return dumped([{"apiVersion": "v1", "kind": "List", "items": loaded(text)[::-1]}])


def _documents(text: str) -> list[str]:
    return [each for each in re.split(r"^---.*\n", text, flags=re.MULTILINE) if each.strip()]


# --- other words for the same


def _names(trees: list[Tree]) -> Back:
    """Give every object, namespace and listener another name, in place."""
    _make_namespaces_explicit(trees)
    names = {tree["metadata"][field] for tree in trees for field in ("name", "namespace") if _has(tree, field)}
    names |= {each["name"] for tree in trees for each in _listeners(tree)}
    for value, where, key in _scalars(trees):
        if key not in _WORDS and value in names:
            where[key] = f"{_MARK}-{value}"
    return lambda text: text.replace(f"{_MARK}-", "")


def _hosts(trees: list[Tree]) -> Back:
    """Replace the domains, in place."""
    for value, where, key in _scalars(trees):
        if isinstance(value, str):
            where[key] = re.sub(r"\b(example|test|corp)\b(?!/)", rf"{_MARK}\1", value)
    return lambda text: text.replace(_MARK, "")


def _paths(trees: list[Tree]) -> Back:
    """Let the segments of paths begin with capitals, in place: neither lengths nor their order change."""
    for value, where, key in _scalars(trees):
        is_pattern = isinstance(where, Mapping) and where.get("type") == "RegularExpression"
        if isinstance(value, str) and value.startswith("/") and not is_pattern:
            where[key] = re.sub(r"(?<=/)[a-z]", lambda found: found[0].upper(), value)
    return lambda text: re.sub(r"(?<=/)[A-Z]", lambda found: found[0].lower(), text)


def _ports(trees: list[Tree]) -> Back:
    """Move the ports of listeners, and of references to them, up by 20000, in place."""
    moved = {}
    for tree in trees:
        spec = tree.get("spec") or {}
        frontend = ((spec.get("tls") or {}).get("frontend") or {}) if tree["kind"] == "Gateway" else {}
        for each in [*_listeners(tree), *(spec.get("parentRefs") or []), *(frontend.get("perPort") or [])]:
            if isinstance(each, dict) and isinstance(each.get("port"), int) and 0 < each["port"] < 20_000:
                moved[str(each["port"] + 20_000)] = str(each["port"])
                each["port"] += 20_000
    return lambda text: re.sub(r"\b2\d{4}\b", lambda found: moved.get(found[0], found[0]), text)


RENAMINGS: Final[Mapping[str, Callable[[list[Tree]], Back]]] = {
    "names": _names,
    "hosts": _hosts,
    "paths": _paths,
    "ports": _ports,
}


def _make_namespaces_explicit(trees: list[Tree]) -> None:
    for tree in trees:
        if tree["kind"] not in _CLUSTER_WIDE:
            tree["metadata"].setdefault("namespace", "default")
    present = {tree["metadata"]["name"] for tree in trees if tree["kind"] == "Namespace"}
    if "default" not in present:  # it exists without being written, another would not
        trees.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})


def _has(tree: Tree, field: str) -> bool:
    return isinstance(tree["metadata"].get(field), str)


def _listeners(tree: Tree) -> list[Tree]:
    found: list[Tree] = tree["spec"].get("listeners") or [] if tree["kind"] in ("Gateway", "ListenerSet") else []
    return found


def _scalars(tree: Tree) -> Iterator[tuple[Any, Any, Any]]:
    """Yield every scalar with the container that holds it, and its key there."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        if isinstance(value, (dict, list)):
            yield from _scalars(value)
        else:
            yield value, tree, key
