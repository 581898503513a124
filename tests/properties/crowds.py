"""Requests by the hundred to the small world that plans are drawn from: a plan and one number say them all."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from gatewayproxy.insight.requests import Request
from gatewayproxy.model.plan import GRPCMatch, Listener, Match, PathKind, Plan
from gatewayproxy.model.protocols import Protocol

SEEDS = st.integers(0, 2**32)
CLEAR, SECURE = 80, 8080
# A small world, so that things meet.
HOSTS = ["a", "b.a", "a.b.a", "b.b.a", "a.b.b.a", "ab.a", "b", "a.b", "c"]
PATHS = [b"/", b"/a", b"/a/", b"/a/b", b"/a/b/", b"/ab", b"/b", b"/b/a", b"/a.b/ab", b"/a/b/c", b"//a", b"/a//b"]
VALUES = [b"1", b"1", b"2", b"a b", b"", b"\xe9"]
METHODS = [b"GET"] * 10 + [b"POST"] * 6 + [b"OPTIONS", b"OPTIONS", b"get", b"TRACE"]
QUERIES = [b"", b"p=1", b"p=1&q+q=1", b"q+q=1&p=1", b"p=2", b"q+q=a%20b&p=2", b"p=a+b&q%20q=", b"p"]
USUAL_PATHS = [path for path in PATHS if b"//" not in path]
PREFLIGHT = {b"Origin": b"https://x.a", b"Access-Control-Request-Method": b"GET"}

Wish = tuple[Listener, str, Match | GRPCMatch]


def crowd(plan: Plan, seed: int, n: int = 100) -> list[Request]:
    """Return *n* requests with one reading, whose server name is their host's; most ask for what a match wants."""
    chance = Random(seed)
    wishes = [
        (listener, hostname, match)
        for listener in plan.listeners
        for attachment in listener.attachments
        for hostname, _ in attachment.hostnames
        for rule in attachment.route.rules
        for match in rule.matches
    ]
    return [_one(chance, chance.choice(wishes) if wishes and chance.random() < 0.7 else None) for _ in range(n)]


def _one(chance: Random, wish: Wish | None) -> Request:
    host, tls = chance.choice(HOSTS), chance.random() < 0.5
    path, query, method = chance.choice(USUAL_PATHS), chance.choice(QUERIES), chance.choice(METHODS)
    fields = {name: chance.choice(VALUES) for name in (b"x", b"y") if chance.random() < 0.5}
    if wish is not None:
        listener, hostname, match = wish
        tls = listener.protocol is Protocol.HTTPS
        host = hostname.replace("*", chance.choice(["b", "a.b"])) or host
        path = _path(match, chance) or path
        fields |= {test.name: test.value for test in match.headers if not test.regex and chance.random() < 0.9}
        if isinstance(match, Match):
            query = _query(match) if chance.random() < 0.8 else query
            method = match.method or method
    if chance.random() < 0.1:
        fields |= PREFLIGHT
    authority = chance.choice([host, host, host.upper() + ".:80"]).encode()
    return Request(
        port=SECURE if tls else CLEAR,
        address=chance.choice(["127.0.0.9", "127.0.0.9", "127.0.0.2"]),
        tls=tls,
        server_name=host.encode() if tls else None,
        method=method,
        authority=authority,
        headers=tuple(fields.items()),
    ).with_target(path + b"?" + query if query else path)


def _path(match: Match | GRPCMatch, chance: Random) -> bytes:
    """Return a path that *match* wants; b"" where it has a pattern, or wants one that is refused."""
    if isinstance(match, GRPCMatch):
        return b"" if match.regex else b"/%b/%b" % (match.service or b"a", match.method or b"b")
    if match.path_kind is PathKind.REGEX or b"//" in match.path:
        return b""
    more = [b"", b"", b"/b"] if match.path_kind is PathKind.PREFIX else [b""]
    return (match.path.rstrip(b"/") if match.path_kind is PathKind.PREFIX else match.path) + chance.choice(more) or b"/"


def _query(match: Match) -> bytes:
    plain = [b"%b=%b" % (test.name, test.value) for test in match.query if not test.regex and test.value.isalnum()]
    return b"&".join(plain).replace(b" ", b"+")
