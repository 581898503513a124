"""A child process of the supervisor: spawned with a channel, watched by a descriptor, reaped when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gatewayproxy.ops.channel import Channel, Kind, pair, to_json

__all__ = ["Child", "describe_exit"]

_LINGER_S: Final = 1.0  # between the end of a child's channel and its own


class Child:
    """One run of `python -m MODULE FD`. *on_exit* is called once, with the exit status, after the child is reaped."""

    def __init__(
        self,
        module: str,
        *,
        on_frame: Callable[[Kind, bytes], None],
        on_exit: Callable[[int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_exit = on_exit
        self.exited = False
        self._ended = asyncio.Event()
        ours, theirs = pair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # The same code as ours, wherever it came from, and never what lies in the working directory.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(p).absolute()) for p in sys.path)},
            )
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        self._channel = Channel(ours, on_frame=lambda kind, payload, _: on_frame(kind, payload), on_close=self._hung_up)

    def send(self, kind: Kind, value: object = None, sockets: Sequence[socket.socket] = ()) -> None:
        """Send a frame with a JSON payload."""
        self._channel.send(kind, to_json(value if value is not None else {}), sockets)

    def send_bytes(self, kind: Kind, payload: bytes) -> None:
        """Send a frame with an opaque payload."""
        self._channel.send(kind, payload)

    def kill(self) -> None:
        """End the process at once; `on_exit` follows."""
        if not self.exited:
            self._process.send_signal(signal.SIGKILL)

    def _hung_up(self) -> None:
        # Most often it is about to exit, and its status is worth waiting for.
        if not self.exited:
            self._loop.call_later(_LINGER_S, self.kill)

    def _reap(self) -> None:
        self.exited = True
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._channel.close()
        status = self._process.wait()
        self._ended.set()
        self._on_exit(status)

    async def end(self) -> None:
        """Kill the process and return when it is reaped."""
        self.kill()
        await self._ended.wait()


def describe_exit(status: int) -> str:
    """Return how a process ended, in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
