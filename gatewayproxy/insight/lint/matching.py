"""Matches that no request can meet, and those of which a part counts for nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gatewayproxy.compiler.manifests.grpcroute import GRPCRouteMatch
from gatewayproxy.compiler.manifests.httproute import HTTPRouteMatch
from gatewayproxy.compiler.manifests.rules import HeaderMatch
from gatewayproxy.insight.lint.config import Config
from gatewayproxy.insight.lint.possible import ANY_TEXT, FIELD_VALUE, GRPC_NAME, PATH, may_match
from gatewayproxy.insight.lint.rule import Finding, Lint
from gatewayproxy.insight.lint.walk import calls
from gatewayproxy.model.plan import PathKind
from gatewayproxy.routing.patterns import matches, pattern_error

__all__ = ["LINTS"]

_UNSERVED: Final = frozenset(("CONNECT", "TRACE"))
_WHY_PATH: Final = 'a path begins with "/", holds no query and no letters that must be encoded, and is matched in full'
_WHY: Final = "it is matched in full, so nothing can stand before ^ or behind $"


def impossible(config: Config) -> Iterator[Finding]:
    """Yield the matches that no request can meet."""
    for key, rule in calls(config):
        found: tuple[HTTPRouteMatch | GRPCRouteMatch, ...] = rule.matches
        for index, match in enumerate(found):
            field = f"{rule.path}.matches[{index}]"
            parts = _of_http(match) if isinstance(match, HTTPRouteMatch) else _of_grpc(match)
            for place, message, hint in (*parts, *_of_headers(match.headers)):
                yield Finding(key, f"{field}.{place}", message, hint)


def _of_http(match: HTTPRouteMatch) -> Iterator[tuple[str, str, str]]:
    if match.path_kind is PathKind.REGEX and _never(match.path, may_match(match.path.encode(), PATH)):
        hint = "begin it with /, write ^ first and $ last or not at all, and match the query by queryParams"
        yield "path", f"no path matches {match.path!r}: {_WHY_PATH}", hint
    if match.method in _UNSERVED:
        yield "method", f"{match.method} is not served: requests get 405", "remove the match"
    for index, (name, value, regex) in enumerate(match.query_params):
        if regex and _never(value, may_match(value.encode(), ANY_TEXT)):
            hint = "write ^ first and $ last, or leave them out"
            yield f"queryParams[{index}]", f"no value of {name} matches {value!r}: {_WHY}", hint


def _of_grpc(match: GRPCRouteMatch) -> Iterator[tuple[str, str, str]]:
    for name, pattern in (("service", match.method.service), ("method", match.method.method)):
        if match.method.regex and pattern and _never(pattern, may_match(pattern.encode(), GRPC_NAME)):
            hint = "match service and method apart, without slashes and without anchors"
            yield f"method.{name}", f"no {name} matches {pattern!r}: it has no / in it, and {_WHY}", hint


def _of_headers(headers: Sequence[HeaderMatch]) -> Iterator[tuple[str, str, str]]:
    for index, (name, value, regex) in enumerate(headers):
        if regex and _never(value, may_match(value.encode(), FIELD_VALUE)):
            hint = "write ^ first and $ last, or leave them out"
            yield f"headers[{index}]", f"no value of {name} matches {value!r}: {_WHY}", hint


def _never(pattern: str, possible: bool) -> bool:
    return not possible and not pattern_error(pattern.encode())


def ignored_headers(config: Config) -> Iterator[Finding]:
    """Yield header matches whose name stands there already, in other letters: the first entry counts."""
    for key, rule in calls(config):
        found: tuple[HTTPRouteMatch | GRPCRouteMatch, ...] = rule.matches
        for index, match in enumerate(found):
            first: dict[str, HeaderMatch] = {}
            for number, header in enumerate(match.headers):
                counts = first.setdefault(header.name.lower(), header)
                if counts is not header:
                    message = f"{header.name} is {counts.name} again, which counts: {_beside(counts, header)}"
                    hint = "keep one of the two; a regular expression can say both"
                    yield Finding(key, f"{rule.path}.matches[{index}].headers[{number}]", message, hint)


def _beside(counts: HeaderMatch, other: HeaderMatch) -> str:
    """Return whether one value could satisfy both."""
    exact, pattern = (counts, other) if other.regex else (other, counts)
    if exact.regex or not pattern.regex or pattern_error(pattern.value.encode()):
        return "this one is not asked"
    if matches(pattern.value.encode(), exact.value.encode()):
        return "this one is not asked"
    return f"this one is not asked, and {exact.value!r} does not match {pattern.value!r}"


LINTS: Final[Mapping[str, Lint]] = {
    "GW404": Lint(
        title="match that no request can meet",
        meaning="A regular expression must match the whole path, header or parameter: one with an anchor in its "
        "middle, a path without a leading slash or with a query in it matches nothing. CONNECT and TRACE get 405.",
        fix="Correct the expression, as the message says, or remove the match.",
        find=impossible,
    ),
    "GW411": Lint(
        title="header match that is not asked",
        meaning="Names of headers are the same in capital and small letters. Of two entries with one name the first "
        "counts, and the other is ignored (HTTPHeaderMatch.name).",
        fix="Keep one of the two entries.",
        find=ignored_headers,
    ),
}
