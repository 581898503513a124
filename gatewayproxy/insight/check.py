"""`gatewayproxy check`: print the problems of a compilation, for people and for programs. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from gatewayproxy.model.status import Problem, Severity

__all__ = ["count", "has_errors", "to_json", "to_text"]


def has_errors(problems: Sequence[Problem]) -> bool:
    """Tell whether a problem keeps an object from serving."""
    return any(problem.severity is Severity.ERROR for problem in problems)


def count(problems: Sequence[Problem], n_objects: int) -> str:
    """Return one line that sums up: `12 objects, 1 error, no warnings`."""
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    parts = (_number(n_objects, "object"), _number(errors, "error"), _number(len(problems) - errors, "warning"))
    return ", ".join(parts)


def _number(n: int, noun: str) -> str:
    return f"{n or 'no'} {noun}{'' if n == 1 else 's'}"


def to_text(problems: Sequence[Problem]) -> str:
    """Return the problems by place, errors and warnings as they come in the files.

    The first line of each is what editors and CI systems recognise: `file:line: severity: message`.
    """
    ordered = sorted(problems, key=lambda problem: problem.origin)
    return "".join(f"{line}\n" for problem in ordered for line in _lines(problem))


def _lines(problem: Problem) -> Iterator[str]:
    yield f"{problem.origin}: {problem.severity.value}: {problem.message}"
    where = [str(problem.key)] if problem.key else []
    where += [problem.field] if problem.field else []
    if where:
        yield "    in " + ", ".join(where)
    if problem.hint:
        yield "    -> " + problem.hint


def to_json(problems: Sequence[Problem]) -> str:
    """Return the problems as a JSON list, one object each."""
    return json.dumps([_tree(problem) for problem in problems], indent=2, ensure_ascii=False) + "\n"


def _tree(problem: Problem) -> dict[str, object]:
    key = problem.key
    return {
        "file": problem.origin.file,
        "line": problem.origin.line,
        "severity": problem.severity.value,
        "object": {"kind": key.kind, "namespace": key.namespace, "name": key.name} if key else None,
        "field": problem.field,
        "message": problem.message,
        "hint": problem.hint,
    }
