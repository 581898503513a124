"""Hold a Decision against an Expectation: every difference, with what was expected, what is, what may help. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gatewayproxy.compiler.manifests.routetest import Expectation
from gatewayproxy.fields import Path
from gatewayproxy.insight.decision import Decision
from gatewayproxy.insight.misses import Miss, match_text
from gatewayproxy.insight.outcomes import Answer, Outcome
from gatewayproxy.insight.routetests.backends import backends_differ
from gatewayproxy.insight.routetests.messages import backend_sees_otherwise, client_sees_otherwise

__all__ = ["Difference", "answers_of", "judge", "refuses"]

_NO_REFUSAL: Final = "http_inside"
_NAMED: Final = 10  # listeners, where one that is not there was expected


class Difference(NamedTuple):
    """Where a decision is not as expected; *path* is that of the field below the test."""

    path: Path
    expected: str
    actual: str
    hint: str = ""


def judge(decision: Decision, expect: Expectation, namespace: str) -> list[Difference]:
    """Return how *decision* differs from what a test in *namespace* expects; [] where it does not."""
    found = [
        *_place(decision, expect),
        *_route(decision, expect, namespace),
        *_backends(decision, expect, namespace),
        *_answer(decision, expect),
    ]
    return [Difference(("expect", *path), *rest) for path, *rest in found]


def answers_of(decision: Decision) -> list[Answer | None]:
    """Return what clients may get: the gateway's answers, None for whatever a backend says."""
    if decision.answer is not None:
        return [decision.answer]
    return [each.answer for each in _taken(decision)]


def refuses(answer: Answer | None) -> bool:
    """Return whether *answer* is an error, or the end of a connection."""
    return answer is not None and (answer.status >= 400 or (not answer.status and answer.reason != _NO_REFUSAL))


def _taken(decision: Decision) -> list[Outcome]:
    """Return the outcomes that requests come to: those without weight are for persistent sessions only."""
    return [each for each in decision.outcomes if each.weight]


# --- listener, certificate, route, rule


def _place(decision: Decision, expect: Expectation) -> Iterator[Difference]:
    wanted = expect.listener
    if wanted is not None and not f"/{decision.listener}".endswith(f"/{wanted}"):
        yield Difference(("listener",), wanted, decision.listener or "none", _why_no_listener(decision, wanted))
    wanted = expect.certificate
    names = [", ".join(each.names) or "without names" for each in decision.certificates]
    if wanted is not None and (not names or any(wanted not in each.names for each in decision.certificates)):
        hint = "" if names else "certificates are shown where TLS ends: ask with https:// or tls://"
        yield Difference(("certificate",), wanted, "; ".join(names) or "none", hint)


def _why_no_listener(decision: Decision, wanted: str) -> str:
    why = next((each.why for each in decision.listeners if f"/{each.name}".endswith(f"/{wanted}")), "")
    if why:
        return f"{wanted}: {why}"
    known = ", ".join(each.name for each in decision.listeners[:_NAMED])
    return f"no listener that serves is called {wanted}; there are {known}" if known else ""


def _route(decision: Decision, expect: Expectation, namespace: str) -> Iterator[Difference]:
    label = decision.entry.label if decision.entry is not None else None
    if expect.route is not None:
        kind, name = _qualified(expect.route, namespace)
        if label is None or label.route != name or kind not in ("", label.kind):
            actual = label.route_text if label is not None else _none(decision)
            wanted = f"{kind} {name}".strip()
            yield Difference(("route",), wanted, actual, _why_not(decision, expect, namespace))
            return  # rules of another route tell nothing
    if expect.rule is not None and (label is None or expect.rule not in (label.rule, label.rule_name)):
        actual = label.rule_text if label is not None else _none(decision)
        yield Difference(("rule",), str(expect.rule), actual, _why_not(decision, expect, namespace))


def _qualified(route: str, namespace: str) -> tuple[str, str]:
    """Return (kind or "", "namespace/name") of *route* as a test in *namespace* says it."""
    kind, _, name = route.rpartition(" ")
    return kind, name if "/" in name else f"{namespace}/{name}"


def _why_not(decision: Decision, expect: Expectation, namespace: str) -> str:
    """Return why the rule that was expected did not take the request, "" where that cannot be told."""
    miss = next((each for each in decision.missed if _is_meant(each, expect, decision, namespace)), None)
    if miss is None:
        return ""
    kind, name, rule = miss.contender.is_of
    return f"{kind} {name} rule {rule} ({match_text(miss.contender.match)}): {miss.failed.name.lower()}: {miss.detail}"


def _is_meant(miss: Miss, expect: Expectation, decision: Decision, namespace: str) -> bool:
    kind, name, rule = miss.contender.is_of
    if expect.route is not None:
        meant = _qualified(expect.route, namespace)
        if name != meant[1] or meant[0] not in ("", kind):
            return False
    elif decision.entry is None or name != decision.entry.label.route:
        return False
    return expect.rule in (None, rule, miss.contender.rule.name)


# --- what becomes of it


def _backends(decision: Decision, expect: Expectation, namespace: str) -> Iterator[Difference]:
    taken = _taken(decision)
    if expect.backends is not None:
        differ = backends_differ(decision.outcomes, expect.backends, namespace)
        if decision.answer is not None:
            differ = differ._replace(actual=_told(decision.answer))
        if differ.expected:
            yield Difference(("backends",), *differ)
    if expect.backend_sees is not None:
        reached = [each for each in taken if each.cluster is not None]
        if not reached:
            yield Difference(("backendSees",), "a request to a backend", _all_told(answers_of(decision)))
        for path, *rest in backend_sees_otherwise(reached, expect.backend_sees):
            yield Difference(("backendSees", *path), *rest)
    if expect.client_sees is not None:
        for path, *rest in client_sees_otherwise(decision, taken, expect.client_sees):
            yield Difference(("clientSees", *path), *rest)


def _answer(decision: Decision, expect: Expectation) -> Iterator[Difference]:
    answers = answers_of(decision)
    told = _all_told(answers)
    if expect.status is not None and any(each is None or each.status != expect.status for each in answers):
        own = None in answers
        hint = "the status of a backend's answer is the backend's: expect its name in backends" if own else ""
        yield Difference(("status",), str(expect.status), told, hint)
    if expect.reason is not None and any(each is None or each.reason != expect.reason for each in answers):
        yield Difference(("reason",), expect.reason, told)
    if expect.redirect is not None:
        places = {_location(each) for each in answers}
        if places != {expect.redirect}:
            yield Difference(("redirect",), expect.redirect, ", ".join(sorted(places - {""})) or told)
    if expect.refused is not None and all(map(refuses, answers)) is not expect.refused:
        yield Difference(("refused",), "true" if expect.refused else "false", told)


def _location(answer: Answer | None) -> str:
    lines = answer.lines if answer is not None else ()
    return next((line[9:].strip() for line in lines if line[:9].lower() == "location:"), "")


def _all_told(answers: Sequence[Answer | None]) -> str:
    return ", ".join(dict.fromkeys(_told(each) for each in answers))


def _told(answer: Answer | None) -> str:
    if answer is None:
        return "a backend answers"
    return f"{answer.status or 'the connection ends:'} {answer.reason}"


def _none(decision: Decision) -> str:
    return f"none ({_all_told(answers_of(decision))})"
