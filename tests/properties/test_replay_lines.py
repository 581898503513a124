"""What is taken from lines quickly is what a whole reading of them says, however they are written."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatewayproxy.compiler.lower import lower
from gatewayproxy.insight.access_logs import FORMS, Logged
from gatewayproxy.insight.ports import ByTarget, PortTable, decide_entry
from gatewayproxy.insight.replay.lines import sketchers
from gatewayproxy.insight.requests import Kind, Request
from gatewayproxy.model.plan import Plan
from gatewayproxy.model.source import CompileOptions
from tests.properties.test_match import HOSTS, PATHS
from tests.properties.test_replay import QUERIES, SCANS, configurations, lines

LISTENER = "default/gw/x"
OURS = (
    b'{"time":"2026-11-21T10:00:00.001Z","protocol":"http/1.1","listener":"default/gw/x","route":"HTTPRoute default/r",'
    b'"rule":"0","backend":"b","endpoint":"e","client":"10.0.0.1","method":"GET","target":"/a","status":200,"host":"a",'
    b'"request_id":"1","bytes_in":0,"bytes_out":0,"duration_ms":0.000,"connect_ms":0.000,"upstream_ms":0.000,'
    b'"attempts":1,"generation":1}'
)
FRAGMENTS = [
    b'"', b"\\", b" ", b"  ", b"}", b"{", b"|", b"]", b"[", b"?", b"#", b"/", b"-", b"~", b"0", b"00", b"1e9", b".",
    b",", b"\t", b"\r", b"\x00", b"\x7f", b"\xc3\xa9", b"\xff", b"\\u0041", b"\\u0020", b"\\n", b"\\x41", b"null",
    b"a.example", b',"status":500', b',"host":"b"', b'"reason":"x"', b"a|b.example:8080|", b"10.0.0.1:1 [t] ",
    b"HTTP/1.1", b' "GET /b HTTP/1.1" 200 - 1 ', b"1" * 20, b"9" * 5_000,
]  # fmt: skip


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """Return a line of a log, mostly with something in it that nobody writes."""
    line = draw(st.one_of(st.just(OURS), lines([LISTENER])))
    for _ in range(draw(st.integers(0, 3))):
        at, length = draw(st.integers(0, len(line))), draw(st.sampled_from([0, 0, 1, 2, 9]))
        line = line[:at] + draw(st.sampled_from(FRAGMENTS)) + line[at + length :]
    return line


def told(logged: Logged) -> tuple[object, ...]:
    """Return what a decision, and a report of it, may depend on."""
    request = logged.request._replace(client="", headers=(), target=b"", path=b"", query=b"")
    ours = (logged.route, logged.rule, logged.reason) if request.listener else ()
    return request, logged.status, *ours


@settings(max_examples=400, deadline=None)
@given(hostile())
@example(OURS.replace(b"}", b',"status":500}'))
@example(OURS.replace(b'"generation":1', b'"generation":1,"status":500'))
@example(OURS.replace(b'"generation":1', b'"attempts":1,"generation":01'))
@example(OURS.replace(b"0.000", b"0.0.0"))
@example(OURS.replace(b"0.000", b"0."))
@example(OURS.replace(b'"status":200', b'"status":99'))
@example(OURS.replace(b'"status":200', b'"status":007'))
@example(OURS.replace(b'"bytes_in":0', b'"bytes_in":' + b"9" * 5_000))
@example(OURS.replace(b'"method":"GET"', b'"method":""'))
@example(OURS.replace(b'"/a"', b'""'))
@example(OURS.replace(b'"/a"', b'"/\xc3\xa9"'))
@example(OURS.replace(b'"/a"', b'"/\xff"'))
@example(OURS.replace(b'"/a"', b'"/\t"'))
def test_a_line_of_ours_says_what_json_says(line: bytes) -> None:
    """A line with a space at its end is read by `json.loads`: no other reader takes it."""
    assert FORMS["json"](line) == FORMS["json"](line + b" ")


@settings(max_examples=400, deadline=None)
@given(st.lists(hostile(), min_size=1, max_size=4), st.booleans())
def test_lines_with_one_sketch_differ_by_target_and_time_alone(some: list[bytes], queries: bool) -> None:
    met: dict[object, tuple[object, ...]] = {}
    for form, sketcher in sketchers(frozenset(), queries=queries).items():
        for line in some:
            found = sketcher.pattern.fullmatch(line)
            if found is None:
                continue
            logged = FORMS[form](line)
            assert logged is not None
            request, target = logged.request, found[sketcher.target]
            assert target == (request.target if queries else request.path)
            assert logged.time.encode("latin-1") == found[sketcher.time]
            assert met.setdefault((form, sketcher.sketch(found)), told(logged)) == told(logged)


@settings(max_examples=300, deadline=None)
@given(configurations(), st.data())
def test_what_is_decided_by_target_is_what_is_decided(plan: Plan, data: st.DataObject) -> None:
    ports = PortTable(lower(plan, CompileOptions()))
    fields = [(b"X", b"1"), (b"user-agent", b"12"), (b"X", b" a b "), (b"Connection", b"x"), (b"bad name", b"1")]
    hosts = [host.encode() for host in HOSTS]
    kind = data.draw(st.sampled_from([Kind.HTTP] * 9 + [Kind.TLS, Kind.TCP]))
    tls = data.draw(st.sampled_from([None, None, False, True])) if kind is Kind.HTTP else kind is Kind.TLS
    host = data.draw(st.sampled_from([*hosts * 2, b"a:8080", b"", b"a b", b"[::1]"]))
    request = Request(
        kind,
        port=data.draw(st.sampled_from([0] * 6 + [80])),
        tls=tls,
        server_name=data.draw(st.sampled_from([host, host, None, *hosts])) if tls is not False else None,
        method=data.draw(st.sampled_from([b"GET"] * 4 + [b"POST"] * 3 + [b"OPTIONS", b"get", b"TRACE"])),
        authority=host,
        headers=tuple(data.draw(st.one_of(st.just([]), st.lists(st.sampled_from(fields), max_size=2)))),
        scheme=data.draw(st.sampled_from([None] * 7 + [b"https"])),
    )
    asked = ByTarget(ports, request)
    targets = [*PATHS, *(path.encode() for path in SCANS), b"/" + b"a" * 20_000, b"/a/%62", b"/a/%20", b"/%62/a", b""]
    for target in data.draw(st.lists(st.sampled_from(targets), min_size=8, max_size=24)):
        whole = target + data.draw(st.sampled_from(QUERIES)).encode()
        assert asked.decide(whole) == decide_entry(ports, request.with_target(whole))
