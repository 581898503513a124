"""Sets of texts: what one part of a request may be, said by tests that hold and tests that fail. Pure.

A Test is what rules ask of a text: to be there, to equal another, to lie under a path, below a domain, to match a
pattern. Texts is a conjunction of tests, some negated. `narrowed` is its only constructor beside the whole set: it
drops what follows from the rest and returns None where it can prove that nothing is left. Without patterns it always
can; with patterns `insight.examples` looks for a text, and mostly knows when there is none.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from gatewayproxy.insight.expressions import beginning
from gatewayproxy.routing.patterns import matches

__all__ = ["ABSENT", "ANY", "PRESENT", "How", "Test", "Texts"]


class How(Enum):
    """How a test compares."""

    PRESENT = "present"
    EQUALS = "="
    UNDER = "under"  # a path: the text itself, or what goes on with "/"; b"" is every path
    BELOW = "below"  # a host: one or more labels before the text, which begins with "."
    LABEL = "one label below"  # a host: one label before the text
    MATCHES = "~"  # RE2, in full
    SERVICE = "service ="  # of a path "/service/method", which is parted at its second "/"
    SERVICE_MATCHES = "service ~"
    CALL = "method ="
    CALL_MATCHES = "method ~"

    __hash__ = object.__hash__  # PERF: that of Enum is written in Python


_PATTERNS: Final = frozenset((How.MATCHES, How.SERVICE_MATCHES, How.CALL_MATCHES))
_SERVICES: Final = frozenset((How.SERVICE, How.SERVICE_MATCHES))
_OPEN: Final = _PATTERNS | _SERVICES | {How.CALL}
_HOSTS: Final = frozenset((How.BELOW, How.LABEL))


class Test(NamedTuple):
    """One question about a text that may be absent; all but PRESENT are answered no then, and so is that."""

    how: How
    text: bytes = b""

    @property
    def is_open(self) -> bool:
        """Return whether it takes a look at texts to tell what passes: patterns, and names of gRPC calls."""
        return self.how in _OPEN

    def holds(self, text: bytes | None) -> bool:
        """Return whether *text* passes."""
        expected = self.text
        if text is None:
            return False
        match self.how:
            case How.PRESENT:
                return True
            case How.EQUALS:
                return text == expected
            case How.UNDER:
                return not expected or text == expected or text.startswith(expected + b"/")
            case How.BELOW:
                return len(text) > len(expected) and text.endswith(expected)
            case How.LABEL:
                return len(text) > len(expected) and text.endswith(expected) and b"." not in text[: -len(expected)]
            case How.MATCHES:
                return matches(expected, text)
            case _:
                service, _, method = text[1:].partition(b"/")
                name = service if self.how in _SERVICES else method
                return matches(expected, name) if self.how in _PATTERNS else name == expected

    def within(self, other: Test) -> bool:
        """Return whether every text that passes is known to pass *other*."""
        if self.how is How.EQUALS:
            return other.holds(self.text)
        if self == other or other.how is How.PRESENT:
            return True
        if self.how is How.UNDER and other.how is How.UNDER:
            return other.holds(self.text)
        if self.how in _HOSTS and other.how is How.BELOW:
            return self.text.endswith(other.text)
        return self.how in _OPEN and other == _EVERY_PATH

    def apart(self, other: Test) -> bool:
        """Return whether no text is known to pass both. Tests of hosts nest, or are apart; of paths, as they begin."""
        if self.how is How.EQUALS:
            return not other.holds(self.text)
        if other.how is How.EQUALS:
            return not self.holds(other.text)
        if self.how in _HOSTS and other.how in _HOSTS:
            return not self.within(other) and not other.within(self)
        one, two = self._begins(), other._begins()
        return not one.startswith(two) and not two.startswith(one)

    def _begins(self) -> bytes:
        """Return what every text that passes is known to begin with, when a slash is put behind it."""
        if self.how is How.UNDER:
            return self.text and self.text + b"/"
        return beginning(self.text) if self.how is How.MATCHES else b""


_EVERY_PATH: Final = Test(How.UNDER)
PRESENT: Final = Test(How.PRESENT)


class Texts(NamedTuple):
    """The texts that pass all of *holds* and none of *fails*; no text at all passes none."""

    holds: tuple[Test, ...] = ()
    fails: tuple[Test, ...] = ()

    @property
    def is_open(self) -> bool:
        """Return whether it takes a look at texts to tell if there is one."""
        return bool(self.holds) and any(test.is_open for test in (*self.holds, *self.fails))

    @property
    def only(self) -> bytes | None:
        """Return the one text that is allowed, None where there is a choice."""
        return self.holds[0].text if self.holds and self.holds[0].how is How.EQUALS else None

    def has(self, text: bytes | None) -> bool:
        """Return whether *text* is one of these; None: there is none."""
        return all(test.holds(text) for test in self.holds) and not any(test.holds(text) for test in self.fails)

    def narrowed(self, test: Test, passes: bool) -> Texts | None:
        """Return those that pass *test*, or do not; None: none does."""
        return self._passing(test) if passes else self._failing(test)

    def meet(self, other: Texts) -> Texts | None:
        """Return what is in both, None where nothing is."""
        if self == ANY:
            return other
        met: Texts | None = self
        for passes, tests in ((True, other.holds), (False, other.fails)):
            for test in tests:
                met = met.narrowed(test, passes) if met is not None else None
        return met

    def _passing(self, test: Test) -> Texts | None:
        if any(test.apart(each) for each in self.holds) or any(test.within(each) for each in self.fails):
            return None
        if any(each.within(test) for each in self.holds):
            return self
        kept = tuple(each for each in self.holds if not test.within(each))
        left = tuple(each for each in self.fails if not each.apart(test))
        # What narrows without a look at texts stands first.
        return Texts((*kept, test) if test.is_open else (test, *kept), left)

    def _failing(self, test: Test) -> Texts | None:
        if any(each.within(test) for each in self.holds):
            return None
        if any(test.apart(each) for each in self.holds) or any(test.within(each) for each in self.fails):
            return self
        return Texts(self.holds, (*(each for each in self.fails if not each.within(test)), test))


ANY: Final = Texts()
ABSENT: Final = Texts(fails=(PRESENT,))
