"""Findings as SARIF 2.1.0 (OASIS), which code scanning of GitHub, GitLab and Azure reads. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import quote

from gatewayproxy.insight.lint.rule import Lint
from gatewayproxy.insight.lint.silence import LINT_IGNORE
from gatewayproxy.model.status import Problem

__all__ = ["to_sarif"]

Tree = dict[str, Any]

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def to_sarif(
    told: Sequence[Problem], silenced: Sequence[Problem], lints: Mapping[str, Lint], version: str
) -> str:  # fmt: skip
    """Return a log of one run; *silenced* problems are in it as suppressed in the source."""
    codes = sorted(lints)
    index = {code: at for at, code in enumerate(codes)}
    results = [_result(each, index, suppressed=False) for each in told]
    results += [_result(each, index, suppressed=True) for each in silenced]
    driver = {
        "name": "gatewayproxy",
        "semanticVersion": version,
        "rules": [_rule(code, lints[code]) for code in codes],
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _rule(code: str, lint: Lint) -> Tree:
    silence = f'To silence it on one object: annotation {LINT_IGNORE}: "{code}".' if lint.on_object else ""
    return {
        "id": code,
        "shortDescription": {"text": _sentence(lint.title)},
        "fullDescription": {"text": lint.meaning},
        "help": {"text": " ".join(part for part in (lint.meaning, lint.fix, silence) if part)},
        "defaultConfiguration": {"level": lint.severity.value},
    }


def _result(problem: Problem, index: Mapping[str, int], *, suppressed: bool) -> Tree:
    hint = f" -> {problem.hint}" if problem.hint else ""
    result: Tree = {
        "level": problem.severity.value,
        "message": {"text": problem.message + hint},
        "locations": [_location(problem)],
        "partialFingerprints": {"object/v1": _fingerprint(problem)},
    }
    if problem.code in index:
        result |= {"ruleId": problem.code, "ruleIndex": index[problem.code]}
    if suppressed:
        result["suppressions"] = [{"kind": "inSource"}]
    return result


def _location(problem: Problem) -> Tree:
    place: Tree = {"artifactLocation": {"uri": quote(problem.origin.file)}}
    if problem.origin.line:
        place["region"] = {"startLine": problem.origin.line}
    location: Tree = {"physicalLocation": place}
    if problem.key is not None:
        name = f"{problem.key}, {problem.field}" if problem.field else str(problem.key)
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "object"}]
    return location


def _fingerprint(problem: Problem) -> str:
    """Return what stays when lines move: a finding is the same while code, object, field and words are."""
    text = repr((problem.code, problem.key, problem.field, problem.message))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _sentence(title: str) -> str:
    return f"{title[0].upper()}{title[1:]}."
