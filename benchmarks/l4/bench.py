"""CPU and memory of TCP proxying and TLS passthrough beside HAProxy, nginx and Envoy.

    python benchmarks/l4/bench.py [--scenario connections,bulk,...] [--proxy ...] [--rounds 5] [--seconds 2]

The proxy runs on core 0, load and upstream (load.c) on core 1; rounds are interleaved; CPU is user and system time of
all processes of the proxy, from /proc. Over loopback the sender's core also does the receiver's work in the kernel:
compare figures of one run with each other, and with nothing else. Ends with 1 where a goal of report.py is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.http import machine
from benchmarks.http.proxies import installed, version
from benchmarks.l4 import report
from benchmarks.l4.proxies import NAME, PROXIES, Setup

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
IDLE = 2_000  # connections held
AT_A_TIME = {"connections": "32", "serial": "1", "passthrough": "32"}
START_S = 30.0


class Contestant(NamedTuple):
    """A proxy at work."""

    name: str
    base: int
    pid: int


def free_ports(n: int) -> list[int]:
    """Return the first of *n* pairs of neighbouring ports that nothing uses, below those the kernel gives out."""
    for base in range(28_000, 32_000, 2 * n):
        with contextlib.ExitStack() as held:
            try:
                for port in range(base, base + 2 * n):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return list(range(base, base + 2 * n, 2))
    raise SystemExit("no free ports on 127.0.0.1")


def client_hello() -> bytes:
    """Return the first message of a TLS client that asks for NAME."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=NAME)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@contextlib.contextmanager
def running(names: list[str], work: Path) -> Iterator[list[Contestant]]:
    """Start the upstream and every proxy; end them all."""
    upstream, *bases = free_ports(len(names) + 1)
    program = work / "load"
    subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program), str(HERE / "load.c")], check=True)
    (work / "small").write_bytes(b"e" * 64)
    (work / "hello").write_bytes(client_hello())
    with contextlib.ExitStack() as stack:
        serving = machine.start(1, [str(program), "serve", str(upstream)])
        stack.callback(machine.stop, serving)
        machine.wait_port(upstream, serving, 5)
        contestants = []
        for name, base in zip(names, bases, strict=True):
            folder = work / name
            folder.mkdir()
            log = stack.enter_context((folder / "log").open("w"))
            process = machine.start(0, PROXIES[name](Setup(base, upstream, folder)), log=log, cwd=ROOT)
            stack.callback(machine.stop, process)
            try:
                machine.wait_port(base, process, START_S)
            except RuntimeError as error:
                raise SystemExit(f"{name}: {error}\n{(folder / 'log').read_text()[-2000:]}") from None
            contestants.append(Contestant(name, base, process.pid))
        yield contestants


def load(work: Path, *words: str) -> list[str]:
    """Return the load generator's command line."""
    return ["taskset", "-c", "1", str(work / "load"), *words]


def held_kib(contestant: Contestant, work: Path) -> float:
    """Return what an idle connection takes of the proxy's memory."""
    before = machine.pss_mib(contestant.pid)
    argv = load(work, "hold", str(contestant.base), str(IDLE))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holding:
        assert holding.stdin is not None
        assert holding.stdout is not None
        if holding.stdout.readline() != "ready\n":
            raise SystemExit(f"idle {contestant.name}: connections failed")
        after = machine.pss_mib(contestant.pid)
        holding.stdin.close()
    return (after - before) * 1024 / IDLE


def measure(scenario: str, contestant: Contestant, seconds: float, work: Path) -> float:
    """Load one contestant; return what a unit of the scenario cost."""
    if scenario == "idle":
        return held_kib(contestant, work)
    port, tls = str(contestant.base), str(contestant.base + 1)
    words = {
        "exchange": ["exchange", port, "1", str(seconds)],
        "bulk": ["bulk", port, str(seconds)],
        "passthrough": ["connect", tls, AT_A_TIME["passthrough"], str(seconds), str(work / "hello")],
    }.get(scenario) or ["connect", port, AT_A_TIME[scenario], str(seconds), str(work / "small")]
    before = machine.cpu_s(contestant.pid)
    done = subprocess.run(load(work, *words), capture_output=True, text=True, timeout=seconds + 30, check=False)
    used = machine.cpu_s(contestant.pid) - before
    told = json.loads(done.stdout or "{}")
    if not told.get("n") or told["errors"]:
        raise SystemExit(f"{scenario} {contestant.name}: {done.stdout}{done.stderr}")
    return used / told["n"] * (1 << 30 if scenario == "bulk" else 1e6)


def measure_all(args: argparse.Namespace, names: list[str]) -> report.Results:
    """Run every scenario: idle memory first, of fresh processes; then a short round to warm up; then the rounds."""
    wanted = args.scenario.split(",")
    results: report.Results = {scenario: {name: [] for name in names} for scenario in wanted}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        work = Path(folder)
        with running(names, work) as contestants:
            if "idle" in wanted:
                for contestant in contestants:
                    results["idle"][contestant.name].append(measure("idle", contestant, 0, work))
            timed = [scenario for scenario in wanted if scenario != "idle"]
            for turn in range(-1, args.rounds):
                for scenario in timed:
                    for contestant in contestants:
                        figure = measure(scenario, contestant, args.seconds if turn >= 0 else 0.3, work)
                        if turn >= 0:
                            print(f"{turn} {scenario:12} {contestant.name:13} {figure:9.3f}", flush=True)
                            results[scenario][contestant.name].append(figure)
    return results


def commit() -> str:
    """Return the commit that is measured, marked where files differ from it."""
    argv = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def write(results: report.Results, names: list[str], args: argparse.Namespace) -> str:
    """Write results/<name>.json and .md; return the Markdown."""
    about: dict[str, str | int | float] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": commit(), "rounds": args.rounds,
        "seconds": args.seconds,
    }  # fmt: skip
    versions = {name: version(name) for name in names}
    text = report.markdown(results, machine.describe(), versions, about)
    goals = [{**goal._asdict(), "ratio": value, "met": met} for goal, value, met in report.judge(results)]
    data = {**about, "machine": machine.describe(), "versions": versions, "goals": goals, "results": results}
    folder = HERE.parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{args.name}.json").write_text(json.dumps(data, indent=1) + "\n")
    (folder / f"{args.name}.md").write_text(text)
    return text


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default=",".join(report.SCENARIOS), help="comma-separated (default: all)")
    parser.add_argument("--proxy", default=",".join(PROXIES), help="comma-separated; those not installed are left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default: 2)")
    parser.add_argument("--name", default="l4", help="results/NAME.json and .md are written")
    args = parser.parse_args()
    missing = [name for name in ("gcc", "taskset") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"install first: {', '.join(missing)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    names = [name for name in args.proxy.split(",") if installed(name)]
    results = measure_all(args, names)
    print("\n" + write(results, names, args))
    return 0 if all(met for _, _, met in report.judge(results)) else 1


if __name__ == "__main__":
    sys.exit(main())
