"""Load benchmark of gatewayproxy beside nginx, HAProxy and Envoy on one machine.

    python benchmarks/http/bench.py [--suite http,h2] [--scenario h1,h2c,grpc,...] [--proxy ...] [--rounds 5]

The proxy runs on core 0; the load generator (wrk, h2load) and the upstream on core 1. Rounds are interleaved (A B C A
B C ...), so that what else the machine does hits all alike. The robust figure is CPU time per answer: user and system
time of all processes of the proxy, from /proc. Requests a second are bounded by what core 1 can generate wherever the
proxy's core is not full. Ends with 1 where a goal of report.py is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import machine
import report
from load import N_CONNECTIONS, N_STREAMS, SCENARIOS, SUITES, Aim, Scenario, flaws, look, n_answers
from proxies import N_PORTS, PROXIES, Setup, installed, version

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
START_S = 90.0  # Envoy and HAProxy load 10,000 routes at ease


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A proxy at work."""

    name: str
    n_routes: int
    base: int
    pid: int
    upstream: int  # port
    work: Path


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
def running(names: list[str], scenario: Scenario, work: Path) -> Iterator[list[Contestant]]:
    """Start the upstream and every proxy with every table size; end them all."""
    both = [(name, size) for name in names for size in scenario.sizes]
    base = free_ports(N_PORTS * (len(both) + 1))
    subprocess.run(["gcc", "-O2", "-Wall", "-o", str(work / "backend"), str(HERE / "backend.c")], check=True)
    cert, key = certificate(work)
    with contextlib.ExitStack() as stack:
        upstream = machine.start(1, [str(work / "backend"), str(base)])
        stack.callback(machine.stop, upstream)
        machine.wait_port(base, upstream, 5)
        contestants = []
        for i, (name, size) in enumerate(both, start=1):
            folder = work / f"{name}-{size}"
            folder.mkdir()
            setup = Setup(
                base=base + N_PORTS * i, n_routes=size, upstream=base, cert=cert, key=key, work=folder,
                grpc=scenario.grpc,
            )  # fmt: skip
            log = stack.enter_context((folder / "log").open("w"))
            process = machine.start(0, PROXIES[name](setup), log=log)
            stack.callback(machine.stop, process)
            try:
                machine.wait_port(setup.base, process, START_S)
            except RuntimeError as error:
                raise SystemExit(
                    f"{name} with {size} routes: {error}\n{(folder / 'log').read_text()[-2000:]}"
                ) from None
            contestants.append(Contestant(name, size, setup.base, process.pid, base, folder))
        yield contestants


def check(name: str, contestant: Contestant) -> None:
    """Ask once, as the clients of an HTTP/2 scenario will; SystemExit where that is not what is to be measured."""
    scenario = SCENARIOS[name]
    if scenario.h2:
        argv = look(contestant.base, scenario, contestant.work)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if lacks := flaws(done.stdout, scenario):
            raise SystemExit(f"{name} {contestant.name}: no {', no '.join(lacks)} in\n{done.stdout}{done.stderr}")


def counts(contestant: Contestant) -> dict[str, int]:
    """Return how many requests have reached the upstream, by protocol."""
    with urllib.request.urlopen(f"http://127.0.0.1:{contestant.upstream}/counts", timeout=5) as answer:
        found: dict[str, int] = json.load(answer)
        return found


def measure(name: str, contestant: Contestant, turn: int, seconds: int) -> report.Run:
    """Load one contestant for some seconds."""
    scenario = SCENARIOS[name]
    argv = scenario.command(Aim(contestant.base, contestant.n_routes, seconds, contestant.work))
    before = counts(contestant)
    cpu, busy, began = machine.cpu_s(contestant.pid), machine.busy_s(0), time.monotonic()
    done = subprocess.run(
        ["taskset", "-c", "1", *argv], capture_output=True, text=True, timeout=seconds + 30, check=False
    )
    used = machine.cpu_s(contestant.pid) - cpu
    others, wall = machine.busy_s(0) - busy - used, time.monotonic() - began
    after = counts(contestant)
    try:
        n = n_answers(done.stdout, scenario)
    except ValueError:
        told = f"{done.stdout[-2000:]}{done.stderr}"
        raise SystemExit(f"{name} {contestant.name}, {contestant.n_routes} routes:\n{told}") from None
    came, strange = (after[key] - before[key] for key in (("http2", "http1") if scenario.grpc else ("http1", "http2")))
    if not n <= came <= n + N_CONNECTIONS * N_STREAMS * 2 or strange:
        raise SystemExit(f"{name} {contestant.name}: {n} answers, but the upstream has seen {came} and {strange}")
    return report.Run(
        name, contestant.name, contestant.n_routes, turn, used / n * 1e6, n / seconds, used / wall, others / wall
    )


def commit() -> str:
    """Return the commit that is measured, marked where files differ from it."""
    argv = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def rounds_of(name: str, names: list[str], args: argparse.Namespace) -> Iterator[report.Run]:
    """Run one scenario: a short round to warm up, then the measured ones."""
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        with running(names, SCENARIOS[name], Path(work)) as contestants:
            for contestant in contestants:
                check(name, contestant)
                measure(name, contestant, -1, 1)
            for turn in range(args.rounds):
                for contestant in contestants:
                    run = measure(name, contestant, turn, args.seconds)
                    print(
                        f"{name:8}{run.proxy:>13}{run.n_routes:>7} routes {run.cpu_us:8.1f} us/request"
                        f"{run.rps:10,.0f}/s  core {run.core:4.0%}, others {run.foreign:4.0%}",
                        flush=True,
                    )
                    yield run


def write(suite: str, runs: list[report.Run], names: list[str], args: argparse.Namespace) -> str:
    """Write <suite>.json and .md; return the Markdown."""
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
    folder: Path = args.results
    folder.mkdir(exist_ok=True)
    (folder / f"{suite}.json").write_text(json.dumps(data, indent=1) + "\n")
    (folder / f"{suite}.md").write_text(text)
    return text


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default=",".join(SUITES), help="http, h2 or both (default)")
    parser.add_argument("--scenario", help=f"of {','.join(SCENARIOS)} (default: all of the suite)")
    parser.add_argument("--proxy", default=",".join(PROXIES), help="comma-separated; those not installed are left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement (default: 3)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder where SUITE.json and .md are written")
    return parser.parse_args()


def main() -> int:
    """Run the benchmark."""
    args = arguments()
    suites = args.suite.split(",")
    scenarios = (args.scenario or ",".join(name for name, each in SCENARIOS.items() if each.suite in suites)).split(",")
    if unknown := set(scenarios) - set(SCENARIOS):
        raise SystemExit(f"no scenario {', '.join(unknown)}: there are {', '.join(SCENARIOS)}")
    needed = {"gcc", "openssl", "taskset"}
    for name in scenarios:
        needed |= {"h2load", "curl"} if SCENARIOS[name].h2 else {"wrk"}
    missing = sorted(name for name in needed if shutil.which(name) is None)
    if missing:
        raise SystemExit(f"install first: {', '.join(missing)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    wanted = args.proxy.split(",")
    names = [name for name in wanted if installed(name)]
    for name in set(wanted) - set(names):
        print(f"{name} is not installed: left out", file=sys.stderr)
    runs = [run for scenario in scenarios for run in rounds_of(scenario, names, args)]
    for suite in SUITES:
        some = [run for run in runs if SCENARIOS[run.scenario].suite == suite]
        if some:
            print("\n" + write(suite, some, names, args))
    return 0 if all(met for _, _, met in report.judge(runs)) else 1


if __name__ == "__main__":
    sys.exit(main())
