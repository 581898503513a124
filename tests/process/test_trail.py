"""The decision trail of the real process: causes in the log, hits of rules, what nobody serves."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatewayproxy.cli import main
from gatewayproxy.dataplane.misses import MAX_MISSES
from tests.support.manifests import gateway, listener, service, tcp_route, write
from tests.support.peers import require
from tests.support.process import Gateway, http_get, loopback_address, running
from tests.support.threaded_backend import backend

FLOOD = 30_000
MAX_GROWTH_KIB = 12_000  # of a worker's memory under the flood


class Served(NamedTuple):
    gateway: Gateway
    host: str
    folder: Path
    log: Path

    def ask(self, path: str, n: int = 1, host: str = "shop.test", method: str = "GET", **fields: str) -> int:
        """Send *n* requests, each on a connection of its own, so that all workers get some; return the last status."""
        status = 0
        for _ in range(n):
            connection = http.client.HTTPConnection(self.host, 8080, timeout=60)
            connection.request(method, path, headers={"Host": host, **fields})
            status = connection.getresponse().status
            connection.close()
        return status

    def rules(self) -> dict[str, Any]:
        return {each["name"] or str(each["rule"]): each for each in self.gateway.get("/rules").json["rules"]}

    def misses(self) -> dict[tuple[str, str, str], Any]:
        page = self.gateway.get("/misses").json
        return {(each["method"], each["host"], each["path"]): each for each in page["misses"]}

    def metrics(self, name: str) -> dict[str, float]:
        """Return a family of rules, by rule."""
        text = self.gateway.get("/metrics").body.decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        return {sample.labels["rule"]: sample.value for sample in families[name].samples}


def rule(path: str, *, name: str = "", to: str = "a.test", **match: object) -> dict[str, object]:
    redirect = {"type": "RequestRedirect", "requestRedirect": {"hostname": to}}
    return {"matches": [{"path": {"value": path}, **match}], "filters": [redirect]} | ({"name": name} if name else {})


BETA = rule("/cart", name="beta", headers=[{"name": "X-Beta", "value": "1"}])


def config(folder: Path, host: str, rules: Sequence[dict[str, object]]) -> None:
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"},
        "spec": {"parentRefs": [{"name": "gw"}], "hostnames": ["shop.test"], "rules": list(rules)},
    }  # fmt: skip
    write(folder, gateway("gw", host, listener("http", 8080)), route)


@pytest.fixture(params=["json"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    host, folder, log = loopback_address(), tmp_path / "config", tmp_path / "access.log"
    config(folder, host, [rule("/api", method="POST"), BETA])
    form = ["--access-log", str(log), "--access-log-format", request.param]
    with running(folder, arguments=form, workers=2) as gw:
        yield Served(gw, host, folder, log)


def test_hits_are_summed_over_workers_and_kept_across_reloads(served: Served) -> None:
    assert served.ask("/api", 30, method="POST") == 302
    known = served.rules()
    assert (known["0"]["hits"], known["beta"]["hits"]) == (30, 0)
    assert known["0"]["last_hit"] >= known["0"]["since"]
    assert known["beta"]["last_hit"] is None
    assert served.metrics("gatewayproxy_rule_hits") == {"0": 30, "beta": 0}
    assert served.metrics("gatewayproxy_rule_last_hit_timestamp_seconds").keys() == {"0"}

    config(served.folder, served.host, [rule("/api", method="POST", to="b.test"), rule("/new"), BETA])
    assert served.gateway.reload()["result"] == "applied"
    served.ask("/cart", 2, **{"X-Beta": "1"})
    after = served.rules()
    assert {name: each["hits"] for name, each in after.items()} == {"0": 30, "1": 0, "beta": 2}
    assert {name: each["generation"] for name, each in after.items()} == {"0": 2, "1": 2, "beta": 2}
    assert after["0"]["since"] > known["0"]["since"]
    assert after["0"]["last_hit"] == known["0"]["last_hit"]

    changed = [rule("/api", method="POST", to="b.test"), rule("/newer"), BETA]
    config(served.folder, served.host, changed)
    served.gateway.reload()
    assert served.metrics("gatewayproxy_rule_generation") == {"0": 2, "1": 3, "beta": 2}
    assert served.rules()["beta"] == after["beta"]


def test_streams_are_hits_while_they_last_and_afterwards(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        tcp = tcp_route("t", "app", section="tcp")
        write(tmp_path, gateway("gw", host, listener("tcp", 8080, "TCP")), tcp, service("app", app.endpoint))
        with running(tmp_path) as gw:
            served = Served(gw, host, tmp_path, tmp_path)
            assert served.rules()["0"]["hits"] == 0
            with socket.create_connection((host, 8080), timeout=60) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert sock.recv(9) == b"HTTP/1.1 "
                counts = served.rules()["0"]
                assert (counts["kind"], counts["hits"], counts["active"]) == ("TCPRoute", 1, 1)
            gw.wait_until(lambda: served.rules()["0"]["active"] == 0, "the end of the stream")
            assert served.rules()["0"]["hits"] == 1


def test_a_worker_that_dies_takes_no_hits_along_that_were_looked_at(served: Served) -> None:
    served.ask("/api", 20, method="POST")
    served.ask("/nothing", 20)
    before = served.rules()["0"]
    missed = served.misses()["GET", "shop.test", "/nothing"]
    for pid in served.gateway.worker_pids():
        os.kill(pid, signal.SIGKILL)
    served.gateway.wait_log(r"worker_died", n=2)
    served.gateway.wait_ready()
    assert served.rules()["0"] == before
    assert served.misses()["GET", "shop.test", "/nothing"] == missed
    served.ask("/api", method="POST")
    served.ask("/nothing")
    assert served.rules()["0"]["hits"] == 21
    assert served.misses()["GET", "shop.test", "/nothing"]["count"] == 21


ASKED: list[tuple[str, dict[str, str], int, str, str]] = [
    ("/api", {}, 404, "no_rule", "host ok, 2 rules, closest default/shop#0 failed method (wants POST)"),
    ("/cart", {}, 404, "no_rule", "host ok, 2 rules, closest default/shop#1 (beta) failed header x-beta (absent)"),
    (
        "/cart?x", {"X-Beta": "hush"}, 404, "no_rule",
        "host ok, 2 rules, closest default/shop#1 (beta) failed header x-beta (another value)",
    ),
    ("/carts", {}, 404, "no_rule", "host ok, 2 rules, closest default/shop#1 (beta) failed path (wants prefix /cart)"),
    (
        "/", {"host": "shpo.test"}, 404, "no_route",
        "no route on listener default/gw/http has host shpo.test; closest is shop.test",
    ),
    ("/cart", {"X-Beta": "1"}, 302, "redirect", "a RequestRedirect filter answered"),
]  # fmt: skip


@pytest.mark.parametrize("served", ["json", "text"], indirect=True)
def test_each_answer_of_the_gateway_has_its_cause_in_the_log(served: Served) -> None:
    for path, fields, status, _, _ in ASKED:
        assert served.ask(path, **fields) == status

    def lines() -> list[str]:
        text = served.log.read_text()
        return text.splitlines() if text.count("\n") == len(ASKED) else []

    found = served.gateway.wait_until(lines, "the lines of the log")
    told = [_reason_and_cause(line) for line in found]
    assert sorted(told) == sorted((reason, cause) for _, _, _, reason, cause in ASKED)
    assert all('"generation":1' in line or re.search(r" 1 \S+ \S+ \"", line) for line in found)
    assert "hush" not in served.log.read_text()


def _reason_and_cause(line: str) -> tuple[str, str]:
    if line[0] == "{":
        tree = json.loads(line)
        return tree["reason"], tree["detail"]
    words = re.fullmatch(r'\S+ \S+ http/1.1 "[^"]*" \S+ \d+ (\S+) .* - "([^"]*)"', line)
    assert words is not None, line
    return words[1], words[2]


def test_requests_over_http2_have_the_same_cause(served: Served) -> None:
    curl = require("curl")
    words = ["-s", "--http2-prior-knowledge", "-H", "Host: shop.test", f"http://{served.host}:8080/carts"]
    assert os.spawnv(os.P_WAIT, curl, ["curl", *words, "-o", "/dev/null"]) == 0
    assert served.misses()["GET", "shop.test", "/carts"]["failed"] == "path"


def test_misses_are_mended_by_what_they_say(served: Served) -> None:
    served.ask("/carts", 3)
    miss = served.misses()["GET", "shop.test", "/carts"]
    assert miss["fix"] == "was prefix /cart meant? else add a rule for /carts"
    assert miss["closest"] == {"kind": "HTTPRoute", "route": "default/shop", "rule": "1 (beta)"}
    assert (miss["count"], miss["over"], miss["generation"], miss["failed"]) == (3, 0, 1, "path")
    config(served.folder, served.host, [rule("/carts")])
    served.gateway.reload()
    assert served.ask("/carts") == 302
    assert served.misses()["GET", "shop.test", "/carts"] == miss  # no more since, and that was generation 1
    assert served.ask("/cart") == 404
    again = served.misses()["GET", "shop.test", "/cart"]
    assert (again["generation"], again["cause"]) == (
        2, "host ok, 1 rule, closest default/shop#0 failed path (wants prefix /carts)",
    )  # fmt: skip


def test_a_flood_of_random_names_grows_nothing_and_hides_nothing(served: Served) -> None:
    chance = random.Random(7)
    _flood(served.host, chance, FLOOD // 3)  # the list is full, the allocator warm
    before = [_resident_kib(pid) for pid in served.gateway.worker_pids()]
    _flood(served.host, chance, FLOOD)
    after = [_resident_kib(pid) for pid in served.gateway.worker_pids()]
    page = served.gateway.get("/misses")
    assert sum(page.json["answers"].values()) == FLOOD + FLOOD // 3
    assert len(page.json["misses"]) <= MAX_MISSES
    assert len(page.body) < 200_000
    assert page.json["misses"][0]["path"] == "/favicon.ico"  # every tenth request asked for it
    assert page.json["misses"][0]["cause"]
    assert max(late - early for early, late in zip(before, after, strict=True)) < MAX_GROWTH_KIB
    assert http_get(served.host, 8080, "/x", {"Host": "shop.test"}).status == 404


def _flood(host: str, chance: random.Random, n: int) -> None:
    """Send *n* requests on pipelined connections, and read all answers."""
    for start in range(0, n, 500):
        requests = [_random_request(chance, start + at) for at in range(min(500, n - start))]
        with socket.create_connection((host, 8080), timeout=60) as sock:
            sock.sendall(b"".join(requests[:-1]) + requests[-1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            answers = b"".join(iter(lambda s=sock: s.recv(65_536), b""))
        assert answers.count(b"HTTP/1.1 404 ") == len(requests)


def _random_request(chance: random.Random, number: int) -> bytes:
    name = b"%x" % chance.getrandbits(64 if number % 3 else 900)
    if number % 10 == 0:
        target, host = b"/favicon.ico", b"shop.test"
    elif number % 2:
        target, host = b"/" + name, b"shop.test"
    else:
        target, host = b"/", name[:60] + b".test"
    return b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host)


def _resident_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def test_the_commands_print_what_the_pages_say(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    server = ["--server", "{}:{}".format(*served.gateway.admin)]
    assert main(["misses", *server]) == 0
    assert capsys.readouterr().err == "nothing has ended in 404\n"
    served.ask("/api", 2, method="POST")
    served.ask("/carts", 3)
    assert main(["rules", *server]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == "ROUTE RULE LISTENER HITS ACTIVE LAST HIT SINCE GENERATION".split()
    assert first.split()[:6] == ["HTTPRoute", "default/shop", "0", "default/gw/http", "2", "0"]
    assert second.split()[2:8] == ["1", "(beta)", "default/gw/http", "0", "0", "never"]
    assert main(["rules", "--never-hit", *server]) == 1
    assert "(beta)" in capsys.readouterr().out
    assert main(["misses", *server]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "3 requests answered 404: no rule of the host matched"
    for command in ("rules", "misses"):
        assert main([command, *server, "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out).keys() >= {"generation", command}
