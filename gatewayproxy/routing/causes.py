"""Why no rule took a request, in one line, and what would mend it. Pure.

Names come from the configuration. Of the request there are host, method and path, cut and made printable; values of its
fields never, nor those that matches ask for: they may be secrets.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gatewayproxy.routing.match import Request
from gatewayproxy.routing.nearest import Near, NearHost, Placed, Predicate
from gatewayproxy.routing.table import Candidate, VirtualHost

__all__ = ["Cause", "host_cause", "printable", "rule_cause"]

MAX_SHOWN: Final = 120  # characters of a path or a host


class Cause(NamedTuple):
    """The cause of one 404; *route*, *rule* and *failed* name the nearest miss, "" where there is none."""

    text: str
    fix: str
    kind: str = ""
    route: str = ""
    rule: str = ""
    failed: str = ""  # a Predicate, lower-case
    lasting: bool = True  # it depends on nothing but host, method and path


def rule_cause(near: Near | None, request: Request) -> Cause:
    """Return why no rule of a host took *request*."""
    if near is None:
        return Cause("host ok, no rules", "add a rule to a route of this host")
    label = near.placed.candidate.entry.label
    failed = near.failure.failed
    wanted = _wanted(near.placed, failed, near.failure.name, request)
    closest = f"{label.route}#{label.rule_text}"
    return Cause(
        f"host ok, {near.n_rules} rule{'' if near.n_rules == 1 else 's'}, closest {closest} failed {wanted}",
        _fix(near, request),
        label.kind,
        label.route,
        label.rule_text,
        failed.name.lower(),
        failed <= Predicate.METHOD,
    )


def host_cause(host: bytes, vhost: VirtualHost | None, near: NearHost | None) -> Cause:
    """Return why no route has *host*; *vhost*: what a listener without routes has for it."""
    shown = printable(host)
    if vhost is not None:
        text = f"no route on listener {vhost.listener.name} has host {shown}"
        mend = f"add {shown} to the hostnames of a route on that listener"
    else:
        text = f"no listener has host {shown}"
        mend = f"add {shown} to the hostnames of a listener and of a route"
    if near is None:
        return Cause(f"{text}; no host has rules", mend, failed="host")
    return Cause(f"{text}; closest is {near.hostname}", f"was {near.hostname} meant? else {mend}", failed="host")


def printable(raw: bytes, most: int = MAX_SHOWN) -> str:
    """Return *raw* for a line of text: at most *most* characters, none of which a terminal acts on."""
    text = raw[: most + 1].decode("ascii", "backslashreplace")
    shown = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def _wanted(match: Placed, failed: Predicate, name: bytes, request: Request) -> str:
    """Return the predicate that failed, by name, and what it wants where that is no secret."""
    match failed:
        case Predicate.HEADER:
            state = "absent" if request.field(name) is None else "another value"
            return f"header {printable(name)} ({state})"
        case Predicate.QUERY:
            return f"query {printable(name)}"
        case Predicate.METHOD:
            return f"method (wants {_method_of(match)})"
        case _:
            return f"path (wants {_path_of(match)})"


def _method_of(match: Placed) -> str:
    candidate = match.candidate
    if candidate.method is not None:
        return printable(candidate.method)
    return printable(candidate.call.method if candidate.call is not None else match.path.rpartition(b"/")[2])


def _path_of(match: Placed) -> str:
    candidate = match.candidate
    if match.call:
        return f"service {_service_of(match, candidate)}"
    if candidate.regex is not None:
        return f"pattern {printable(candidate.regex)}"
    return f"{'prefix' if match.prefix else 'exact'} {printable(match.path or b'/')}"


def _service_of(match: Placed, candidate: Candidate) -> str:
    if candidate.call is not None:
        return printable(candidate.call.service)
    return printable(match.path[1:].partition(b"/")[0])


def _fix(near: Near, request: Request) -> str:
    path, method = printable(request.path), printable(request.method)
    match near.failure.failed:
        case Predicate.HEADER:
            return f"send what the match of header {printable(near.failure.name)} wants, or add a rule without it"
        case Predicate.QUERY:
            return f"send what the match of query {printable(near.failure.name)} wants, or add a rule without it"
        case Predicate.METHOD if near.placed.call:
            return f"call {_method_of(near.placed)}, or add a rule for {path}"
        case Predicate.METHOD:
            return f"send {_method_of(near.placed)}, or add a rule for {method} {path}"
        case _ if near.failure.nearness[0] > 0:
            return f"was {_path_of(near.placed)} meant? else add a rule for {path}"
        case _:
            return f"add a rule for {path}, or one for / that takes the rest"
