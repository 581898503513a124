"""What an API server says to an object, from the CustomResourceDefinitions alone: a second opinion on our readers.

Nulls are pruned, defaults applied, the structural schema checked by `jsonschema` (unknown fields refused), then list
maps and sets, then the CEL rules by the `cel` package. Rules on changes (`oldSelf`) do not apply to new objects.
"""

from __future__ import annotations

import ast
import ipaddress
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, FormatChecker

__all__ = ["Schema", "load_schemas"]

_STRUCTURE = {
    "type", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "maxProperties",
    "required", "oneOf", "anyOf", "allOf", "not", "format",
}  # fmt: skip


class Schema:
    """One served version of one kind."""

    def __init__(self, group: str, kind: str, version: str, tree: dict[str, Any]) -> None:
        self.group, self.kind, self.version, self.tree = group, kind, version, tree
        properties = {**tree["properties"], "metadata": {"type": "object", "properties": {"name": {"type": "string"}}}}
        self.top = {**tree, "properties": properties}
        self._validator = Draft202012Validator(_closed(self.top), format_checker=FormatChecker(["ipv4", "ipv6"]))

    def faults(self, given: dict[str, Any]) -> list[str]:
        """Return why the object is refused; [] if it is admitted."""
        found = deepcopy(given)
        _apply_defaults(self.top, found)
        faults = [f"{error.json_path}: {error.message}" for error in self._validator.iter_errors(found)]
        faults += _repeats(self.top, found)
        return faults or [f"{path}: {rule}" for path, rule in _broken_at(self.top, found, "")]

    def broken(self, given: dict[str, Any]) -> set[tuple[str, str]]:
        """Return the rules that an object of sound fields breaks: where they stand, and their text."""
        found = deepcopy(given)
        _apply_defaults(self.top, found)
        assert self._validator.is_valid(found), list(self._validator.iter_errors(found))
        return set(_broken_at(self.top, found, ""))

    def rules(self) -> Iterator[tuple[str, str]]:
        """Yield every rule: where it stands, and its text."""
        yield from _rules_at(self.tree, "")

    def has(self, path: str) -> bool:
        """Tell whether there is a field at *path*, such as "spec.rules[].name"."""
        schema = self.tree
        for name in path.replace("[]", ".[]").split("."):
            schema = schema.get("items", {}) if name == "[]" else schema.get("properties", {}).get(name, {})
        return bool(schema)

    @property
    def spec(self) -> dict[str, Any]:
        return self.tree["properties"]["spec"]


def load_schemas(folder: Path) -> list[Schema]:
    """Return every served version of every kind under *folder*."""
    out = []
    for file in sorted(folder.glob("*.yaml")):
        for document in yaml.load_all(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if document.get("kind") != "CustomResourceDefinition":
                continue
            spec = document["spec"]
            for version in spec["versions"]:
                if version["served"]:
                    tree = version["schema"]["openAPIV3Schema"]
                    out.append(Schema(spec["group"], spec["names"]["kind"], version["name"], tree))
    return out


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* for jsonschema: unknown fields refused, `$` at the very end only (as in RE2)."""
    out = {key: schema[key] for key in _STRUCTURE & schema.keys()}
    if "pattern" in out:
        out["pattern"] = out["pattern"].replace("$)", r"\Z)").replace("$|", r"\Z|")
        if out["pattern"].endswith("$"):
            out["pattern"] = out["pattern"][:-1] + r"\Z"
    if "properties" in schema:
        out["properties"] = {name: _closed(child) for name, child in schema["properties"].items()}
        out["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = _closed(schema["additionalProperties"])
    if "items" in schema:
        out["items"] = _closed(schema["items"])
    return out


def _apply_defaults(schema: dict[str, Any], value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _apply_defaults(schema.get("items", {}), item)
    if not isinstance(value, dict):
        return
    for name, child in schema.get("properties", {}).items():
        if name in value and value[name] is None:
            del value[name]
        if name not in value and "default" in child:
            value[name] = deepcopy(child["default"])
        if name in value:
            _apply_defaults(child, value[name])


def _repeats(schema: dict[str, Any], value: Any) -> Iterator[str]:
    """Yield the lists of type set or map whose entries are not distinct."""
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name in value:
                yield from _repeats(child, value[name])
    elif isinstance(value, list):
        kind = schema.get("x-kubernetes-list-type")
        keys = schema.get("x-kubernetes-list-map-keys", [])
        if kind == "set":
            idents = [repr(item) for item in value]
        elif kind == "map":
            idents = [repr([item.get(key) for key in keys]) if isinstance(item, dict) else "" for item in value]
        else:
            idents = []
        if len(set(idents)) < len(idents):
            yield "entries are not distinct"
        for item in value:
            yield from _repeats(schema["items"], item)


def _broken_at(schema: dict[str, Any], value: Any, path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" not in rule["rule"] and not _holds(rule["rule"], repr(value)):
            yield path, rule["rule"]
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name in value:
                yield from _broken_at(child, value[name], f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for item in value:
            yield from _broken_at(schema["items"], item, f"{path}[]")


def _rules_at(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", []):
        yield path, rule["rule"]
    for name, child in schema.get("properties", {}).items():
        yield from _rules_at(child, f"{path}.{name}".removeprefix("."))
    if "items" in schema:
        yield from _rules_at(schema["items"], f"{path}[]")


@cache
def _program(rule: str) -> Any:
    import cel

    # The engine has no optional values, which the format library of an API server answers with.
    return cel.compile(rule.replace("format.dns1123Label().validate(self) == null", "isLabel(self)"))


@lru_cache(1 << 16)
def _holds(rule: str, value: str) -> bool:
    """Evaluate *rule* on the value whose repr is given: most of an object is the same in each of its variants."""
    import cel

    context = cel.Context(
        variables={"self": _escaped(ast.literal_eval(value))},
        functions={
            "isIP": _is_ip,
            "isLabel": _is_label,
            "substring": lambda text, start: text[start:],
            "split": lambda t, by: t.split(by),
        },
    )
    try:
        return _program(rule).execute(context) is True
    except (KeyError, RuntimeError, TypeError, ValueError):
        return False  # a rule that cannot be evaluated has failed


def _is_label(text: str) -> bool:
    return re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text) is not None


def _escaped(value: Any) -> Any:
    """Return *value* with field names that are CEL keywords as CEL sees them."""
    if isinstance(value, dict):
        return {("__namespace__" if key == "namespace" else key): _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
