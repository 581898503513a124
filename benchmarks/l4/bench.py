"""CPU of TCP proxying beside HAProxy and nginx: per connection (64 bytes each way) and per GB moved.

    python benchmarks/l4/bench.py [--rounds 5] [--seconds 2] [--peers gatewayproxy,haproxy,nginx]

The proxy runs on core 0, load and upstream on core 1; rounds are interleaved; the figure is user and system time of all
processes of the proxy, from /proc. Over loopback the sender's core also does the receiver's work in the kernel:
compare figures of one run with each other, and with nothing else.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.http.machine import cpu_s, start, stop, wait_port

BULK_BYTES = 1 << 20
SMALL = bytes(64)


def upstream(listener: socket.socket) -> None:
    """Serve connections one byte of intent at a time: "e" echoes 64 bytes and closes, "s" sinks all there is."""
    os.sched_setaffinity(0, {1})
    buffer = bytearray(BULK_BYTES)
    while True:
        sock, _ = listener.accept()
        with sock:
            first = sock.recv(64)
            if first[:1] == b"s":
                while sock.recv_into(buffer):
                    pass
            sock.sendall(SMALL)


def connections(port: int, seconds: float) -> int:
    """Make connections one after the other; return how many were served."""
    end, n = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"e" + SMALL[1:])
            got = 0
            while data := sock.recv(64):
                got += len(data)
            n += got == len(SMALL)
    return n


def bulk(port: int, seconds: float) -> int:
    """Send on one connection; return the bytes that the upstream took."""
    end, n, block = time.monotonic() + seconds, 0, bytes(BULK_BYTES)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"s" + SMALL[1:])
        while time.monotonic() < end:
            sock.sendall(block)
            n += len(block)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(64)
    return n


def ours(work: Path, port: int, target: int) -> list[str]:
    """One TCPRoute."""
    meta = {"name": "l4"}
    endpoints = {"gatewayproxy.io/endpoints": f"127.0.0.1:{target}"}
    documents = [
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": meta, "spec": {
            "gatewayClassName": "bench", "addresses": [{"type": "IPAddress", "value": "127.0.0.1"}],
            "listeners": [{"name": "tcp", "port": port, "protocol": "TCP"}]}},
        {"apiVersion": "gateway.networking.k8s.io/v1alpha2", "kind": "TCPRoute", "metadata": meta, "spec": {
            "parentRefs": [meta], "rules": [{"backendRefs": [{"name": "up", "port": 80}]}]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "up", "annotations": endpoints},
         "spec": {"ports": [{"port": 80}]}},
    ]  # fmt: skip
    path = work / "l4.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    return [sys.executable, "-m", "gatewayproxy", "run", str(path), "--workers", "1", "--admin", "127.0.0.1:0"]


def haproxy(work: Path, port: int, target: int) -> list[str]:
    """HAProxy with splice and 1 MiB pipes, its best."""
    path = work / "haproxy.cfg"
    path.write_text(
        "global\n nbthread 1\n maxconn 4096\n tune.pipesize 1048576\n"
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n"
        " option splice-request\n option splice-response\n"
        f"listen l4\n bind 127.0.0.1:{port}\n server up 127.0.0.1:{target}\n"
    )
    return ["haproxy", "-f", str(path), "-db"]


def nginx(work: Path, port: int, target: int) -> list[str]:
    """The nginx stream module with 64 KiB buffers."""
    path = work / "nginx.conf"
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    load = f"load_module {module};\n" if Path(module).exists() else ""
    path.write_text(
        f"{load}daemon off;\nworker_processes 1;\npid {work}/nginx.pid;\nerror_log stderr error;\n"
        "events { worker_connections 4096; }\n"
        f"stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{target};\n"
        " proxy_buffer_size 64k; proxy_half_close on; } }\n"
    )
    return ["nginx", "-c", str(path), "-p", str(work), "-e", "stderr"]


PEERS = {"gatewayproxy": ours, "haproxy": haproxy, "nginx": nginx}
SCENARIOS = {"connections": (connections, 1, "us/connection", 1e6), "bulk": (bulk, 1 << 30, "CPU-s/GiB", 1.0)}


def measure(names: list[str], rounds: int, seconds: float, work: Path) -> dict[str, dict[str, list[float]]]:
    """Return scenario -> proxy -> CPU per unit, a figure a round."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    serving = [multiprocessing.Process(target=upstream, args=(listener,), daemon=True) for _ in range(2)]
    for process in serving:
        process.start()
    ports, running = {}, {}
    for name in names:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            ports[name] = probe.getsockname()[1]
        argv = PEERS[name](work, ports[name], listener.getsockname()[1])
        with (work / f"{name}.log").open("w") as log:
            running[name] = start(0, argv, log=log, cwd=Path(__file__).parents[2])
        wait_port(ports[name], running[name], 20)
    os.sched_setaffinity(0, {1})
    results: dict[str, dict[str, list[float]]] = {s: {name: [] for name in names} for s in SCENARIOS}
    try:
        for _ in range(rounds):
            for scenario, (load, unit, _, scale) in SCENARIOS.items():
                for name in names:
                    before = cpu_s(running[name].pid)
                    n = load(ports[name], seconds)
                    results[scenario][name].append((cpu_s(running[name].pid) - before) / n * unit * scale)
    finally:
        for proxy in running.values():
            stop(proxy)
        for process in serving:
            process.terminate()
    return results


def main() -> None:
    """Print a table: medians, least and most."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--peers", default=",".join(PEERS))
    options = parser.parse_args()
    names = [name for name in options.peers.split(",") if name == "gatewayproxy" or shutil.which(name)]
    with tempfile.TemporaryDirectory() as folder:
        results = measure(names, options.rounds, options.seconds, Path(folder))
    for scenario, (_, _, unit, _) in SCENARIOS.items():
        for name, figures in results[scenario].items():
            median = statistics.median(figures)
            print(f"{scenario:12} {name:13} {median:8.3f} ({min(figures):.3f}..{max(figures):.3f}) {unit}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.SubprocessError as error:
        raise SystemExit(str(error)) from error
