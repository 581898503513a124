"""What clients and logs may hold does not reach the terminal as it is, nor without bound."""

from __future__ import annotations

import json
import random
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gatewayproxy.errors import UsageError
from gatewayproxy.insight import explain, offline
from gatewayproxy.insight.access_logs import parse_line
from gatewayproxy.insight.command_line import parse_words
from gatewayproxy.insight.decision import Decision, decide
from gatewayproxy.insight.offline import Compiled
from gatewayproxy.insight.picture import to_svg
from gatewayproxy.insight.ports import PortTable
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.sources import read_files, read_paths

ROOT = Path(__file__).parents[2]
ESCAPES = ["\x1b[2J", "\x9b31m", "\x07", "\x00", "\x7f", "\N{RIGHT-TO-LEFT OVERRIDE}", "\udcff", "\N{LINE SEPARATOR}"]
LINES = [
    b'{"time":"2026","protocol":"http/1.1","listener":"default/shop/http","route":"","rule":"","client":"1.1.1.1",'
    b'"method":"GET","target":"/a","status":404,"host":"www.localhost","bytes_in":1}',
    b'10.0.0.1 - - [21/Nov/2026:13:55:36 +0000] "GET /a HTTP/1.1" 404 23 "-" "curl"',
    b'[2026-01-01T00:00:00Z] "GET /a HTTP/1.1" 200 - 0 1 2 3 "1.1.1.1" "ua" "id" "www.localhost" "1.2.3.4:80"',
    b"10.0.1.2:33317 [06/Feb/2009:12:14:14.655] in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 "
    b'{www.localhost} "GET /a HTTP/1.1"',
    b'{":authority":"www.localhost","method":"GET","path":"/a","protocol":"HTTP/2","response_code":200}',
]
JUNK = [
    b"\x1b[31m", b"\x9b", b"\xff", b"\x00", b'"', b"\\", b"\\u202e", b"\xe2\x80\xae", b"[]", b"{}", b"null", b"1e999",
    b"9" * 5_000, b"%", b"//", b"..", b"\r\n", b"*", b"-1", b":", b"A" * 9_000, b" ", b"[" * 5_000,
]  # fmt: skip


@pytest.fixture(scope="module")
def shop() -> tuple[PortTable, Compiled]:
    read = read_paths([str(ROOT / "config" / "shop")])
    compiled = offline.compiled(read.sources, CompileOptions(address_pool=("127.0.0.1",)), read_files)
    return PortTable(compiled.table), compiled


def decided(shop: tuple[PortTable, Compiled], words: list[str]) -> Decision | None:
    try:
        request = parse_words(words)
    except UsageError as error:
        said = str(error)
    else:
        ports, compiled = shop
        return decide(ports, request, compiled.plan, compiled.status)
    assert said.isprintable()
    assert len(said) < 1_000
    return None


def harmless(decision: Decision) -> None:
    text = explain.to_text(decision, every=True)
    assert all(each.isprintable() or each == "\n" for each in text)
    told = explain.to_json(decision)
    assert told.isascii()
    json.loads(told)
    picture = to_svg(decision)
    ET.fromstring(picture)
    assert all(each.isprintable() or each == "\n" for each in picture)
    assert max(len(text), len(told), len(picture)) < 200_000


@pytest.mark.parametrize("escape", ESCAPES, ids=ascii)
@pytest.mark.parametrize("where", ["header", "host", "target", "server name"])
def test_what_a_terminal_acts_on_is_escaped(shop: tuple[PortTable, Compiled], escape: str, where: str) -> None:
    words = {
        "header": ["-H", f"X-Canary: {escape}", "grpc://api.localhost/shop.v1.Cart/Get"],
        "host": ["-H", f"Host: {escape}", "http://www.localhost/"],
        "target": ["-H", "Host: www.localhost", LINES[1].decode().replace("/a", f"/{escape}")],
        "server name": [f"tls://{escape}:443"],
    }[where]
    decision = decided(shop, words)
    if decision is not None:
        harmless(decision)


@pytest.mark.parametrize("seed", range(8))
def test_lines_of_logs_that_were_tampered_with_are_read_or_refused(shop: tuple[PortTable, Compiled], seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(120):
        line = bytearray(chance.choice(LINES))
        for _ in range(chance.randint(0, 4)):
            at = chance.randrange(len(line) + 1)
            line[at : at + chance.randint(0, 3)] = chance.choice(JUNK)
        parse_line(bytes(line))
        decision = decided(shop, ["-H", "Host: www.localhost", bytes(line).decode("utf-8", "surrogateescape")])
        if decision is not None:
            harmless(decision)


@pytest.mark.parametrize(
    "words",
    [
        ["http://a:" + "9" * 6_000 + "/"],
        ["http://www.localhost/" + "a" * 100_000],
        ["-H", "X: " + "a" * 100_000, "http://www.localhost/"],
        ["-X", "OPTIONS", "-H", "Max-Forwards: " + "9" * 6_000, "http://www.localhost/"],
        ["--connect-to", ":80:127.0.0.1:" + "9" * 6_000, "http://www.localhost/"],
        ["--" + "a" * 6_000, "http://www.localhost/"],
        ["http://www.localhost/", "http://" + "a" * 6_000],
    ],
    ids=["port", "path", "header", "number", "port to connect to", "option", "second request"],
)
def test_what_is_huge_ends_in_an_error_or_a_decision(shop: tuple[PortTable, Compiled], words: list[str]) -> None:
    decision = decided(shop, words)
    if decision is not None:
        to_svg(decision)
        assert len(explain.to_json(decision)) < 600_000
