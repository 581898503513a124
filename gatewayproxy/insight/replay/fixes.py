"""What to write so that a request which nothing took would be taken: in a sentence, from its nearest miss. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gatewayproxy.insight.misses import Contender, Miss, Predicate
from gatewayproxy.insight.outcomes import is_stream
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.plan import Match, PathKind
from gatewayproxy.routing.match import host_key

__all__ = ["fix_for", "nearest_of"]

# Where no rule was asked, or none came near.
_BY_REASON: Final = {
    "no_port": "no listener has this port: add one, or let this traffic go elsewhere",
    "wrong_protocol": "the port speaks another protocol: add a listener for this one",
    "no_route": "attach a route with this host to the listener",
    "no_rule": "add a rule for it",
    "misdirected": "the host belongs to another listener than the server name: let one certificate not name both",
    "ambiguous_path": "the path has two readings that lead to different rules: let both lead to one, or leave it",
    "unknown_sni": "add a listener, or a hostname, for this server name",
    "no_certificate": "mend the listener that has this server name: its status says what it lacks",
    "no_sni": "add a listener without a hostname, for clients that send no server name",
}


def nearest_of(missed: Sequence[Miss], request: Request) -> Miss | None:
    """Return the miss to mend: an exact path that *request* goes on from, though a wider rule came nearer."""
    return next((miss for miss in missed if _goes_on(miss, request)), missed[0] if missed else None)


def _goes_on(miss: Miss, request: Request) -> bool:
    match = miss.contender.match
    if miss.failed is not Predicate.PATH or not isinstance(match, Match) or match.path_kind is not PathKind.EXACT:
        return False
    return match.path != b"/" and match.method in (None, request.method) and _is_under(request.path, match.path)


def fix_for(miss: Miss | None, request: Request, reason: str) -> str:
    """Return what to do about *request*, refused for *reason*; *miss*: the nearest of all, if there is any."""
    if miss is None and reason == "no_route" and is_stream(request):
        return "attach a route to the listener"
    if miss is None or reason not in ("no_rule", "no_route"):
        return _BY_REASON.get(reason, "")
    contender = miss.contender
    rule = f"rule {contender.rule.index} of {contender.route.key}"
    match miss.failed:
        case Predicate.PORT:
            return f"attach {contender.route.key} to a listener of the port that was asked, too"
        case Predicate.LISTENER:
            return f"attach {contender.route.key} to the listener that owns the host, too"
        case Predicate.HOST:
            host = host_key(request.authority).decode("latin-1") or "the host"
            return f"add {host} to the hostnames of {contender.route.key}, if {contender.listener.key} is to serve it"
        case Predicate.PATH:
            return _path_fix(contender, request, rule)
        case Predicate.METHOD:
            return f"add a match for {_text(request.method)} to {rule}, or drop the method from its match"
        case Predicate.HEADER | Predicate.QUERY:
            return f"add a rule behind {rule} for requests without that {miss.failed.name.lower()}: it has no fallback"
        case _:
            return _BY_REASON.get(reason, "")


def _path_fix(contender: Contender, request: Request, rule: str) -> str:
    match, path = contender.match, request.path
    if not isinstance(match, Match):
        return f"add a match for the call {_text(path)} to {rule}, if it is to go there"
    if path.lower() == match.path.lower() or (_is_under(path.lower(), match.path.lower()) and _is_prefix(match)):
        return f"paths are compared as written, capitals too: mend the client, or add {_text(path)} to {rule}"
    if match.path_kind is PathKind.EXACT and path.rstrip(b"/") == match.path.rstrip(b"/"):
        return f"an exact path is compared with its last /, too: add {_text(path)} to {rule}, or make it a prefix"
    if match.path_kind is PathKind.EXACT and _is_under(path, match.path):
        return f"make {_text(match.path)} a prefix in {rule}, if what lies below it is to go there"
    first = b"/" + path[1:].partition(b"/")[0]
    return f"add a match for {_text(first)} to {rule} or to a rule of its own, if it is to be served"


def _is_prefix(match: Match) -> bool:
    return match.path_kind is PathKind.PREFIX


def _is_under(path: bytes, prefix: bytes) -> bool:
    return path.startswith(prefix.rstrip(b"/") + b"/")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
