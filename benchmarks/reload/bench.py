"""What reloads cost the traffic: a storm of them under load, and the longest wait of a request while a table changes.

    python benchmarks/reload/bench.py storm [--seconds 30] [--reloads 100]
    python benchmarks/reload/bench.py stall [--routes 10000] [--reloads 10]

storm: keep-alive and new connections without a pause, a WebSocket and a TCP stream open, SIGHUPs with changed routes
all along. Nothing may fail: every request is answered by the backend, every byte of a stream comes back. Then a worker
is killed; what fails is what it held.
stall: one request after the other, each timed, while a table of many routes is replaced. The same is asked of a bare
echo server on the worker's core at the same time: what it waits, the machine made us wait.
Ends with 1 where a promise is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import queue
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.http.machine import describe, stop
from benchmarks.reload.peers import Client, Timed, backend, clients, echo, timed

ROOT = Path(__file__).parents[2]
HTTP, TCP, ADMIN, BACKEND, ECHO = 18880, 18881, 18882, 18883, 18884
STALL_GOAL_MS = 20.0
GATEWAY = f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gw}}
spec:
  gatewayClassName: gatewayproxy
  addresses: [{{type: IPAddress, value: 127.0.0.1}}]
  listeners: [{{name: http, protocol: HTTP, port: {HTTP}}}, {{name: tcp, protocol: TCP, port: {TCP}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: app, annotations: {{gatewayproxy.io/endpoints: "127.0.0.1:{BACKEND}"}}}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {{name: stream}}
spec: {{parentRefs: [{{name: gw, sectionName: tcp}}], rules: [{{backendRefs: [{{name: app, port: 80}}]}}]}}
"""
ROUTE = """\
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r%(n)d}
spec:
  parentRefs: [{name: gw, sectionName: http}]
  hostnames: [h%(n)d.example.com]
  rules:
    - matches: [{path: {value: /}}]
      filters:
        - type: ResponseHeaderModifier
          responseHeaderModifier: {set: [{name: x-turn, value: "%(turn)s"}]}
      backendRefs: [{name: app, port: 80}]
"""


class Gateway(NamedTuple):
    """A running gateway and the folder it reads."""

    process: subprocess.Popen[str]
    folder: Path

    def write(self, n_routes: int, turn: int) -> None:
        """Replace the routes: each of them answers with a header that names *turn*."""
        fresh = self.folder / ".routes"
        fresh.write_text("".join(ROUTE % {"n": n, "turn": turn} for n in range(n_routes)))
        fresh.rename(self.folder / "routes.yaml")

    def state(self) -> Any:
        """Return /status/reload."""
        with urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}/status/reload", timeout=30) as answer:
            return json.load(answer)

    def reload(self) -> Any:
        """Reload and return the report."""
        before = self.state()["reload"]["attempt"]
        self.process.send_signal(signal.SIGHUP)
        while (report := self.state()["reload"])["attempt"] == before:
            time.sleep(0.01)
        return report


@contextlib.contextmanager
def gateway(n_routes: int, *, workers: int, cores: str) -> Iterator[Gateway]:
    """Run a gateway with *n_routes* routes on *cores*."""
    folder = Path(tempfile.mkdtemp(prefix="gatewayproxy-bench-"))
    (folder / "gateway.yaml").write_text(GATEWAY)
    command = ["taskset", "-c", cores, sys.executable, "-m", "gatewayproxy", "run", str(folder)]
    command += ["--admin", f"127.0.0.1:{ADMIN}", "--workers", str(workers), "--log-level", "error"]
    running = Gateway(subprocess.Popen(command, text=True, cwd=ROOT), folder)
    running.write(n_routes, 0)
    try:
        wait_ready(running)
        yield running
    finally:
        stop(running.process)
        shutil.rmtree(folder)


def wait_ready(running: Gateway) -> None:
    """Wait until every worker serves; RuntimeError where the gateway ends."""
    while running.process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}/readyz", timeout=30):
            return
        time.sleep(0.05)
    raise RuntimeError("the gateway did not start")


@contextlib.contextmanager
def beside(target: Any, *args: Any) -> Iterator[multiprocessing.Process]:
    """Run a function in a process of its own."""
    process = multiprocessing.Process(target=target, args=args, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.terminate()
        process.join()


# --- storm


def storm(seconds: float, reloads: int) -> bool:
    """Return whether nothing failed."""
    results: multiprocessing.Queue[Client] = multiprocessing.Queue()
    ended = multiprocessing.Event()
    with contextlib.ExitStack() as stack:
        stack.enter_context(beside(backend, BACKEND, None))
        running = stack.enter_context(gateway(100, workers=2, cores="0,1"))
        load = [stack.enter_context(beside(clients, HTTP, new, results, ended)) for new in (False, True)]
        tunnel, stream = stack.enter_context(websocket()), stack.enter_context(tcp_stream())
        begun_at = time.monotonic()
        applied = cut = 0
        for turn in range(1, reloads + 1):
            running.write(100 + turn % 7, turn)
            applied += running.reload()["result"] == "applied"
            cut += sum(not comes_back(each, b"%06d" % turn) for each in (tunnel, stream))
            time.sleep(max(0.0, begun_at + seconds * turn / reloads - time.monotonic()))
        took_s = time.monotonic() - begun_at
        ended.set()
        done = [results.get(timeout=30) for _ in load]
        report = running.state()
        killed = kill_worker(running)
    for each in done:
        print(f"{each.kind:22} {each.n_done:7} answered  {each.n_failed} failed  {' '.join(each.failures)}")
    print(f"{took_s:.1f} s, {applied} of {reloads} reloads applied, generation {report['generation']}")
    print(f"streams cut: {cut}; requests failed: {sum(each.n_failed for each in done)}")
    print(killed.line)
    return cut == 0 and applied == reloads and killed.fair and not any(each.n_failed for each in done)


@contextlib.contextmanager
def websocket() -> Iterator[socket.socket]:
    """Open a WebSocket through the gateway; after the 101 the backend echoes."""
    with socket.create_connection(("127.0.0.1", HTTP), timeout=20) as sock:
        fields = "Host: h1.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        sock.sendall(f"GET / HTTP/1.1\r\n{fields}{key}".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield sock


@contextlib.contextmanager
def tcp_stream() -> Iterator[socket.socket]:
    """Open a stream through the TCP listener; the backend echoes what begins with a digit."""
    with socket.create_connection(("127.0.0.1", TCP), timeout=20) as sock:
        assert comes_back(sock, b"0")
        yield sock


def comes_back(sock: socket.socket, data: bytes) -> bool:
    """Return whether *data* is echoed."""
    got = b""
    with contextlib.suppress(OSError):
        sock.sendall(data)
        while len(got) < len(data) and (part := sock.recv(len(data) - len(got))):
            got += part
    return got == data


class Killed(NamedTuple):
    """What a killed worker took along."""

    line: str
    fair: bool


def kill_worker(running: Gateway) -> Killed:
    """Kill a worker that holds a share of 100 requests under way; the others must be answered."""
    connections = [http.client.HTTPConnection("127.0.0.1", HTTP, timeout=30) for _ in range(100)]
    for connection in connections:
        connection.request("GET", "/hold", headers={"Host": "h1.example.com"})
    victim = running.state()["workers"][0]["pid"]
    time.sleep(0.3)  # all are with the backend now, which answers after a second
    held = n_connections(victim, HTTP)
    os.kill(victim, signal.SIGKILL)
    lost = 0
    for connection in connections:
        try:
            lost += connection.getresponse().status != 200
        except (http.client.HTTPException, OSError):
            lost += 1
        connection.close()
    wait_ready(running)
    return Killed(f"kill -9 of one worker of two: it held {held} of 100 requests, {lost} were lost", lost == held)


def n_connections(pid: int, port: int) -> int:
    """Return how many established connections to local *port* process *pid* holds."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1].endswith(f":{port:04X}") and words[3] == "01":
            inodes.add(f"socket:[{words[9]}]")
    return sum(str(fd.readlink()) in inodes for fd in Path(f"/proc/{pid}/fd").iterdir())


# --- stall


def stall(n_routes: int, reloads: int) -> bool:
    """Return whether no request waited longer for a reload than promised, beyond what the machine imposed."""
    samples: multiprocessing.Queue[Timed] = multiprocessing.Queue()
    with contextlib.ExitStack() as stack:
        for target, *args in ((backend, BACKEND, 1), (echo, ECHO, 0)):
            stack.enter_context(beside(target, *args))
        running = stack.enter_context(gateway(n_routes, workers=1, cores="0"))
        probes = [("gateway", HTTP), ("echo", ECHO)]
        for name, port in probes:
            stack.enter_context(beside(timed, name, port, n_routes, samples))
        quiet = worst(samples, 5.0)
        print(f"no reload:  {describe_worst(quiet)}")
        over = []
        for turn in range(1, reloads + 1):
            running.write(n_routes, turn)
            worst(samples, 0.5)
            report = running.reload()
            found = worst(samples, 1.5)
            over.append(found["gateway"] - found["echo"])
            print(f"reload {turn:3}: {describe_worst(found)}; {report['compile_ms']:.0f} ms compiling, "
                  f"{report['handover_ms']:.0f} ms handing over")  # fmt: skip
    print(f"beyond the machine: median {statistics.median(over):.1f} ms, most {max(over):.1f} ms")
    return max(over) <= STALL_GOAL_MS


def worst(samples: multiprocessing.Queue[Timed], seconds: float) -> dict[str, float]:
    """Return the longest wait by probe, milliseconds, of what arrived since the last look until *seconds* from now."""
    found = {"gateway": 0.0, "echo": 0.0}
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        with contextlib.suppress(queue.Empty):
            each = samples.get(timeout=left)
            found[each.name] = max(found[each.name], each.worst_ms)
    return found


def describe_worst(found: dict[str, float]) -> str:
    return f"longest wait {found['gateway']:6.1f} ms, of the bare echo {found['echo']:6.1f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=("storm", "stall"))
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--routes", type=int, default=10_000)
    parser.add_argument("--reloads", type=int, default=0, help="(100 in a storm, 10 for stalls)")
    options = parser.parse_args()
    print(" ".join(f"{name}={value}" for name, value in describe().items()))
    if options.what == "storm":
        return 0 if storm(options.seconds, options.reloads or 100) else 1
    return 0 if stall(options.routes, options.reloads or 10) else 1


if __name__ == "__main__":
    sys.exit(main())
