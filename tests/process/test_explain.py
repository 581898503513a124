"""What a running gateway logs of real requests is what `explain` says of them, and of the lines of that log."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gatewayproxy.insight.access_logs import Logged, parse_line
from gatewayproxy.insight.command_line import parse_words
from gatewayproxy.insight.decision import Decision, decide
from gatewayproxy.insight.offline import compiled
from gatewayproxy.insight.ports import PortTable, decide_entry
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.sources import read_files, read_paths
from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.peers import require
from tests.support.process import loopback_address, running

REQUESTS = [
    ["http://shop.a.test:8080/cart"],
    ["-XPOST", "-d", "a=1", "http://shop.a.test:8080/cart?full=1"],
    ["-H", "X-Beta: 1", "http://shop.a.test:8080/cart/7"],
    ["http://other.a.test:8080/cart"],
    ["http://b.test:8080/"],
    ["--path-as-is", "http://shop.a.test:8080//cart"],
    ["--path-as-is", "http://shop.a.test:8080/x/../cart"],
    ["--http2-prior-knowledge", "http://shop.a.test:8080/cart"],
    ["--http2-prior-knowledge", "-H", "X-Beta: 1", "http://shop.a.test:8080/cart"],
    ["--http1.0", "http://shop.a.test:8080/nothing"],
]


def said(decision: Decision) -> tuple[int, str, str, str]:
    """Return status, reason, route and rule; a backend that is not there gives 503."""
    answer = decision.answer or decision.outcomes[0].answer
    label = decision.entry.label if decision.entry is not None else None
    status, reason = (answer.status, answer.reason) if answer is not None else (503, "connect_failed")
    return status, reason, label.route_text if label else "", label.rule_text if label else ""


def logged_as(line: Logged) -> tuple[int, str, str, str]:
    return line.status, line.reason, line.route, line.rule


@pytest.mark.parametrize("form", ["json", "text"])
def test_explain_tells_what_is_logged(form: str, tmp_path: Path) -> None:
    curl, host, folder, log = require("curl"), loopback_address(), tmp_path / "config", tmp_path / "access.log"
    beta = http_route("beta", "app", section="wild", hostnames=["shop.a.test"], path="/cart")
    beta["spec"]["rules"][0]["matches"][0]["headers"] = [{"name": "x-beta", "value": "1"}]
    write(
        folder,
        beta,
        gateway("gw", host, listener("all", 8080), listener("wild", 8080, hostname="*.a.test")),
        http_route("shop", "app", path="/cart", hostnames=["shop.a.test"], section="wild"),
        http_route("all", "app", path="/cart", hostnames=["c.test"], section="all"),
        service("app", f"{host}:1"),
    )
    with running(folder, arguments=["--workers", "1", "--access-log", str(log), "--access-log-format", form]) as gw:
        for words in REQUESTS:
            subprocess.run(
                [curl, "-s", "-o", "/dev/null", "--connect-to", f"::{host}:", *words], check=True, timeout=60
            )
        assert gw.stop() == 0
    found = compiled(read_paths([str(folder)]).sources, CompileOptions(), read_files)
    ports = PortTable(found.table)
    lines = log.read_bytes().splitlines()
    assert len(lines) == len(REQUESTS)
    for words, written in zip(REQUESTS, lines, strict=True):
        decision = decide(ports, parse_words(["--connect-to", f"::{host}:", *words]), found.plan)
        line = parse_line(written)
        if line is None:  # it names no request: the head was refused before it was read
            assert "/x/../cart" in words[-1]
            assert said(decision)[:2] == (400, "ambiguous_path")
            assert b"ambiguous_path" in written
            continue
        assert said(decision) == logged_as(line), words
        if "X-Beta: 1" not in words:  # which no log has
            assert decide_entry(ports, line.request).entry is decision.entry, words
