"""Words like curl's, and the request that they mean."""

from __future__ import annotations

import pytest

from gatewayproxy.errors import UsageError
from gatewayproxy.insight.command_line import parse_words
from gatewayproxy.insight.requests import Kind, Request, describe, head_bytes

CALL = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
FORM = (b"Content-Type", b"application/x-www-form-urlencoded")


def asked(words: str) -> Request:
    return parse_words(words.split("|"))


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        pytest.param(
            "http://a.example", {"port": 80, "tls": False, "target": b"/", "authority": b"a.example"}, id="bare"
        ),
        pytest.param("a.example:8080/x", {"port": 8080, "authority": b"a.example:8080", "path": b"/x"}, id="no scheme"),
        pytest.param(
            "https://A.Example/x?y=1#z", {"port": 443, "server_name": b"a.example", "query": b"y=1"}, id="https"
        ),
        pytest.param(
            "https://127.0.0.1:8443/", {"address": "127.0.0.1", "server_name": None}, id="an address has no SNI"
        ),
        pytest.param("http://[::1]:8080/", {"address": "::1", "authority": b"[::1]:8080"}, id="IPv6"),
        pytest.param("curl|-sSXPUT|http://a/", {"method": b"PUT"}, id="a cluster of short options"),
        pytest.param("-I|http://a/", {"method": b"HEAD"}, id="head"),
        pytest.param(
            "-H|Host: b|-H|X-A:  1 |http://a/", {"authority": b"b", "headers": ((b"X-A", b"1"),)}, id="headers"
        ),
        pytest.param("-H|Accept:|http://a/", {"headers": ()}, id="a header that is not sent"),
        pytest.param("http://a/|--resolve|a:80:10.0.0.7", {"address": "10.0.0.7", "port": 80}, id="resolve"),
        pytest.param("http://a/|--resolve|a:81:10.0.0.7", {"address": ""}, id="resolve of another port"),
        pytest.param(
            "https://a/|--connect-to|::10.0.0.7:8443",
            {"address": "10.0.0.7", "port": 8443, "authority": b"a"},
            id="connect-to",
        ),
        pytest.param(
            "-d|a=1|-d|b=2|http://a/",
            {"method": b"POST", "headers": (FORM, (b"Content-Length", b"7"))},
            id="data",
        ),
        pytest.param("-G|-d|a=1|http://a/?b=2", {"method": b"GET", "target": b"/?b=2&a=1", "headers": ()}, id="get"),
        pytest.param("--http2|https://a/", {"version": "2"}, id="HTTP/2 by ALPN"),
        pytest.param("--http2|http://a/", {"version": "1.1"}, id="an upgrade is declined"),
        pytest.param("--http2-prior-knowledge|http://a/", {"version": "2"}, id="prior knowledge"),
        pytest.param("-k|-o|/dev/null|-w|%{http_code}|http://a/", {"path": b"/"}, id="what changes nothing"),
        pytest.param("http://u:p@a/", {"headers": ((b"Authorization", b"Basic dTpw"),)}, id="user"),
        pytest.param(
            "grpc://a:50051/p.S/M",
            {"method": b"POST", "version": "2", "path": b"/p.S/M", "headers": CALL, "tls": False},
            id="a call",
        ),
        pytest.param("tls://db.a:5432", {"kind": Kind.TLS, "server_name": b"db.a", "port": 5432}, id="a server name"),
        pytest.param("tls://:443", {"kind": Kind.TLS, "server_name": None}, id="no server name"),
        pytest.param("tcp://10.0.0.1:22", {"kind": Kind.TCP, "address": "10.0.0.1", "port": 22}, id="TCP"),
        pytest.param("udp://:53", {"kind": Kind.UDP, "address": "", "port": 53}, id="UDP"),
    ],
)
def test_words_are_read_as_curl_would(words: str, fields: dict[str, object]) -> None:
    request = asked(words)
    assert {name: getattr(request, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("", "write a URL"),
        ("--heder|X: 1|http://a/", "did you mean --header"),
        ("http://a/|http://b/", "one request at a time"),
        ("--trusted-hops|1|http://a/", "those of explain itself stand before --"),
        ("-H|X|http://a/", "write -H 'Name: value'"),
        ("-H|X: a\r\nY: b|http://a/", "write -H 'Name: value'"),
        ("-X", "-X wants a value"),
        ("-X|G T|http://a/", "is no method"),
        ("http://a:99999/", "write a port"),
        ("http://a/é", "percent-encode"),
        ("ftp://a/", "ftp:// cannot be asked about"),
        ("tcp://a", "wants a port"),
        ("grpc://a/S", "write a call as"),
        ("--resolve|a:80|http://a/", "--resolve HOST:PORT:ADDRESS"),
        ("--connect-to|a|http://a/", "--connect-to HOST:PORT:ADDRESS:PORT"),
        ("some words of no log", "no access log that is known"),
        ('10.0.0.1 - - [1/Oct/2026:1:1:1 +0] "GET /a HTTP/1.1" 404 23', "add -H 'Host: shop.example'"),
    ],
)
def test_errors_say_what_to_write(words: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_words(words.split("|") if words else [])
    assert hint in str(caught.value)


def test_options_say_what_a_line_of_a_log_does_not() -> None:
    line = '10.0.0.1 - - [1/Oct/2026:1:1:1 +0] "GET /a HTTP/1.1" 404 23'
    request = parse_words([line, "-H", "Host: shop.example", "-H", "X-Beta: 1"])
    assert (request.authority, request.field(b"x-beta"), request.server_name) == (
        b"shop.example",
        b"1",
        b"shop.example",
    )


def test_a_request_is_described_in_one_line_and_written_as_a_head() -> None:
    request = asked("-XPOST|-H|X: 1|https://a.example:8443/x?y")
    assert describe(request) == "POST https://a.example:8443/x?y"
    assert head_bytes(request) == b"POST /x?y HTTP/1.1\r\nHost: a.example:8443\r\nX: 1\r\n\r\n"
