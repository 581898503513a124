"""Lines of five kinds of access log, and what they say of a request."""

from __future__ import annotations

import json

import pytest

from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.insight.access_logs import form_of, parse_line
from gatewayproxy.insight.replay.lines import sketchers
from gatewayproxy.insight.requests import Kind
from gatewayproxy.ops.accesslog import json_line, text_line
from tests.support.calls import cpu_s

TIME = "2026-11-21T10:00:00.001Z"
RECORD = AccessRecord(
    protocol="https/2", listener="shop/web/https", client="10.0.0.1", started_at=0.0, generation=3,
    route="HTTPRoute shop/cart", rule="2 (checkout)", backend="shop/cart:80", endpoint="10.0.0.7:80", method=b"POST",
    host=b"shop.example:8443", target=b"/cart?full=1", status=200, duration_s=0.001, attempts=1,
)  # fmt: skip
STREAM = AccessRecord(
    protocol="tls", listener="shop/web/db", client="10.0.0.1", started_at=0.0, generation=3, host=b"db.a"
)
REFUSED = RECORD._replace(
    protocol="http/1.1", route="", rule="", backend="", endpoint="", status=404, reason="no_rule", attempts=0
)
FOREIGN = [
    pytest.param(
        b'10.0.0.1 - frank [10/Oct/2026:13:55:36 -0700] "GET /a?b=1 HTTP/1.1" 404 2326 "-" "Mozilla/4.08 (\\x22)"',
        ("combined", b"", b"GET", b"/a?b=1", 404, None),
        id="nginx",
    ),
    pytest.param(
        b'10.0.0.1 - - [10/Oct/2026:13:55:36 -0700] "GET http://a.example/x HTTP/1.0" 200 -',
        ("combined", b"a.example", b"GET", b"/x", 200, None),
        id="common log, absolute target",
    ),
    pytest.param(
        b'[2026-04-15T20:17:00.310Z] "POST /v1/x HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "agent" "id" "a.example" '
        b'"tcp://10.0.2.1:80"',
        ("envoy", b"a.example", b"POST", b"/v1/x", 204, None),
        id="Envoy",
    ),
    pytest.param(
        b'[2026-04-15T20:17:00.310Z] "GET /x HTTP/1.1" 503 UF via_upstream - "-" 0 91 2 - "-" "curl/8" "id" '
        b'"a.example" '
        b'"-" outbound - 10.0.0.1:80 10.0.0.2:9999 - default',
        ("envoy", b"a.example", b"GET", b"/x", 503, None),
        id="Istio",
    ),
    pytest.param(
        b'{":authority":"a.example","downstream_local_address":"10.0.0.1:10443","method":"GET","protocol":"HTTP/2",'
        b'"requested_server_name":"a.example","response_code":200,"start_time":"2026","x-envoy-origin-path":"/x"}',
        ("json", b"a.example", b"GET", b"/x", 200, True),
        id="Envoy Gateway",
    ),
    pytest.param(
        b"Feb  6 12:14:14 localhost haproxy[14389]: 10.0.1.2:33317 [06/Feb/2026:12:14:14.655] web~ static/srv1 "
        b'10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.example|x} {} "GET /index.html HTTP/1.1"',
        ("haproxy", b"1wt.example", b"GET", b"/index.html", 200, True),
        id="HAProxy",
    ),
]


@pytest.mark.parametrize("write", [json_line, text_line])
@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        REFUSED,
        RECORD._replace(target=b'/a"b\\ \xe9', grpc_status="0"),
        RECORD._replace(host=b""),
        REFUSED._replace(detail="host ok, 3 rules, closest shop/api#1 failed header x (absent)"),
        REFUSED._replace(detail='said "no" \\ 1 - -'),
    ],
    ids=["taken", "refused", "escapes", "no host", "a cause", "a cause with escapes"],
)
def test_what_we_log_is_read_back(write: object, record: AccessRecord) -> None:
    assert callable(write)
    logged = parse_line(write(record, TIME).rstrip("\n").encode())
    assert logged is not None
    request = logged.request
    assert (request.method, request.target, request.authority) == (record.method, record.target, record.host)
    assert (request.listener, request.client) == (record.listener, record.client)
    assert request.tls is record.protocol.startswith("https")
    assert request.version == record.protocol.partition("/")[2]
    assert request.server_name == (b"shop.example" if request.tls and record.host else None)
    assert logged[1:] == (record.status, TIME, record.route, record.rule, record.reason)


def test_lines_of_words_without_a_cause_are_read() -> None:
    """Those of versions before it was there."""
    line = text_line(REFUSED, TIME).removesuffix(" -\n").encode()
    logged = parse_line(line)
    assert logged is not None
    assert (logged.status, logged.reason, logged.request.target) == (404, "no_rule", b"/cart?full=1")


@pytest.mark.parametrize("write", [json_line, text_line])
def test_streams_are_read_back(write: object) -> None:
    assert callable(write)
    logged = parse_line(write(STREAM, TIME).rstrip("\n").encode())
    assert logged is not None
    assert (logged.request.kind, logged.request.server_name, logged.request.tls) == (Kind.TLS, b"db.a", True)


@pytest.mark.parametrize(("line", "said"), FOREIGN)
def test_logs_of_others_are_read(line: bytes, said: tuple[object, ...]) -> None:
    logged = parse_line(line)
    assert logged is not None
    request = logged.request
    shown = (form_of(line), request.authority, request.method, request.target, logged.status, request.tls)
    assert shown == said


@pytest.mark.parametrize(
    "line", [b"", b"hello", b"{", b"{}", b"[]", b'{"protocol":"x","listener":"y"}', b'{"protocol":1,"listener":2}']
)
def test_other_lines_are_of_no_form(line: bytes) -> None:
    assert form_of(line) == ""
    assert parse_line(line) is None


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"1:1 [ " * 10_000, id="HAProxy, begun and begun again"),
        pytest.param(b"1:1 [] a b 1 1 1 a b c 1 1 {" * 2_000, id="and once more behind a word"),
        pytest.param(b"a b [" * 12_000, id="nginx"),
        pytest.param(b'[a] "GET / HTTP/1.1" 200 - ' + b'"a" 1' * 10_000, id="Envoy"),
        pytest.param(b'a b http/1.1 "GET ' + b"\\a" * 30_000, id="ours, of words"),
        pytest.param(b'{"a":' * 12_000, id="ours, of JSON"),
    ],
)
def test_a_line_that_nearly_is_of_a_form_takes_no_longer_than_another(line: bytes) -> None:
    patterns = [sketcher.pattern for sketcher in sketchers(frozenset(), queries=True).values()]

    def look() -> None:
        assert form_of(line) == ""
        assert not any(pattern.fullmatch(line) for pattern in patterns)

    assert cpu_s(look) < 10.0  # of steps by the square of its length there are billions


def test_keys_may_come_in_any_order() -> None:
    tree = json.loads(json_line(RECORD, TIME))
    turned = json.dumps(dict(reversed(tree.items()))).encode()
    assert parse_line(turned) == parse_line(json_line(RECORD, TIME).rstrip("\n").encode())
