"""What the clients of each scenario do: command lines of wrk and h2load, and what they say in the end.

All of it is the downstream side; what the upstream has to see of it, `bench.py` checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proxies import H2C, HTTP, HTTPS, SERVICES, tool

HERE = Path(__file__).parent
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
CALL_FIELDS = {
    "User-Agent": "grpc-go/1.64.0",
    "Content-Type": "application/grpc",
    "TE": "trailers",
    "Grpc-Timeout": "1S",
    "Grpc-Accept-Encoding": "gzip",
}
MESSAGE = b"\0" + (100).to_bytes(4, "big") + b"q" * 100  # of gRPC: not compressed, so long, this
TARGET, BIG = "/api/v1/items?id=42", "/static/big"
METHOD = SERVICES[0] + "List"
# HTTP/2: so many connections with so many streams each at any time.
N_CONNECTIONS, N_STREAMS = 8, 32
N_CALLERS = 64  # of "grpc1": clients with a connection each, that make one call at a time
# Hosts asked for. The same few whatever the table holds: that is what tells the cost of a lookup in a large table.
# Many of them tells what a large working set costs, in the processor's caches most of all.
N_HOSTS = {"routes": 5, "hosts": 500}
N_TARGETS = 997  # of "h2vary"


@dataclass(frozen=True)
class Aim:
    """Where a load goes, and for how long."""

    base: int  # the proxy's first port
    n_routes: int
    seconds: int
    work: Path  # a folder for what the generators read


def _args(fields: dict[str, str]) -> list[str]:
    return [arg for name, value in fields.items() for arg in ("-H", f"{name}: {value}")]


def _lines(fields: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items())


def _wrk(aim: Aim, n_connections: int = 64) -> list[str]:
    return [tool("wrk") or "wrk", "-t1", f"-c{n_connections}", f"-d{aim.seconds}s"]


def _h1(aim: Aim) -> list[str]:
    return [*_wrk(aim), *_args({"Host": HOST, **FIELDS}), f"http://127.0.0.1:{aim.base + HTTP}{TARGET}"]


def _https(aim: Aim) -> list[str]:
    """Say localhost, as wrk takes the server name from the URL."""
    return [*_wrk(aim), *_args({"Host": HOST, **FIELDS}), f"https://localhost:{aim.base + HTTPS}{TARGET}"]


def _body(aim: Aim) -> list[str]:
    return [*_wrk(aim, 16), *_args({"Host": HOST, **FIELDS}), f"http://127.0.0.1:{aim.base + HTTP}{BIG}"]


def _varying(aim: Aim) -> list[str]:
    same = {name: value for name, value in {"Host": HOST, **FIELDS}.items() if name != "Cookie"}
    return [*_wrk(aim), "-s", str(HERE / "vary.lua"), f"http://127.0.0.1:{aim.base + HTTP}", "--", _lines(same)]


def _cycling(n_hosts: int) -> Callable[[Aim], list[str]]:
    def command(aim: Aim) -> list[str]:
        script = ["-s", str(HERE / "cycle.lua"), f"http://127.0.0.1:{aim.base + HTTP}"]
        return [*_wrk(aim), *script, "--", str(aim.n_routes // 2), str(n_hosts), _lines(FIELDS)]

    return command


def _h2load(
    aim: Aim, port: int, fields: dict[str, str], n_connections: int = N_CONNECTIONS, n_streams: int = N_STREAMS
) -> list[str]:
    return [
        "h2load", "-t1", f"-c{n_connections}", f"-m{n_streams}", f"-D{aim.seconds}", "--connect-to",
        f"127.0.0.1:{port}", "-H", f":authority: {HOST}", *_args(fields),
    ]  # fmt: skip


def _h2(aim: Aim) -> list[str]:
    return [*_h2load(aim, aim.base + HTTPS, FIELDS), f"https://{HOST}{TARGET}"]


def _h2c(aim: Aim) -> list[str]:
    return [*_h2load(aim, aim.base + H2C, FIELDS), f"http://{HOST}{TARGET}"]


def _h2vary(aim: Aim) -> list[str]:
    targets = aim.work / "targets"
    targets.write_text("".join(f"http://{HOST}/api/v1/items?id={i * 7919}\n" for i in range(N_TARGETS)))
    return [*_h2load(aim, aim.base + H2C, FIELDS), "-i", str(targets)]


def _calling(n_connections: int, n_streams: int) -> Callable[[Aim], list[str]]:
    def command(aim: Aim) -> list[str]:
        message = aim.work / "message"
        message.write_bytes(MESSAGE)
        load = _h2load(aim, aim.base + H2C, CALL_FIELDS, n_connections, n_streams)
        return [*load, "-d", str(message), f"http://{HOST}{METHOD}"]

    return command


@dataclass(frozen=True)
class Scenario:
    """A load, and the tables and the upstream it is put on. *suite*: the file of results it belongs to."""

    suite: str
    command: Callable[[Aim], list[str]]
    sizes: tuple[int, ...] = (100,)  # of the route table; every proxy meets the load once per size and round
    h2: bool = False  # the clients speak HTTP/2
    tls: bool = False
    grpc: bool = False  # the upstream speaks HTTP/2


SCENARIOS = {
    "h1": Scenario("http", _h1),
    "varying": Scenario("http", _varying),
    "https": Scenario("http", _https, tls=True),
    "body": Scenario("http", _body),
    "routes": Scenario("http", _cycling(N_HOSTS["routes"]), (10, 10_000)),
    "hosts": Scenario("http", _cycling(N_HOSTS["hosts"]), (10_000,)),
    "h2": Scenario("h2", _h2, h2=True, tls=True),
    "h2c": Scenario("h2", _h2c, h2=True),
    "h2vary": Scenario("h2", _h2vary, h2=True),
    "grpc": Scenario("h2", _calling(N_CONNECTIONS, N_STREAMS), h2=True, grpc=True),
    "grpc1": Scenario("h2", _calling(N_CALLERS, 1), h2=True, grpc=True),
}
SUITES = tuple(dict.fromkeys(scenario.suite for scenario in SCENARIOS.values()))


def n_answers(said: str, scenario: Scenario) -> int:
    """Return how many good answers the generator got; ValueError where there were others, or none."""
    if not scenario.h2:
        found = re.search(r"(\d+) requests in ", said)
        good = found is not None and "Non-2xx" not in said and "Socket errors" not in said
    else:
        found = re.search(r"(\d+) succeeded, 0 failed, 0 errored, 0 timeout", said)
        protocol = f"Application protocol: {'h2' if scenario.tls else 'h2c'}\n"
        good = found is not None and " 2xx, 0 3xx, 0 4xx, 0 5xx" in said and protocol in said
    n = int(found[1]) if good and found is not None else 0
    if not n:
        raise ValueError(said)
    return n


def look(base: int, scenario: Scenario, work: Path) -> list[str]:
    """Return the command line of one request of an HTTP/2 scenario, whose output `flaws` judges."""
    port = base + (HTTPS if scenario.tls else H2C)
    scheme, fields, target = ("https" if scenario.tls else "http"), FIELDS, TARGET
    how = ["--http2", "--insecure"] if scenario.tls else ["--http2-prior-knowledge"]
    if scenario.grpc:
        (work / "message").write_bytes(MESSAGE)
        fields, target = CALL_FIELDS, METHOD
        how += ["--data-binary", f"@{work / 'message'}"]
    said = "over HTTP/%{http_version}: %{response_code}, %{size_download} bytes\n"
    place = ["--resolve", f"{HOST}:{port}:127.0.0.1", f"{scheme}://{HOST}:{port}{target}"]
    return [
        "curl",
        "-sS",
        "-m5",
        *how,
        *_args({"Host": HOST, **fields}),
        "-D",
        "-",
        "-o",
        str(work / "answer"),
        "-w",
        said,
        *place,
    ]


def flaws(said: str, scenario: Scenario) -> list[str]:
    """Return what is missing in the output of `look`: the protocol, the edit, the trailers."""
    n_bytes = len(MESSAGE) if scenario.grpc else 128
    wanted = [f"over HTTP/2: 200, {n_bytes} bytes", "x-served-by: gw"]
    if scenario.grpc:
        wanted += ["content-type: application/grpc", "grpc-status: 0"]
    return [each for each in wanted if each not in said.replace("\r", "")]
