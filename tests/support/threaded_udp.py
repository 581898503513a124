"""UDP backends in threads, and a client that waits for its answer, for tests of the real process."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.support.process import wait_until

__all__ = ["Client", "Talker", "UdpBackend", "udp_backend"]

DEADLINE_S = 60.0


class UdpBackend:
    """Answers every datagram with its name, the address it saw, and the datagram: b"name 127.0.0.1:4711 hello"."""

    def __init__(self, name: str, host: str) -> None:
        self.name = name
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.endpoint = f"{host}:{self.sock.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            data, sender = self.sock.recvfrom(70_000)
            if data == b"stop":
                return
            self.sock.sendto(f"{self.name} {sender[0]}:{sender[1]} ".encode() + data, sender)

    def close(self) -> None:
        """Stop, and close the socket."""
        with socket.socket(self.sock.family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"stop", self.sock.getsockname())
        self._thread.join(DEADLINE_S)
        self.sock.close()


@contextlib.contextmanager
def udp_backend(name: str = "app", host: str = "127.0.0.1") -> Iterator[UdpBackend]:
    """Run a backend."""
    backend = UdpBackend(name, host)
    try:
        yield backend
    finally:
        backend.close()


class Client:
    """One client address; what it gets back: which backend, and who that one thinks it is."""

    def __init__(self, host: str, port: int, source: str = "") -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect((host, port))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def ask(self, data: bytes = b"x", timeout_s: float = DEADLINE_S) -> tuple[str, str]:
        """Send *data*; return the backend's name and the address it saw."""
        self.sock.settimeout(timeout_s)
        self.sock.send(data)
        name, seen, echoed = self.sock.recv(70_000).split(b" ", 2)
        assert echoed == data
        return name.decode(), seen.decode()

    def try_ask(self, data: bytes = b"x", timeout_s: float = 0.3) -> tuple[str, str] | None:
        """Return the same, None where there is no answer in time."""
        try:
            return self.ask(data, timeout_s)
        except (TimeoutError, ConnectionRefusedError):
            return None


class Talker:
    """A client that asks again and again, in a thread, so that its flow does not fall silent while a test waits."""

    def __init__(self, client: Client) -> None:
        self.answers: list[tuple[str, str]] = []
        self._client = client
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Talker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(DEADLINE_S)

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            with contextlib.suppress(OSError):
                self.answers.append(self._client.ask())

    def ask(self) -> tuple[str, str]:
        """Return the answer to a question that was put from now on."""
        n = len(self.answers)
        wait_until(lambda: len(self.answers) > n + 1, "an answer")  # the next one may be to an older question
        return self.answers[-1]
