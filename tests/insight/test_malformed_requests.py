"""Requests that no client could send are refused by all who read some, and say what to write instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gatewayproxy.cli import main
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.errors import UsageError
from gatewayproxy.insight.access_logs import parse_line
from gatewayproxy.insight.command_line import parse_words
from gatewayproxy.insight.ports import PortTable, decide_entry
from gatewayproxy.insight.replay import Replay
from gatewayproxy.ops.accesslog import json_line, text_line
from tests.support.plans import listener, match, route, rule, table_of

MALFORMED = [
    pytest.param("http://[::1", "an IPv6 address stands in brackets", id="bracket that is not closed"),
    pytest.param("http://[::1]x/", "an IPv6 address stands in brackets", id="text behind a bracket"),
    pytest.param("http://::1/", "IPv6 addresses stand in brackets", id="IPv6 without brackets"),
    pytest.param("http://[zz]/", "[zz] is no IPv6 address", id="brackets around something else"),
    pytest.param("http://[]/", "[] is no IPv6 address", id="empty brackets"),
    pytest.param("http://[fe80::1%25eth0]/", "without a zone", id="IPv6 with a zone"),
    pytest.param("http://256.1.1.1/", "is no IPv4 address", id="IPv4 above 255"),
    pytest.param("http://10.1/", "is no IPv4 address", id="IPv4 in short"),
    pytest.param("http://a:99999/", "write a port from 1 to 65535", id="port above all"),
    pytest.param("http://a:0/", "write a port from 1 to 65535", id="port zero"),
    pytest.param("http://a:/", "write a port from 1 to 65535", id="empty port"),
    pytest.param("http://a:http/", "write a port from 1 to 65535", id="port by name"),
    pytest.param("http://a:80:90/", "write a port from 1 to 65535", id="two ports"),
    pytest.param("http:///cart", "names no host", id="empty host"),
    pytest.param("http://:80/", "names no host", id="port alone"),
    pytest.param("http://u@/", "names no host", id="user without a host"),
    pytest.param("http://@a/", "write USER:PASSWORD", id="empty user"),
    pytest.param("http://u@b@a/", "%40 for @", id="two users"),
    pytest.param("http://u%@a/", "%25 for %", id="user with a bad escape"),
    pytest.param("http://a%zz/", "is no name of a host", id="host with a bad escape"),
    pytest.param("http://a%41/", "is no name of a host", id="host with an escape"),
    pytest.param("http://a,b/", "is no name of a host", id="host with a comma"),
    pytest.param("http://a..b/", "is no name of a host", id="host with an empty label"),
    pytest.param(f"http://{'l' * 64}.a/", "labels of 1 to 63", id="label too long"),
    pytest.param(f"http://{'a.' * 127}a/", "is no name of a host", id="host too long"),
    pytest.param("http://*.example/", "write any.example", id="pattern for a host"),
    pytest.param("tcp://db.example:5432", "no name is looked up; write tcp://:5432", id="TCP to a name"),
    pytest.param("udp://:53/x", "write udp://:53", id="UDP with a path"),
    pytest.param("tls://u@a:443", "write tls://a:443", id="TLS with a user"),
    pytest.param("tls://a..b:443", "is no name of a host", id="server name with an empty label"),
    pytest.param("tls://a", "wants a port: tls://NAME:443", id="stream without a port"),
]
UNTYPED = [  # what the fields of a RouteTest cannot hold
    pytest.param("http://a b/", "a URL has no spaces; write %20", id="space in a host"),
    pytest.param("http://a/b c", "a URL has no spaces; write %20", id="space in a path"),
    pytest.param(" http://a/", "a URL has no spaces", id="space before"),
    pytest.param("http://a\x01/", "percent-encode", id="control byte in a host"),
    pytest.param("http://a/\x7f", "percent-encode", id="control byte in a path"),
    pytest.param("http://a/\r\nX: 1", "a URL has no spaces", id="line end"),
    pytest.param("http://é.example/", "percent-encode", id="host that is not ASCII"),
    pytest.param("ftp://a/", "ftp:// cannot be asked about", id="unknown scheme"),
    pytest.param("http:/a", "and // behind the scheme", id="one slash"),
    pytest.param("://a", "write a port", id="no scheme"),
]


@pytest.mark.parametrize(("url", "hint"), [*MALFORMED, *UNTYPED])
def test_explain_refuses(url: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_words([url])
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        pytest.param(["--resolve", "a:99999:10.0.0.7"], "--resolve HOST:PORT:ADDRESS", id="port of --resolve"),
        pytest.param(["--resolve", "a:80:db.example"], "--resolve HOST:PORT:ADDRESS", id="name in --resolve"),
        pytest.param(["--connect-to", "a:80:10.0.0.7:0"], "HOST:PORT:ADDRESS:PORT", id="port of --connect-to"),
        pytest.param(["--connect-to", "::db.example:80"], "no name is looked up", id="name in --connect-to"),
        pytest.param(["--connect-to", "::[zz]:80"], "no name is looked up", id="IPv6 in --connect-to"),
    ],
)
def test_places_are_addresses_and_ports(words: list[str], hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        parse_words([*words, "http://a/"])


def test_a_user_is_decoded_as_curl_does() -> None:
    assert parse_words(["http://u%40b:p%3Aw@a/"]).headers == parse_words(["-u", "u@b:p:w", "http://a/"]).headers


GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: any, listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: gatewayproxy.io/v1alpha1
kind: RouteTest
metadata: {name: odd}
spec: {tests: [{name: it, request: {url: URL}, expect: {status: 404}}]}
"""


@pytest.mark.parametrize(("url", "hint"), MALFORMED)
def test_a_route_test_with_such_a_request_fails_and_says_why(
    url: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all.yaml").write_text(GATEWAY.replace("URL", json.dumps(url)))
    assert main(["test", str(tmp_path)]) == 1
    assert hint in capsys.readouterr().out


@pytest.mark.parametrize("url", ["http://a/%zz", "http://a/%", "http://a/.."])
def test_a_path_that_the_gateway_refuses_is_explained_as_that(url: str) -> None:
    routed = decide_entry(PortTable(table_of(listener("a", route("a/x")))), parse_words([url]))
    assert (routed.entry, routed.reason) in ((None, "bad_target"), (None, "ambiguous_path"))


# --- lines of logs: what they say in escapes is no more than it was on the wire


def line(**fields: str) -> bytes:
    tree = {"protocol": "http/1.1", "listener": "default/gw/a", "method": "OPTIONS", "host": "a", "target": "/"}
    return json.dumps({**tree, "status": 200, **fields}).encode()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({"method": "GET / HTTP/1.1\r\nX-Beta: 1\r\nA: b"}, "bad_request_line", id="fields in a method"),
        pytest.param({"target": "/ HTTP/1.1\r\nX-Beta: 1\r\nA: b"}, "bad_request_line", id="fields in a target"),
        pytest.param({"target": "/a b"}, "bad_request_line", id="space in a target"),
        pytest.param({"target": "/a\x01"}, "bad_request_line", id="control byte in a target"),
        pytest.param({"target": "/%zz"}, "bad_target", id="bad escape in a target"),
        pytest.param({"method": "G T"}, "bad_request_line", id="space in a method"),
        pytest.param({"host": "a\r\nX-Beta: 1"}, "bad_header", id="fields in a host"),
        pytest.param({"host": "a b"}, "bad_host", id="space in a host"),
        pytest.param({"host": "[::1"}, "bad_host", id="bracket that is not closed"),
        pytest.param({"host": "a:99999"}, "bad_host", id="port above all"),
        pytest.param({"host": "u@a"}, "bad_host", id="user before a host"),
        pytest.param({"host": ""}, "bad_host", id="empty host"),
    ],
)
def test_a_line_is_decided_as_the_gateway_would(fields: dict[str, str], reason: str) -> None:
    table = table_of(listener("a", route("a/x", rule(match(headers=[(b"x-beta", b"1")])))))
    logged = parse_line(line(**fields))
    assert logged is not None
    routed = decide_entry(PortTable(table), logged.request)
    assert (routed.entry, routed.reason) == (None, reason)
    replay = Replay(table)
    replay.feed([line(**fields)], "log", 1)
    (case,) = replay.take().cases
    assert case.now.reason == reason


def test_a_field_of_a_line_does_not_become_two() -> None:
    table = table_of(listener("a", route("a/x", rule(match(headers=[(b"x-beta", b"1")])))))
    written = b'[t] "GET / HTTP/1.1" 200 - 0 0 1 1 "10.0.0.1" "curl\\r\\nX-Beta: 1" "id" "a" "-"'
    logged = parse_line(written)
    assert logged is not None
    headers = tuple((name, value.replace(b"\\r\\n", b"\r\n")) for name, value in logged.request.headers)
    request = logged.request._replace(headers=headers, tls=False)
    assert decide_entry(PortTable(table), request).reason == "bad_header"


@pytest.mark.parametrize("form", [json_line, text_line], ids=["json", "text"])
def test_a_line_of_a_head_that_could_not_be_read_is_no_request(form: Callable[[AccessRecord, str], str]) -> None:
    """It had been one for / of no host: over TLS, "no_sni", with advice to add a listener."""
    record = AccessRecord(
        protocol="https/1.1", listener="default/gw/a", client="10.0.0.1", started_at=0.0, generation=1, status=400,
        reason="bad_request_line",
    )  # fmt: skip
    unread, read = (
        form(each, "2026-11-20T09:00:00.000Z").strip().encode()
        for each in (record, record._replace(method=b"GET", host=b"a", target=b"/"))
    )
    assert parse_line(unread) is None
    assert parse_line(read) is not None
    replay = Replay(table_of(listener("a", route("a/x"))))
    replay.feed([unread], "log", 1)
    counts = replay.take()
    assert (counts.unread, counts.cases, counts.missed) == (1, {}, {})
