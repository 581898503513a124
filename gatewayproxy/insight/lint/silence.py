"""Silences: `gatewayproxy.io/lint-ignore: GW102, GW109` on an object keeps these codes from being told of it. Pure.

A silence that silences nothing is told itself (GW901): what it was for is gone, or never was there.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from gatewayproxy.compiler.manifests.reader import LINT_IGNORE
from gatewayproxy.insight.lint.config import Config
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.status import Problem, Severity

__all__ = ["LINT_IGNORE", "USELESS", "Judged", "apply_silences"]

USELESS: Final = "GW901"
_APART: Final = re.compile(r"[,\s]+")


class Judged(NamedTuple):
    """What is told, and what is not because an object asks for it."""

    told: tuple[Problem, ...]
    silenced: tuple[Problem, ...]


def apply_silences(config: Config, problems: Sequence[Problem], codes: Container[str]) -> Judged:
    """Part *problems* by the annotations of their objects; *codes* are all there are."""
    asked = {key: wanted for key in _keys(config) if (wanted := _codes(config, key))}
    used: set[tuple[ResourceKey, str]] = set()
    told: list[Problem] = []
    silenced: list[Problem] = []
    for problem in problems:
        key = problem.key
        if key is not None and problem.code in asked.get(key, ()):
            used.add((key, problem.code))
            silenced.append(problem)
        else:
            told.append(problem)
    idle = ((key, code) for key, wanted in asked.items() for code in wanted if (key, code) not in used)
    useless = (_useless(config, key, code, codes) for key, code in idle)
    return Judged((*told, *useless), tuple(silenced))


def _keys(config: Config) -> Iterator[ResourceKey]:
    yield from config.metas
    yield from (each.key for each in config.foreign)


def _codes(config: Config, key: ResourceKey) -> tuple[str, ...]:
    written = config.annotations(key).get(LINT_IGNORE)
    return tuple(dict.fromkeys(_words(written))) if isinstance(written, str) else ()


def _words(written: str) -> Iterable[str]:
    return (word for word in _APART.split(written) if word)


def _useless(config: Config, key: ResourceKey, code: str, codes: Container[str]) -> Problem:
    known = code in codes
    return Problem(
        origin=config.place(key, ("metadata", "annotations", LINT_IGNORE)),
        severity=Severity.WARNING,
        key=key,
        field=f"metadata.annotations[{LINT_IGNORE}]",
        message=f"{code} is not found here: nothing is silenced" if known else f"there is no code {code[:80]}",
        hint="remove it" if known else "write codes such as GW101, with commas between them",
        code=USELESS,
    )
