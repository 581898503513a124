"""Lints: what a configuration does that its author hardly means. LINTS is all of them, by stable code. Pure.

A new one is a function from a Config to Findings and an entry in LINTS of its family's file, beside the example that
fires it, docs/lint/<code>.yaml. What the compilation finds by itself has codes too, and no function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from gatewayproxy.insight.lint import (
    actions,
    certificates,
    listeners,
    manifests,
    matching,
    places,
    references,
    routing,
    rules,
    unused,
)
from gatewayproxy.insight.lint.config import Config, path_of
from gatewayproxy.insight.lint.rule import Lint
from gatewayproxy.insight.lint.silence import LINT_IGNORE, USELESS, Judged, apply_silences
from gatewayproxy.insight.offline import Read, examined
from gatewayproxy.model.codes import Code
from gatewayproxy.model.source import CompileOptions, Source
from gatewayproxy.model.status import Problem

__all__ = ["LINTS", "LINT_IGNORE", "Config", "Judged", "Lint", "judge", "lint"]

_UNDERSTOOD: Final = "cert-manager.io/"
_SILENCES: Final = {
    USELESS: Lint(
        title="silence that silences nothing",
        meaning=f"The annotation {LINT_IGNORE} names a code that is not found on its object, or that does not exist.",
        fix="Remove the code from the annotation.",
    ),
}

LINTS: Final[Mapping[str, Lint]] = {
    **manifests.LINTS,
    **routing.LINTS,
    **certificates.LINTS,
    **references.LINTS,
    **rules.LINTS,
    **listeners.LINTS,
    **actions.LINTS,
    **matching.LINTS,
    **places.LINTS,
    **unused.LINTS,
    **_SILENCES,
}


def lint(sources: Sequence[Source], options: CompileOptions, read: Read) -> tuple[Config, Judged]:
    """Compile *sources* and judge what comes of it; `options.now` is the time that certificates are judged by."""
    compiled, resources = examined(sources, options, read)
    config = Config(
        plan=compiled.plan,
        table=compiled.table,
        status=compiled.status,
        resources=resources,
        sources=sources,
        now=options.now,
    )
    return config, judge(config)


def judge(config: Config) -> Judged:
    """Return what is wrong with *config*, by place: what its compilation found, and what lints find."""
    compiled = (each for each in config.status.problems if not _is_understood(config, each))
    found = dict.fromkeys(map(_whole, (*compiled, *_found(config))))
    judged = apply_silences(config, list(found), LINTS)
    return Judged(
        tuple(sorted(judged.told, key=lambda each: each.origin)),
        tuple(sorted(judged.silenced, key=lambda each: each.origin)),
    )


def _is_understood(config: Config, problem: Problem) -> bool:
    """Return whether *problem* says that an object is passed over which lints look at all the same."""
    if problem.code != Code.PASSED_OVER:
        return False
    return any(each.key == problem.key and each.api_version.startswith(_UNDERSTOOD) for each in config.foreign)


def _whole(problem: Problem) -> Problem:
    """Return *problem* with what to do about it."""
    lint = LINTS.get(problem.code)
    return replace(problem, hint=lint.fix) if lint is not None and not problem.hint else problem


def _found(config: Config) -> Iterator[Problem]:
    told = {(each.code, each.key, each.field) for each in config.status.problems}
    for code, each in LINTS.items():
        for key, field, message, hint in each.find(config) if each.find is not None else ():
            if (code, key, field) not in told:
                yield Problem(
                    origin=config.place(key, path_of(field)),
                    severity=each.severity,
                    key=key,
                    field=field,
                    message=message,
                    hint=hint,
                    code=code,
                )
