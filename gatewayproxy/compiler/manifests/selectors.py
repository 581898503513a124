"""LabelSelector: which namespaces a listener admits. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gatewayproxy.fields import Fields

__all__ = ["LabelExpression", "LabelSelector", "read_selector"]

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelExpression:
    """LabelSelectorRequirement; an *operator* other than In, NotIn, Exists, DoesNotExist matches nothing."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as kubectl takes it: `tier in (a, b)`, `!zone`."""
        if self.operator in ("Exists", "DoesNotExist"):
            return self.key if self.operator == "Exists" else f"!{self.key}"
        return f"{self.key} {self.operator.lower()} ({', '.join(self.values)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """LabelSelector: every part must match; none matches all."""

    match_labels: Mapping[str, str] = field(default_factory=dict)
    match_expressions: tuple[LabelExpression, ...] = ()

    def __str__(self) -> str:
        """Return it as kubectl takes it: `app=web,tier in (a, b)`."""
        return ",".join(
            [*(f"{name}={value}" for name, value in self.match_labels.items()), *map(str, self.match_expressions)]
        )


def read_selector(parent: Fields) -> LabelSelector | None:
    """Read `selector` of *parent*."""
    fields = parent.child("selector")
    if fields is None:
        return None
    return LabelSelector(
        match_labels=fields.text_map("matchLabels"),
        match_expressions=tuple(_read_expression(item) for item in fields.items("matchExpressions")),
    )


def _read_expression(fields: Fields) -> LabelExpression:
    operator = fields.text("operator")
    if operator and operator not in _OPERATORS:
        fields.warn(
            "operator", f'"{operator[:80]}" is no operator: nothing matches', f"write one of: {', '.join(_OPERATORS)}"
        )
    return LabelExpression(key=fields.text("key"), operator=operator, values=fields.texts("values"))
