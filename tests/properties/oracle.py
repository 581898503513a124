"""A naive reading of the Gateway API: who answers a request, by comparing it with every match there is.

Written from the text of HTTPRouteRule.matches, GRPCRouteRule.matches and Listener.hostname, without indexes and
without a look at `compiler.lower` or `routing.match`: slow, and plain enough to be checked by eye.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl

from gatewayproxy.model.names import ListenerKey
from gatewayproxy.model.plan import GRPCMatch, Listener, Match, PathKind, Plan, Route
from tests.support.plans import Ask

Winner = tuple[str, int]  # "namespace/name" of the route, index of the rule


def answer(plan: Plan, address: str, port: int, ask: Ask) -> tuple[ListenerKey | None, Winner | None]:
    """Return the listener a request belongs to, and the rule that takes it."""
    host = plain_host(ask.host)
    here = [each for each in plan.listeners if each.bind_port == port and address in each.addresses]
    fitting = [each for each in here if host_fits(each.hostname, host)]
    if not fitting:
        return None, None
    owner = max(fitting, key=lambda each: (each.hostname == host, len(each.hostname)))
    contenders = list(claims(owner, host, ask))
    return owner.key, min(contenders)[-1] if contenders else None


def claims(owner: Listener, host: str, ask: Ask) -> Iterator[tuple[object, ...]]:
    """Yield (precedence, winner) of everything that matches; the smallest precedence wins."""
    for attachment in owner.attachments:
        for _, own in attachment.hostnames:
            if host_fits(own, host):
                for precedence in rule_claims(attachment.route, ask):
                    exact = own == host
                    yield (0 if exact else 1, -len(own), *precedence)


def rule_claims(route: Route, ask: Ask) -> Iterator[tuple[object, ...]]:
    """Yield the clauses of precedence, in the order of the specification, of each match that fits."""
    name = f"{route.key.namespace}/{route.key.name}"
    for rule in route.rules:
        for match in rule.matches:
            if isinstance(match, GRPCMatch):
                if call_fits(match, ask):
                    yield (*call_clauses(match), route.created, name, rule.index, (name, rule.index))
            elif fits(match, ask):
                path = match.path.rstrip(b"/") if match.path_kind is PathKind.PREFIX else match.path
                kind = [PathKind.EXACT, PathKind.REGEX, PathKind.PREFIX].index(match.path_kind)
                has_method = 0 if match.method is not None else 1
                clauses = (kind, -len(path), has_method, -len(match.headers), -len(match.query))
                yield (*clauses, route.created, name, rule.index, (name, rule.index))


def call_clauses(match: GRPCMatch) -> tuple[object, ...]:
    """Return the clauses of GRPCRouteRule.matches; ours is that an exact name comes before any pattern."""
    how = 1 if match.regex else 0
    service = (how if match.service else 2, -len(match.service))
    method = (how if match.method else 2, -len(match.method))
    return (*service, *method, -len(match.headers))


def call_fits(match: GRPCMatch, ask: Ask) -> bool:
    """Return whether every part of *match* holds; a path is "/service/method", the method may have more of "/"."""
    _, service, *rest = ask.path.split(b"/")
    return (
        name_fits(match.service, service, match.regex)
        and name_fits(match.method, b"/".join(rest), match.regex)
        and all(value_fits(test, ask.headers.get(test.name)) for test in match.headers)
    )


def name_fits(expected: bytes, name: bytes, regex: bool) -> bool:
    """Return whether a service or method is the one expected; b"" expects any."""
    if not expected:
        return True
    return re.fullmatch(expected, name) is not None if regex else name == expected


def fits(match: Match, ask: Ask) -> bool:
    """Return whether every part of *match* holds."""
    params: dict[str, str] = {}
    pairs = parse_qsl(ask.query.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    for name, value in pairs:
        params.setdefault(name, value)
    return (
        path_fits(match, ask.path)
        and (match.method is None or match.method == ask.method)
        and all(value_fits(test, ask.headers.get(test.name)) for test in match.headers)
        and all(value_fits(test, encoded(params.get(test.name.decode("latin-1")))) for test in match.query)
    )


def path_fits(match: Match, path: bytes) -> bool:
    """Return whether the path matches: a prefix goes by whole elements."""
    if match.path_kind is PathKind.EXACT:
        return path == match.path
    if match.path_kind is PathKind.REGEX:
        return re.fullmatch(match.path, path, re.DOTALL) is not None
    wanted = match.path.rstrip(b"/").split(b"/")
    return path.split(b"/")[: len(wanted)] == wanted


def value_fits(test: tuple[bytes, bytes, bool], value: bytes | None) -> bool:
    """Return whether a header or parameter is there and equals, or matches as a whole."""
    _, expected, regex = test
    if value is None:
        return False
    return re.fullmatch(expected, value) is not None if regex else value == expected


def encoded(value: str | None) -> bytes | None:
    return None if value is None else value.encode("latin-1")


def host_fits(hostname: str, host: str) -> bool:
    """Return whether a listener's or route's hostname matches: "*" stands for one or more labels, "" for any host."""
    if hostname.startswith("*."):
        labels, wanted = host.split("."), hostname[2:].split(".")
        return len(labels) > len(wanted) and labels[-len(wanted) :] == wanted
    return hostname in ("", host)


def plain_host(host: bytes) -> str:
    """Return a Host value without port, case and trailing dot."""
    return re.sub(r":\d*$", "", host.decode("ascii")).lower().removesuffix(".")
