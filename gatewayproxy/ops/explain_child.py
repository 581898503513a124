"""The explaining child: `python -m gatewayproxy.ops.explain_child FD`.

It compiles once what is in force, from the texts that the supervisor keeps of it (`ops.memory`), and then answers
EXPLAIN frames one after the other, as `gatewayproxy explain` would. Of the compiling child it asks nothing, so that no
reload waits for a question. What manifests name and no text holds, certificates, is read anew: the digest tells whether
the table is the one that serves, and an answer by another one says so.
"""

from __future__ import annotations

import datetime
import gc
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from gatewayproxy.errors import UsageError
from gatewayproxy.insight import explain, offline
from gatewayproxy.insight.command_line import parse_words
from gatewayproxy.insight.decision import Decision, decide
from gatewayproxy.insight.offline import Compiled
from gatewayproxy.insight.picture import to_svg
from gatewayproxy.insight.ports import PortTable
from gatewayproxy.model.names import BindKey
from gatewayproxy.ops import memory
from gatewayproxy.ops.channel import Kind, from_json, read_frame, write_frame
from gatewayproxy.ops.confined import bound_memory, compile_options, serve_confined
from gatewayproxy.ops.sources import read_files

_UNLIKE: Final = (
    "files that manifests name, such as certificates, have changed since this was loaded: told is what a reload of the "
    "same manifests would do"
)
_TYPES: Final = {"text": "text/plain; charset=utf-8", "svg": "image/svg+xml"}


class _Oracle:
    """What is in force, and the answers; *note*: what to say of them if it is not quite that."""

    def __init__(self, compiled: Compiled, note: str, trusted_hops: int) -> None:
        self._compiled = compiled
        self._ports = PortTable(compiled.table)
        self._note = note
        self._trusted_hops = trusted_hops

    def answer(self, question: Mapping[str, Any]) -> bytes:
        """Return the payload of the answer to *question*, see `ops.explaining`."""
        try:
            request = parse_words(question["words"])
        except UsageError as error:
            return _reply(400, "text/plain; charset=utf-8", f"{error}\n")
        plan, status = self._compiled.plan, self._compiled.status
        decision = decide(self._ports, request, plan, status, trusted_hops=self._trusted_hops)
        forms: dict[str, Callable[[], str]] = {
            "text": lambda: self._text(decision, every=question["all"]),
            "svg": lambda: to_svg(decision),
        }
        if question["format"] in forms:
            return _reply(200, _TYPES[question["format"]], forms[question["format"]]())
        tree = {"generation": self._compiled.table.generation, "note": self._note, **explain.to_tree(decision)}
        tree |= {name: form() for name, form in forms.items() if name in question["with"]}
        return _reply(200, "application/json", json.dumps(tree, indent=2) + "\n")

    def _text(self, decision: Decision, *, every: bool) -> str:
        lines = ["", f"in force: generation {self._compiled.table.generation}", *filter(None, [self._note])]
        return explain.to_text(decision, every=every) + "\n".join(lines) + "\n"


def _reply(status: int, content_type: str, body: str) -> bytes:
    """Return the payload of an answer: a line that the supervisor reads, and what it passes on."""
    return f"{status} {content_type}\n{body}".encode("utf-8", "backslashreplace")


def _oracle(settings: Mapping[str, Any], payload: bytes) -> _Oracle:
    last = memory.unpack(payload)
    options = replace(
        compile_options(settings),
        now=datetime.datetime.now(datetime.UTC).timestamp(),
        generation=settings["generation"],
        unbindable={BindKey(*key): why for key, why in settings["unbound"]},
    )
    compiled = offline.restored(last.sources, last.held, options, read_files)
    note = "" if compiled.table.digest == settings["digest"] else _UNLIKE
    return _Oracle(compiled, note, settings["trusted_hops"])


def _serve(sock: socket.socket) -> None:
    settings: dict[str, Any] = from_json(read_frame(sock)[1])
    bound_memory(settings["memory_bytes"])
    gc.disable()  # compiling makes millions of objects and no cycles
    oracle = _oracle(settings, read_frame(sock)[1])
    gc.freeze()
    gc.enable()
    write_frame(sock, Kind.EXPLAIN)
    while True:
        write_frame(sock, Kind.EXPLAIN, oracle.answer(from_json(read_frame(sock)[1])))


if __name__ == "__main__":
    serve_confined(_serve)
