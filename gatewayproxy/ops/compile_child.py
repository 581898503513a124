"""The compiling child: `python -m gatewayproxy.ops.compile_child FD`.

Answers COMPILE frames one after the other and keeps the compiler's cache between them. Whatever manifests do to it,
memory included, ends with this process: the supervisor starts another, tells it what serves (MEMORY), and the table in
force goes on.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
from typing import Any, Final

from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.channel import OUT_OF_MEMORY, ChannelError, Kind, from_json, read_frame, to_json, write_frame
from gatewayproxy.ops.history_texts import tell
from gatewayproxy.ops.reload import Outcome, Reloader

__all__ = ["NICENESS", "bound_memory", "main"]

# PERF: benchmarks/reload stall, 10,000 routes, all on one core: longest wait 19-33 ms, so 12-15.
NICENESS: Final = 10


def _answer(sock: socket.socket, outcome: Outcome) -> None:
    for part in outcome.slices:
        write_frame(sock, Kind.TABLE_SLICE, part)
    write_frame(sock, Kind.STATUS, outcome.status)
    write_frame(sock, Kind.MEMORY, outcome.memory)
    write_frame(sock, Kind.COMPILE, to_json(outcome.head))


def _serve(sock: socket.socket) -> None:
    _, payload = read_frame(sock)
    settings: dict[str, Any] = from_json(payload)
    bound_memory(settings["memory_bytes"])
    options = CompileOptions(
        controller_name=settings["controller_name"],
        cluster_domain=settings["cluster_domain"],
        port_map=dict(settings["port_map"]),
        address_pool=tuple(settings["address_pool"]),
    )
    reloader = Reloader(settings["paths"], options, require_tests=settings["require_tests"])
    documents: list[bytes] = []  # what the next request is about, in the place of what is on disk
    # PERF: compiling makes millions of objects and no cycles; collecting took 1.2 of 5.4 CPU s for 10,000 HTTPRoutes.
    gc.disable()
    while True:
        kind, payload = read_frame(sock)
        if kind is Kind.MEMORY:
            reloader.recall(payload)
        elif kind is Kind.DOCUMENTS:
            documents.append(payload)
        elif kind is Kind.TELL:
            write_frame(sock, Kind.TELL, tell(from_json(payload), documents, reloader.options))
            documents.clear()
        else:
            _answer(sock, reloader.compile(from_json(payload), documents[0] if documents else b""))
            documents.clear()
        gc.collect(0)  # nobody waits now: what an odd path may have left, among the new objects only


def bound_memory(n_bytes: int) -> None:
    """Have this process fail with MemoryError where it would need more than *n_bytes* of address space."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def main() -> None:
    """Serve the supervisor until it is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        try:
            _serve(sock)
        except ChannelError:
            return
        except MemoryError:
            sys.exit(OUT_OF_MEMORY)


if __name__ == "__main__":
    main()
