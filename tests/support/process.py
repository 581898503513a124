"""Start the real gateway as a process, on addresses and ports of its own, and wait for what it says.

    with running(folder) as gateway:
        gateway.reload()
        assert gateway.get("/readyz").status == 200

The log is read as it comes; every wait has a deadline and shows the log when it fails.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

__all__ = ["Answer", "Gateway", "http_get", "loopback_address", "refused", "running", "wait_until"]

T = TypeVar("T")
DEADLINE_S = 90.0

_hosts = itertools.count(1)


def loopback_address() -> str:
    """Return a loopback address that no other test of this machine uses, so that any port is free on it."""
    return f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 250}.{next(_hosts) % 250 + 1}"


def wait_until(condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Return the first true value of *condition*; fail when *deadline_s* has passed."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {deadline_s:g} s")
        threading.Event().wait(0.01)


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]  # lower-case names
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def http_get(
    host: str, port: int, path: str = "/", headers: dict[str, str] | None = None, timeout_s: float = 60.0
) -> Answer:
    """Return the answer to one GET on a connection of its own."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, fields, answer.read())
    finally:
        connection.close()


def refused(host: str, port: int) -> bool:
    """Return whether nobody listens there."""
    try:
        socket.create_connection((host, port), timeout=DEADLINE_S).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was in the queue of a listener that closed meanwhile
        return False
    return False


class Gateway:
    """A running `gatewayproxy run`."""

    def __init__(self, arguments: Sequence[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        command = [sys.executable, "-m", "gatewayproxy", "run", "--admin", "127.0.0.1:0", *arguments]
        root = Path(__file__).parents[2]
        path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd,
            env={**os.environ, "PYTHONPATH": path, **(env or {})},
        )  # fmt: skip
        self._log: list[str] = []
        self._out: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stderr, self._log), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stdout, self._out), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.process.pid

    @property
    def log(self) -> str:
        """The event log so far."""
        return "\n".join(self._log)

    @property
    def output(self) -> list[str]:
        """The lines of standard output so far."""
        return list(self._out)

    def wait_log(self, pattern: str, deadline_s: float = DEADLINE_S, *, n: int = 1) -> re.Match[str]:
        """Return the *n*-th match of *pattern* in the event log."""

        def found() -> re.Match[str] | None:
            matches = list(itertools.islice(re.finditer(pattern, self.log), n))
            return matches[-1] if len(matches) == n else None

        return self._wait(found, f"{pattern!r} in the log", deadline_s)

    def wait_until(self, condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
        """Return the first true value of *condition*; a failure shows the log, and a dead gateway fails at once."""
        return self._wait(condition, what, deadline_s)

    def _wait(self, condition: Callable[[], T], what: str, deadline_s: float) -> T:
        def look() -> T:
            value = condition()
            if not value and self.process.poll() is not None:
                for reader in self._readers:
                    reader.join(1.0)
                value = condition()
                if not value:
                    raise AssertionError(f"the gateway ended with {self.process.returncode}")
            return value

        try:
            return wait_until(look, what, deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log\n{self.log}") from None

    @property
    def admin(self) -> tuple[str, int]:
        """Host and port of the admin server."""
        match = self.wait_log(r"admin_listening address=(\S+):(\d+)")
        return match[1].strip("[]"), int(match[2])

    def get(self, path: str) -> Answer:
        """Return an admin page."""
        return http_get(*self.admin, path)

    def state(self) -> Any:
        """Return /status/reload."""
        return self.get("/status/reload").json

    def wait_ready(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until /readyz says 200."""
        self._wait(lambda: self.get("/readyz").status == 200, "ready", deadline_s)

    def reload(self, deadline_s: float = DEADLINE_S) -> Any:
        """Send SIGHUP, wait until a reload that began afterwards has ended, return its report."""
        before = self.state()["reload"].get("attempt", 0)
        self.signal(signal.SIGHUP)

        def report() -> Any:
            latest = self.state()["reload"]
            return latest if latest.get("attempt", 0) > before else None

        return self._wait(report, "a reload", deadline_s)

    def worker_pids(self) -> list[int]:
        """Return the workers' process ids, by slot."""
        return [worker["pid"] for worker in self.state()["workers"]]

    def objects(self) -> dict[tuple[str, str], Any]:
        """Return /status as (kind, name) -> object."""
        items = self.get("/status").json["items"]
        return {(item["kind"], item["metadata"]["name"]): item for item in items}

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        self.process.send_signal(number)

    def wait_exit(self, deadline_s: float = DEADLINE_S) -> int:
        """Return the exit status."""
        try:
            status = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {deadline_s:g} s\n--- log\n{self.log}") from None
        for reader in self._readers:
            reader.join(60)
        return status

    def stop(self) -> int:
        """Drain and return the exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait_exit()

    def close(self) -> None:
        """End it at once, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        for reader in self._readers:
            reader.join(60)


@contextmanager
def running(
    *config: str | Path, workers: int = 2, arguments: Sequence[str] = (), env: dict[str, str] | None = None
) -> Iterator[Gateway]:
    """Run the gateway on *config*, ready for traffic; end it afterwards."""
    gateway = Gateway([*map(str, config), "--workers", str(workers), *arguments], env)
    try:
        gateway.wait_ready()
        yield gateway
        if gateway.process.poll() is None:
            gateway.signal(signal.SIGTERM)
            gateway.signal(signal.SIGTERM)
            gateway.wait_exit()
    finally:
        gateway.close()
