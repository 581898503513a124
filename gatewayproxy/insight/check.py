"""`gatewayproxy check`: print problems, for people and for programs. Pure. See `insight.lint` for what finds them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from gatewayproxy.model.status import Problem, Severity

__all__ = ["by_code", "count", "has_errors", "to_json", "to_text", "to_workflow"]


def has_errors(problems: Sequence[Problem]) -> bool:
    """Tell whether a problem keeps an object from serving."""
    return any(problem.severity is Severity.ERROR for problem in problems)


def count(problems: Sequence[Problem], n_objects: int, n_silenced: int = 0) -> str:
    """Return one line that sums up: `12 objects, 1 error, no warnings`."""
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    parts = (_number(n_objects, "object"), _number(errors, "error"), _number(len(problems) - errors, "warning"))
    return ", ".join(parts) + (f" ({n_silenced} silenced)" if n_silenced else "")


def by_code(problems: Sequence[Problem], titles: Mapping[str, str]) -> str:
    """Return a line for each code among *problems*: how often it was found, and what it is."""
    found = Counter(problem.code for problem in problems if problem.code in titles)
    width = max((len(str(n)) for n in found.values()), default=0)
    return "".join(f"  {code}  {n:>{width}} x  {titles[code]}\n" for code, n in sorted(found.items()))


def _number(n: int, noun: str) -> str:
    return f"{n or 'no'} {noun}{'' if n == 1 else 's'}"


def to_text(problems: Sequence[Problem]) -> str:
    """Return the problems by place, errors and warnings as they come in the files.

    The first line of each is what editors and CI systems recognise: `file:line: severity: message`.
    """
    ordered = sorted(problems, key=lambda problem: problem.origin)
    return "".join(f"{line}\n" for problem in ordered for line in _lines(problem))


def _lines(problem: Problem) -> Iterator[str]:
    code = f" [{problem.code}]" if problem.code else ""
    yield f"{problem.origin}: {problem.severity.value}: {problem.message}{code}"
    where = _where(problem)
    if where:
        yield f"    in {where}"
    if problem.hint:
        yield "    -> " + problem.hint


def _where(problem: Problem) -> str:
    where = [str(problem.key)] if problem.key else []
    where += [problem.field] if problem.field else []
    return ", ".join(where)


def to_json(problems: Sequence[Problem]) -> str:
    """Return the problems as a JSON list, one object each."""
    return json.dumps([_tree(problem) for problem in problems], indent=2, ensure_ascii=False) + "\n"


def _tree(problem: Problem) -> dict[str, object]:
    key = problem.key
    return {
        "file": problem.origin.file,
        "line": problem.origin.line,
        "severity": problem.severity.value,
        "code": problem.code,
        "object": {"kind": key.kind, "namespace": key.namespace, "name": key.name} if key else None,
        "field": problem.field,
        "message": problem.message,
        "hint": problem.hint,
    }


# --- workflow commands of GitHub Actions


def to_workflow(problems: Sequence[Problem], titles: Mapping[str, str]) -> str:
    """Return the problems as workflow commands, which GitHub shows beside the lines of a pull request."""
    return "".join(_command(problem, titles) + "\n" for problem in problems)


def _command(problem: Problem, titles: Mapping[str, str]) -> str:
    title = f"{problem.code} {titles[problem.code]}" if problem.code in titles else problem.code
    properties = {"file": problem.origin.file, "line": str(problem.origin.line or 1), "title": title}
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    where, hint = _where(problem), problem.hint
    parts = [problem.message, *([f"in {where}"] if where else []), *([f"-> {hint}"] if hint else [])]
    return f"::{problem.severity.value} {written}::{_data(chr(10).join(parts))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
