"""Load benchmark of gatewayproxy beside nginx, HAProxy and Envoy on one machine.

    python benchmarks/http/bench.py [--scenario h1,varying,https,body,...] [--proxy ...] [--rounds 5] [--seconds 3]

The proxy runs on core 0; the load generator (wrk) and the upstream on core 1. Rounds are interleaved (A B C A B C ...),
so that what else the machine does hits all alike. The robust figure is CPU time per answer: user and system time of all
processes of the proxy, from /proc. Requests a second are bounded by what core 1 can generate wherever the proxy's core
is not full. Ends with 1 where a goal of report.py is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import machine
import report
from proxies import PROXIES, Setup, installed, tool, version

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
HOST = "h00002.example.com"
FIELDS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.9,de;q=0.8",
    "Accept-Encoding": "gzip, deflate, br",
    "Referer": f"https://{HOST}/static/index.html",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark",
    "Cache-Control": "no-cache",
    "X-Requested-With": "XMLHttpRequest",
}
# Table sizes of each scenario; every proxy meets it once per size and round.
SCENARIOS = {
    "h1": (100,), "varying": (100,), "https": (100,), "body": (100,), "routes": (10, 10_000), "hosts": (10_000,),
}  # fmt: skip
# Hosts asked for. The same few whatever the table holds: that is what tells the cost of a lookup in a large table.
# Many of them tells what a large working set costs, in the processor's caches most of all.
N_HOSTS = {"routes": 5, "hosts": 500}
START_S = 90.0  # Envoy and HAProxy load 10,000 routes at ease


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A proxy at work."""

    name: str
    n_routes: int
    base: int
    pid: int


def free_ports(n: int) -> int:
    """Return the first of *n* neighbouring ports that nothing uses."""
    for base in range(18_000, 28_000, n):
        with contextlib.ExitStack() as held:
            try:
                for port in range(base, base + n):
                    sock = held.enter_context(socket.socket())
                    sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise SystemExit("no free ports on 127.0.0.1")


def certificate(work: Path) -> tuple[Path, Path]:
    """Make a self-signed P-256 certificate."""
    cert, key = work / "tls.crt", work / "tls.key"
    subject = ["-subj", "/CN=bench", "-addext", "subjectAltName=DNS:localhost,DNS:*.example.com"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-keyout", str(key), "-out", str(cert)]
    argv = ["openssl", "req", "-x509", "-nodes", "-days", "30", *curve, *files, *subject]
    subprocess.run(argv, check=True, capture_output=True)
    return cert, key


@contextlib.contextmanager
def running(names: list[str], sizes: list[int], work: Path) -> Iterator[list[Contestant]]:
    """Start the upstream and every proxy with every table size; end them all."""
    per_proxy = 4
    base = free_ports(per_proxy * (len(names) * len(sizes) + 1))
    subprocess.run(["gcc", "-O2", "-Wall", "-o", str(work / "backend"), str(HERE / "backend.c")], check=True)
    cert, key = certificate(work)
    with contextlib.ExitStack() as stack:
        upstream = machine.start(1, [str(work / "backend"), str(base)])
        stack.callback(machine.stop, upstream)
        machine.wait_port(base, upstream, 5)
        contestants = []
        for i, (name, size) in enumerate(((name, size) for name in names for size in sizes), start=1):
            folder = work / f"{name}-{size}"
            folder.mkdir()
            setup = Setup(base=base + per_proxy * i, n_routes=size, upstream=base, cert=cert, key=key, work=folder)
            log = stack.enter_context((folder / "log").open("w"))
            process = machine.start(0, PROXIES[name](setup), log=log)
            stack.callback(machine.stop, process)
            try:
                machine.wait_port(setup.base, process, START_S)
            except RuntimeError as error:
                raise SystemExit(
                    f"{name} with {size} routes: {error}\n{(folder / 'log').read_text()[-2000:]}"
                ) from None
            contestants.append(Contestant(name, size, setup.base, process.pid))
        yield contestants


def wrk(scenario: str, contestant: Contestant, seconds: int) -> list[str]:
    """Return the load generator's command line."""
    connections = 16 if scenario == "body" else 64
    argv = ["taskset", "-c", "1", tool("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    url = f"http://127.0.0.1:{contestant.base}"
    if scenario in N_HOSTS:
        lines = "".join(f"{name}: {value}\r\n" for name, value in FIELDS.items())
        return [
            *argv,
            "-s",
            str(HERE / "cycle.lua"),
            url,
            "--",
            str(contestant.n_routes // 2),
            str(N_HOSTS[scenario]),
            lines,
        ]
    if scenario == "varying":
        same = {"Host": HOST, **FIELDS}
        lines = "".join(f"{name}: {value}\r\n" for name, value in same.items() if name != "Cookie")
        return [*argv, "-s", str(HERE / "vary.lua"), url, "--", lines]
    fields = [arg for name, value in {"Host": HOST, **FIELDS}.items() for arg in ("-H", f"{name}: {value}")]
    if scenario == "https":  # wrk takes the server name from the URL
        url = f"https://localhost:{contestant.base + 1}"
    return [*argv, *fields, url + ("/static/big" if scenario == "body" else "/api/v1/items?id=42")]


def measure(scenario: str, contestant: Contestant, turn: int, seconds: int) -> report.Run:
    """Load one contestant for some seconds."""
    cpu, busy, began = machine.cpu_s(contestant.pid), machine.busy_s(0), time.monotonic()
    done = subprocess.run(
        wrk(scenario, contestant, seconds), capture_output=True, text=True, timeout=seconds + 30, check=False
    )
    used = machine.cpu_s(contestant.pid) - cpu
    others, wall = machine.busy_s(0) - busy - used, time.monotonic() - began
    answers = re.search(r"(\d+) requests in ", done.stdout)
    if answers is None or int(answers[1]) == 0 or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(f"{scenario} {contestant.name}, {contestant.n_routes} routes:\n{done.stdout}{done.stderr}")
    n = int(answers[1])
    return report.Run(
        scenario, contestant.name, contestant.n_routes, turn, used / n * 1e6, n / seconds, used / wall, others / wall
    )


def commit() -> str:
    """Return the commit that is measured, marked where files differ from it."""
    argv = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def rounds_of(scenario: str, names: list[str], args: argparse.Namespace) -> Iterator[report.Run]:
    """Run one scenario: a short round to warm up, then the measured ones."""
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        with running(names, list(SCENARIOS[scenario]), Path(work)) as contestants:
            for contestant in contestants:
                measure(scenario, contestant, -1, 1)
            for turn in range(args.rounds):
                for contestant in contestants:
                    run = measure(scenario, contestant, turn, args.seconds)
                    print(
                        f"{scenario:7}{run.proxy:>13}{run.n_routes:>7} routes {run.cpu_us:8.1f} us/request"
                        f"{run.rps:10,.0f}/s  core {run.core:4.0%}, others {run.foreign:4.0%}",
                        flush=True,
                    )
                    yield run


def write(runs: list[report.Run], names: list[str], args: argparse.Namespace) -> str:
    """Write results/<name>.json and .md; return the Markdown."""
    about: dict[str, str | int] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": commit(), "rounds": args.rounds,
        "seconds": args.seconds,
    }  # fmt: skip
    versions = {name: version(name) for name in names}
    text = report.markdown(runs, machine.describe(), versions, about)
    data = {
        **about,
        "machine": machine.describe(),
        "versions": versions,
        "summary": [row._asdict() for row in report.summarise(runs)],
        "goals": [{"goal": goal.text, "ratio": value, "met": met} for goal, value, met in report.judge(runs)],
        "runs": [run._asdict() for run in runs],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{args.name}.json").write_text(json.dumps(data, indent=1) + "\n")
    (RESULTS / f"{args.name}.md").write_text(text)
    return text


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default=",".join(SCENARIOS), help="comma-separated (default: all)")
    parser.add_argument("--proxy", default=",".join(PROXIES), help="comma-separated; those not installed are left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement (default: 3)")
    parser.add_argument("--name", default="http", help="results/NAME.json and .md are written")
    return parser.parse_args()


def main() -> int:
    """Run the benchmark."""
    args = arguments()
    missing = [name for name in ("wrk", "gcc", "openssl", "taskset") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"install first: {', '.join(missing)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    wanted = args.proxy.split(",")
    names = [name for name in wanted if installed(name)]
    for name in set(wanted) - set(names):
        print(f"{name} is not installed: left out", file=sys.stderr)
    runs = [run for scenario in args.scenario.split(",") for run in rounds_of(scenario, names, args)]
    print("\n" + write(runs, names, args))
    return 0 if all(met for _, _, met in report.judge(runs)) else 1


if __name__ == "__main__":
    sys.exit(main())
