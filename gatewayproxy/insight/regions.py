"""Regions: sets of requests, by host, path, method, header fields and query parameters; and their arithmetic. Pure.

    region = region_of(match, "shop.example")   # what a match of a rule takes, looked at alone
    both = one.meet(other)                      # what is in both, None: nothing
    parts = one.minus(other)                    # what is left of one: regions that have nothing in common
    example_of(region)                          # a Request, EMPTY (there is none), or UNKNOWN (none was found)
    region.has(request)                         # asked of a request that was read
    region.text                                 # "host shop.example, path under /cart but not /cart/x, method GET"

A region is a conjunction: for each Dim (say, the header field x-beta) the Texts it may be; one that is not named may be
anything. So `meet` is a region again, and `minus` several. Exact for everything but patterns; for those
`insight.examples` proves most sets to be empty or finds a text, and answers UNKNOWN where a bound stops it.

What a region says of paths is said of paths with one reading (docs/decisions/002-path-ambiguity.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple
from urllib.parse import quote_from_bytes

from gatewayproxy.compiler.lower.precedence import prefix_key
from gatewayproxy.insight.examples import EMPTY, UNKNOWN, Nothing, example
from gatewayproxy.insight.requests import Request
from gatewayproxy.insight.texts import ABSENT, ANY, PRESENT, How, Test, Texts
from gatewayproxy.insight.wording import decoded
from gatewayproxy.model.plan import GRPCMatch, HeaderTest, Match, PathKind, QueryTest
from gatewayproxy.routing.match import host_key, query_params
from gatewayproxy.routing.table import Candidate

__all__ = [
    "ABSENT", "ANY", "EMPTY", "EVERYTHING", "HOST", "METHOD", "PATH", "PRESENT", "UNKNOWN", "Condition", "Dim", "How",
    "Nothing", "Part", "Region", "Test", "Texts", "candidate_conditions", "example_of", "host_test", "region_of",
    "region_where", "text_of",
]  # fmt: skip


class Part(IntEnum):
    """A part of a request, in the order in which regions name them."""

    HOST = 0
    PATH = 1
    METHOD = 2
    HEADER = 3
    QUERY = 4


class Dim(NamedTuple):
    """A part of a request that is one text; *name* is that of a header field (lower-case) or a query parameter."""

    part: Part
    name: bytes = b""


HOST: Final = Dim(Part.HOST)  # in `host_key` form
PATH: Final = Dim(Part.PATH)
METHOD: Final = Dim(Part.METHOD)


class Condition(NamedTuple):
    """What a rule asks of one part of a request."""

    dim: Dim
    test: Test


@dataclass(frozen=True, slots=True)
class Region:
    """A set of requests; *parts* has no Dim that may be anything."""

    parts: Mapping[Dim, Texts] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(frozenset(self.parts.items()))

    def of(self, dim: Dim) -> Texts:
        """Return what *dim* may be."""
        return self.parts.get(dim, ANY)

    def narrowed(self, condition: Condition, passes: bool) -> Region | None:
        """Return the requests that pass *condition*, or those that do not; None: there is none."""
        dim, test = condition
        before = self.of(dim)
        texts = before.narrowed(test, passes)
        if texts is None:
            return None
        return self if texts == before else Region({**self.parts, dim: texts})

    def meet(self, other: Region) -> Region | None:
        """Return what is in both."""
        parts = dict(self.parts)
        for dim, texts in other.parts.items():
            met = self.of(dim).meet(texts)
            if met is None:
                return None
            parts[dim] = met
        return Region(parts)

    def minus(self, other: Region) -> list[Region]:
        """Return what is not in *other*, as regions that have nothing in common."""
        if self.is_apart(other):
            return [self]
        left: list[Region] = []
        inside: Region | None = self
        for condition, passes in other.conditions():
            if inside is not None:
                outside, inside = inside.narrowed(condition, not passes), inside.narrowed(condition, passes)
                left += [outside] if outside is not None else []
        return left if inside is not None else [self]

    def is_apart(self, other: Region) -> bool:
        """Return whether both are known to have nothing in common. PERF: most rules of one path are told apart so."""
        for dim, texts in other.parts.items():
            own = self.parts.get(dim)
            if own is not None and own.holds and texts.holds and own.holds[0].apart(texts.holds[0]):
                return True
        return False

    def conditions(self) -> Iterator[tuple[Condition, bool]]:
        """Yield every condition, and whether it is to hold or to fail."""
        for dim, texts in sorted(self.parts.items(), key=lambda each: each[0]):
            yield from ((Condition(dim, test), True) for test in texts.holds)
            yield from ((Condition(dim, test), False) for test in texts.fails)

    def has(self, request: Request) -> bool:
        """Return whether *request* is one of these."""
        return all(texts.has(_asked(request, dim)) for dim, texts in self.parts.items())

    @property
    def is_open(self) -> bool:
        """Return whether there are patterns in it, so that only an example shows that it is not empty."""
        return any(texts.is_open for texts in self.parts.values())

    @property
    def text(self) -> str:
        """Return it in words; "any request" where nothing is said."""
        return ", ".join(text_of(dim, texts) for dim, texts in sorted(self.parts.items())) or "any request"


EVERYTHING: Final = Region()


def _asked(request: Request, dim: Dim) -> bytes | None:
    match dim.part:
        case Part.HOST:
            return host_key(request.authority)
        case Part.PATH:
            return request.path
        case Part.METHOD:
            return request.method
        case Part.HEADER:
            return request.field(dim.name)
        case Part.QUERY:
            return query_params(request.query).get(dim.name)


# --- what rules ask for


def region_where(conditions: Iterable[Condition]) -> Region | None:
    """Return the requests that pass all *conditions*; None: they contradict each other."""
    region: Region | None = EVERYTHING
    for condition in conditions:
        region = region.narrowed(condition, True) if region is not None else None
    return region


def host_test(hostname: str) -> Test | None:
    """Return what *hostname* ("*.example.com", "shop.example"; "" is any) asks of a host; None: nothing."""
    if not hostname:
        return None
    if hostname.startswith("*."):
        return Test(How.BELOW, hostname[1:].encode("ascii"))
    return Test(How.EQUALS, hostname.encode("ascii"))


def region_of(match: Match | GRPCMatch, hostname: str = "") -> Region | None:
    """Return the requests that *match*, looked at alone, takes for hosts of *hostname*; None: it contradicts itself."""
    host = host_test(hostname)
    conditions = [Condition(HOST, host)] if host is not None else []
    if isinstance(match, GRPCMatch):
        conditions += [Condition(PATH, test) for test in _call_tests(match.service, match.method, match.regex)]
    else:
        conditions.append(Condition(PATH, _path_test(match)))
        if match.method is not None:
            conditions.append(Condition(METHOD, Test(How.EQUALS, match.method)))
        conditions += _fields(Part.QUERY, match.query)
    return region_where([*conditions, *_fields(Part.HEADER, match.headers)])


def candidate_conditions(candidate: Candidate) -> list[Condition]:
    """Return what *candidate* of a table asks for behind the key of its path."""
    conditions: list[Condition] = []
    if candidate.regex is not None:
        conditions.append(Condition(PATH, Test(How.MATCHES, candidate.regex)))
    if candidate.call is not None:
        conditions += [Condition(PATH, test) for test in _call_tests(*candidate.call)]
    if candidate.method is not None:
        conditions.append(Condition(METHOD, Test(How.EQUALS, candidate.method)))
    return [*conditions, *_fields(Part.HEADER, candidate.headers), *_fields(Part.QUERY, candidate.query)]


def _path_test(match: Match) -> Test:
    match match.path_kind:
        case PathKind.EXACT:
            return Test(How.EQUALS, match.path)
        case PathKind.REGEX:
            return Test(How.MATCHES, match.path)
        case PathKind.PREFIX:
            return Test(How.UNDER, prefix_key(match.path))


def _call_tests(service: bytes, method: bytes, regex: bool) -> list[Test]:
    tests = []
    if service:
        tests.append(Test(How.SERVICE_MATCHES if regex else How.SERVICE, service))
    if method:
        tests.append(Test(How.CALL_MATCHES if regex else How.CALL, method))
    return tests


def _fields(part: Part, tests: Iterable[HeaderTest | QueryTest]) -> list[Condition]:
    return [
        Condition(Dim(part, name), Test(How.MATCHES if regex else How.EQUALS, value)) for name, value, regex in tests
    ]


# --- examples


def example_of(region: Region, request: Request | None = None) -> Request | Nothing:
    """Return a request of *region*, otherwise like *request*; EMPTY: there is none; UNKNOWN: none was found."""
    found: dict[Dim, bytes | None] = {}
    for dim in (HOST, PATH, METHOD, *(dim for dim in region.parts if dim.part >= Part.HEADER)):
        text = example(dim.part.name, region.of(dim))
        if isinstance(text, Nothing):
            return text
        found[dim] = text
    headers = [(dim.name, text) for dim, text in found.items() if dim.part is Part.HEADER and text is not None]
    named = dict(headers).get(b"host")
    authority = found[HOST] or b"" if named is None else named
    query = b"&".join(
        f"{quote_from_bytes(dim.name, '')}={quote_from_bytes(text, '')}".encode()
        for dim, text in sorted(found.items(), key=lambda each: each[0])
        if dim.part is Part.QUERY and text is not None
    )
    made = (request or Request())._replace(
        method=found[METHOD] or b"GET",
        authority=authority,
        headers=tuple(sorted(each for each in headers if each[0] != b"host")),
    )
    made = made.with_target((found[PATH] or b"/") + (b"?" + query if query else b""))
    return made if region.has(made) else UNKNOWN


# --- in words


def text_of(dim: Dim, texts: Texts) -> str:
    """Return what *dim* may be, in words: "path under /cart but not under /cart/x", "header x-beta absent or not 1"."""
    what = "query parameter" if dim.part is Part.QUERY else dim.part.name.lower()
    title = f"{what} {decoded(dim.name)}" if dim.name else what
    if texts == ABSENT:
        return f"{title} absent"
    words = " ".join([title, " and ".join(_passes(dim, test) for test in texts.holds)]).rstrip()
    if not texts.fails:
        return words
    but = [_passes(dim, test).removeprefix("= ") for test in texts.fails]
    joined = " nor ".join([*but[:SHOWN], *([f"{len(but) - SHOWN} more"] if len(but) > SHOWN else [])])
    if texts.holds:
        return f"{words} but not {joined}"
    return f"{title} {'absent or ' if dim.part >= Part.HEADER else ''}not {joined}"


SHOWN: Final = 4  # exceptions of a set that are named; the rest is counted


def _passes(dim: Dim, test: Test) -> str:
    if test.how is How.PRESENT:
        return "present"
    shown = "/" if dim == PATH and test.how is How.UNDER and not test.text else decoded(test.text) or '""'
    return f"{test.how.value} {'*' if test.how in (How.BELOW, How.LABEL) else ''}{shown}"
