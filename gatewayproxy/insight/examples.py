"""example(): a text of a set of texts, the plainest there is; or that there is none. Pure.

Without patterns it is written down. With patterns it is searched for, among what a client can send in that part of a
request: `insight.languages` finds the shortest, or shows that there is none. What cannot be read, or is too large to
search, is UNKNOWN: callers then say that they do not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Final

from gatewayproxy.insight.expressions import NotRead, read_pattern
from gatewayproxy.insight.languages import ALL_BYTES, Language, Node, TooLarge
from gatewayproxy.insight.texts import How, Test, Texts

__all__ = ["EMPTY", "UNKNOWN", "Nothing", "example"]


MAX_EXCEPTIONS: Final = 100  # patterns that a text must not match; beyond, what the first guess is not is UNKNOWN


class Nothing(Enum):
    """Why there is no example."""

    EMPTY = "there is none"
    UNKNOWN = "none was found"


EMPTY: Final = Nothing.EMPTY
UNKNOWN: Final = Nothing.UNKNOWN

# What a client may send, most ordinary form first (wire.target, RFC 9110 §5.5; queries can encode any octet).
_SEGMENT: Final = rb"[A-Za-z0-9\-_~!$&'()*+,=:@|\[\]][A-Za-z0-9\-_~!$&'()*+,=:@|\[\].]*"
_SHAPES: Final = {
    "HOST": (rb"[a-z0-9]([a-z0-9\-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9\-]*[a-z0-9])?)*",),
    "PATH": (rb"/(" + _SEGMENT + rb"(/" + _SEGMENT + rb")*/?)?", rb"/[A-Za-z0-9\-._~!$&'()*+,;=:@/%|\[\]]*"),
    "METHOD": (rb"[A-Za-z0-9!#$%&'*+\-.^_`|~]+",),
    "HEADER": (rb"([!-~]([ !-~]*[!-~])?)?", rb"([!-~\x80-\xff]([\t !-~\x80-\xff]*[!-~\x80-\xff])?)?"),
    "QUERY": (rb"[ -~]*", rb"[\x01-\xff]*"),
}
_METHODS: Final = (b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"HEAD")


def example(part: str, texts: Texts) -> bytes | Nothing | None:
    """Return a text of *texts*, of a *part* of a request (a name of `regions.Part`); None: to leave it out will do."""
    if part in ("HEADER", "QUERY") and texts.has(None):
        return None
    plain = next((text for text in _plain(part, texts) if texts.has(text)), None)
    if plain is not None:
        return plain
    return _searched(part, texts)


def _plain(part: str, texts: Texts) -> Iterator[bytes]:
    """Yield texts that do unless they are among the exceptions, or patterns ask for more."""
    first = texts.holds[0] if texts.holds else Test(How.PRESENT)
    n_tried = len(texts.fails) + 2  # each exception without a pattern rules out one of these at most
    names = [b"x", *(b"x%d" % number for number in range(2, n_tried + 2))]
    match first.how:
        case How.EQUALS:
            yield first.text
        case How.UNDER:
            yield first.text or b"/"
            yield from (b"%b/%b" % (first.text, name) for name in names)
        case How.BELOW | How.LABEL:
            yield from (name + first.text for name in names)
        case _:
            yield from {"HOST": _hosts(), "METHOD": iter(_METHODS), "PATH": iter((b"/",))}.get(part, iter((b"1",)))
            yield from (b"/" + name if part == "PATH" else name for name in names)


def _hosts() -> Iterator[bytes]:
    yield b"other.example"
    yield from (b"other%d.example" % number for number in range(2, 50))


def _searched(part: str, texts: Texts) -> bytes | Nothing:
    """Return a text of *texts* that a search finds."""
    # PERF: most exceptions are none of what is to hold, whose own example does: 100 patterns, 6.8 -> 0.9 s.
    wide = _search(part, Texts(texts.holds))
    if not isinstance(wide, bytes) or texts.has(wide):
        return wide
    return _search(part, texts) if sum(test.is_open for test in texts.fails) <= MAX_EXCEPTIONS else UNKNOWN


@lru_cache(maxsize=4_096)  # the same sets are asked for again and again, in other hosts and behind other conditions
def _search(part: str, texts: Texts) -> bytes | Nothing:
    for shape in _SHAPES[part]:
        language = Language()
        try:
            wanted = [read_pattern(language, shape), *(_expression(language, test) for test in texts.holds)]
            unwanted = [language.no(_expression(language, test)) for test in texts.fails]
            found = language.shortest(language.both(*wanted, *unwanted))
        except (NotRead, TooLarge):
            return UNKNOWN
        if found is not None:
            return found if texts.has(found) else UNKNOWN
    return EMPTY


def _expression(language: Language, test: Test) -> Node:
    """Return the texts that pass *test*."""
    match test.how:
        case How.PRESENT:
            return language.anything
        case How.EQUALS:
            return language.literal(test.text)
        case How.UNDER:
            slashed = language.then(language.literal(b"/"), language.anything)
            return language.then(language.literal(test.text), language.maybe(slashed))
        case How.BELOW:
            return language.then(language.one_of(ALL_BYTES), language.anything, language.literal(test.text))
        case How.LABEL:
            label = language.one_of(ALL_BYTES & ~(1 << 0x2E))
            return language.then(label, language.star(label), language.literal(test.text))
        case How.MATCHES:
            return read_pattern(language, test.text)
        case _:
            return _called(language, test)


def _called(language: Language, test: Test) -> Node:
    by_pattern = test.how in (How.SERVICE_MATCHES, How.CALL_MATCHES)
    name = read_pattern(language, test.text) if by_pattern else language.literal(test.text)
    slash, part = language.literal(b"/"), language.star(language.one_of(ALL_BYTES & ~(1 << 0x2F)))
    if test.how in (How.SERVICE, How.SERVICE_MATCHES):
        behind = language.maybe(language.then(slash, language.anything))
        return language.then(slash, language.both(name, part), behind)
    named = language.then(slash, part, slash, name)
    return language.either(named, language.then(slash, part)) if language.takes_nothing(name) else named
