"""Our readers against the official schemas, field by field: both must admit and refuse the same objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewayproxy.compiler.manifests import KINDS
from gatewayproxy.compiler.manifests.reader import read_source
from gatewayproxy.fields.shapes import GATEWAY_GROUP
from gatewayproxy.model.source import Source
from gatewayproxy.model.status import Severity
from tests.support.apiserver import Schema, load_schemas
from tests.support.spec import find_spec, needs_spec

pytestmark = needs_spec

OBJECTS = list(yaml.safe_load_all((Path(__file__).parent / "every_field.yaml").read_text()))
ODD_STRINGS = (
    "", "a", "A", "-a", "a-", "a_b", "a.b", "a..b", "*.a", "*", "a/b", "/a", "/a/", "//a", "/a/./b", "/a/..", "/%2f",
    "/#", "/a b", "/é", "a b", "a  b", "a\n", "a\r\nb", "a\x00b", "é", "10s", "0s", "1.5s", "99h", "1d", "192.0.2.1",
    "2001:db8::1", "http", "HTTPS", "example.com/x", "https://a", "https://*", "true", "None", "Gateway", "Service",
)  # fmt: skip
# DEVIATION: the schemas take any string as a replacement, line breaks too; what goes on the wire must be a path. So
# must that of a cookie, or it would end in other attributes; and what goes before the paths that an authorization
# server is asked for must read the same to everyone. A host outside is no address; a lifetime of 0 s is none.
STRICTER = (
    ".replaceFullPath",
    ".replacePrefixMatch",
    ".cookie.path",
    ".externalAuth.http.path",
    ".externalHostname.hostname",
    ".absoluteTimeout",
)

# Versions that the schemas have given up, and that files written for older releases still have: equal to v1.
RETIRED = {"GRPCRoute": {"v1alpha2"}}


@cache
def schemas() -> dict[tuple[str, str], Schema]:
    folder = find_spec()
    assert folder is not None
    found = {(s.kind, s.version): s for s in load_schemas(folder / "crds")}
    return {key: schema for key, schema in found.items() if (schema.group, schema.kind) in KINDS}


def refusals(obj: dict[str, Any]) -> list[str]:
    """Return why we refuse *obj*."""
    read = read_source(Source("case.json", json.dumps(obj).encode()))
    problems = [*read.problems, *(problem for found in read.objects for problem in found.problems)]
    return [f"{p.field}: {p.message}" for p in problems if p.severity is Severity.ERROR]


def versions(obj: dict[str, Any]) -> Iterator[tuple[Schema, dict[str, Any]]]:
    for (kind, version), schema in schemas().items():
        if kind == obj["kind"]:
            yield schema, {**obj, "apiVersion": f"{schema.group}/{version}"}


def property_paths(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from property_paths(child, f"{path}.{name}")
    if "items" in schema:
        yield from property_paths(schema["items"], f"{path}[]")


def used_paths(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name in value:
                yield f"{path}.{name}"
                yield from used_paths(child, value[name], f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from used_paths(schema["items"], item, f"{path}[]")


def mutants(schema: dict[str, Any], value: Any) -> Iterator[Any]:
    """Yield variants of *value*, one change each, near every bound the schema knows."""
    yield from (other for other in (None, 7, "word", True, [], {}) if type(other) is not type(value))
    if isinstance(value, str):
        yield from ODD_STRINGS
        yield from schema.get("enum", [])
        yield from (value.lower(), value + " ", value + "\n")
        for length in (schema.get("maxLength", 0), schema.get("maxLength", 0) + 1):
            yield "a" * length
            yield "/" + "a" * (length - 1)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        bounds = (schema.get("minimum", 0), schema.get("maximum", 0))
        yield from (bound + change for bound in bounds for change in (-1, 0, 1))
        yield from (*schema.get("enum", []), value + 0.5, float(value), str(value))
    elif isinstance(value, list):
        yield from list_mutants(schema, value)
    else:
        yield from object_mutants(schema, value)


def list_mutants(schema: dict[str, Any], value: list[Any]) -> Iterator[Any]:
    yield []
    yield [*value, value[0]]
    yield [*value, None]
    if "maxItems" in schema:
        yield (value * 2000)[: schema["maxItems"] + 1]
    for index, item in enumerate(value):
        for mutant in mutants(schema["items"], item):
            yield [*value[:index], mutant, *value[index + 1 :]]


def object_mutants(schema: dict[str, Any], value: dict[str, Any]) -> Iterator[Any]:
    if "properties" in schema:
        yield {**value, "unheardOf": 1}
    for name, item in value.items():
        yield {key: other for key, other in value.items() if key != name}
        child = schema.get("properties", {}).get(name) or schema.get("additionalProperties", {})
        for mutant in mutants(child, item):
            yield {**value, name: mutant}


@pytest.mark.parametrize("key", [key for group, key in KINDS if group == GATEWAY_GROUP])
def test_we_serve_the_versions_that_are_served(key: str) -> None:
    served = {version for kind, version in schemas() if kind == key}
    assert set(KINDS[GATEWAY_GROUP, key].versions) == served | RETIRED.get(key, set())


@pytest.mark.parametrize("key", [key for group, key in KINDS if group == GATEWAY_GROUP])
def test_we_warn_of_the_versions_that_are_deprecated(key: str) -> None:
    folder = find_spec()
    assert folder is not None
    (crd,) = (
        document
        for file in (folder / "crds").glob("gateway.networking.k8s.io_*.yaml")
        for document in yaml.safe_load_all(file.read_text())
        if document["kind"] == "CustomResourceDefinition" and document["spec"]["names"]["kind"] == key
    )
    served = [each for each in crd["spec"]["versions"] if each["served"]]
    deprecated = {each["name"] for each in served if each.get("deprecated")}
    assert set(KINDS[GATEWAY_GROUP, key].deprecated) == deprecated | RETIRED.get(key, set())


def test_the_sample_objects_use_every_field_of_the_schemas() -> None:
    missing = {}
    for (kind, version), schema in schemas().items():
        used = {path for obj in OBJECTS if obj["kind"] == kind for path in used_paths(schema.spec, obj["spec"])}
        missing[kind, version] = sorted(set(property_paths(schema.spec)) - used)
    assert not any(missing.values()), missing


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
def test_an_object_with_every_field_is_admitted(obj: dict[str, Any]) -> None:
    for schema, given in versions(obj):
        assert schema.faults(given) == []
        assert refusals(given) == []


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
def test_changed_objects_are_admitted_or_refused_as_the_schemas_say(obj: dict[str, Any]) -> None:
    pytest.importorskip("cel", reason="the cross-field rules need common-expression-language: pip install -e .[dev]")
    seen_schemas = []
    disagreements = []
    n_refused = 0
    for schema, given in versions(obj):
        if schema.spec in seen_schemas:
            continue  # the same fields and rules under another version
        seen_schemas.append(schema.spec)
        for spec in mutants(schema.spec, given["spec"]):
            mutant = deepcopy({**given, "spec": spec})
            theirs, ours = schema.faults(mutant), refusals(mutant)
            n_refused += bool(ours)
            if ours and all(refusal.partition(":")[0].endswith(STRICTER) for refusal in ours):
                continue
            if bool(theirs) != bool(ours):
                disagreements.append((schema.version, _difference(given["spec"], spec), theirs[:2], ours[:2]))
    assert not disagreements, "\n".join(map(str, disagreements[:20]))
    assert n_refused > 20


def _difference(before: Any, after: Any) -> str:
    """Return where two trees part, for the failure's reader."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before.keys() | after.keys():
            if before.get(name) != after.get(name):
                return f"{name}.{_difference(before.get(name), after.get(name))}"
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            if one != other:
                return f"[{index}].{_difference(one, other)}"
    return f"{str(before)[:60]!r} -> {str(after)[:60]!r}"
