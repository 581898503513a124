"""Watch the state of every downstream HTTP/1.1 connection: a change that the table does not have is an error."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.dataplane.protocols.state import NEXT, State

__all__ = ["Watched", "watch_states"]


class Watched:
    """Stands for `Http1Connection.state`; *seen* are the changes so far, *illegal* those that may not be."""

    def __init__(self) -> None:
        self._slot: Any = Http1Connection.__dict__["state"]
        self.seen: set[tuple[State, State]] = set()
        self.illegal: set[tuple[State, State]] = set()

    def __get__(self, connection: Http1Connection | None, owner: type) -> Any:
        return self if connection is None else self._slot.__get__(connection, owner)

    def __set__(self, connection: Http1Connection, state: State) -> None:
        before = self._slot.__get__(connection) if hasattr(connection, "keep_alive") else state
        self._slot.__set__(connection, state)
        if before is not state:
            self.seen.add((before, state))
            if state not in NEXT[before]:
                self.illegal.add((before, state))


def watch_states(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Watch for the time of a test."""
    watched = Watched()
    monkeypatch.setattr(Http1Connection, "state", watched)
    return watched
