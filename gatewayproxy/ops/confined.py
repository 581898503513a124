"""What the children that compile have in common: they give way to traffic, and are bounded in memory.

The supervisor starts them with the descriptor of a channel as their argument (`ops.child`), and handles all signals.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.channel import OUT_OF_MEMORY, ChannelError

__all__ = ["bound_memory", "compile_options", "serve_confined"]

# PERF: benchmarks/reload stall, 10,000 routes, all on one core: longest wait 19-33 ms, so 12-15.
NICENESS: Final = 10


def serve_confined(serve: Callable[[socket.socket], None]) -> None:
    """Have *serve* answer the supervisor until it is gone; exit with OUT_OF_MEMORY where memory does not suffice."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        try:
            serve(sock)
        except ChannelError:
            return
        except MemoryError:
            sys.exit(OUT_OF_MEMORY)


def bound_memory(n_bytes: int) -> None:
    """Have this process fail with MemoryError where it would need more than *n_bytes* of address space."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def compile_options(settings: Mapping[str, Any]) -> CompileOptions:
    """Return what *settings*, the first frame, say of compiling: what the operator chose, for the whole run."""
    return CompileOptions(
        controller_name=settings["controller_name"],
        cluster_domain=settings["cluster_domain"],
        port_map=dict(settings["port_map"]),
        address_pool=tuple(settings["address_pool"]),
    )
