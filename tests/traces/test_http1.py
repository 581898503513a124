"""Bytes in, bytes out: one exchange in memory, whole and in pieces."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatewayproxy.model.headops import HeadEdit
from gatewayproxy.model.limits import Limits
from tests.support.trace import Trace, trace

GET = b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EXCHANGES = [
    (GET, OK),
    (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 204 No Content\r\n\r\n"),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;z\r\nabc\r\n0\r\nU: 2\r\n\r\n",
    ),
]


def in_pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [piece for piece in [*pieces, data[at:]] if piece]


def content(raw: bytes) -> bytes:
    """Return *raw* without what may differ: the request id, and where chunks begin."""
    raw = re.sub(rb"x-request-id: \w+\r\n", b"", raw)
    at = raw.find(b"transfer-encoding: chunked\r\n")
    end = raw.find(b"\r\n\r\n", at) + 4
    if at < 0:
        return raw
    head, body = raw[:end], raw[end:]
    payload = b""
    while body:
        line, _, body = body.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            break
        payload += body[:size]
        body = body[size + 2 :]
    return head + payload + b"|" + body


def run(t: Trace, request: list[bytes], response: list[bytes]) -> tuple[bytes, bytes]:
    for piece in request:
        t.downstream.data_received(piece)
    for piece in response:
        t.upstream.data_received(piece)
    return content(t.backend.take()), content(t.client.take())


@settings(max_examples=150, deadline=None)
@example(EXCHANGES[-1], [4, 30, 30], [])  # within the request's chunk
@given(st.sampled_from(EXCHANGES), st.lists(st.integers(1, 30)), st.lists(st.integers(1, 30)))
async def test_pieces_say_what_the_whole_says(
    exchange: tuple[bytes, bytes], cuts: list[int], other_cuts: list[int]
) -> None:
    request, response = exchange
    with trace() as t:
        whole = run(t, [request], [response])
    with trace() as t:
        assert run(t, in_pieces(request, cuts), in_pieces(response, other_cuts)) == whole
        assert t.pool.idle == [t.upstream]


@pytest.mark.parametrize("surplus", [b"x", OK], ids=["a byte", "a whole answer"])
async def test_bytes_behind_an_answer_close_the_upstream_connection_and_go_nowhere(surplus: bytes) -> None:
    with trace() as t:
        t.downstream.data_received(GET)
        t.upstream.data_received(OK + surplus)
        assert t.client.take() == OK
        assert t.backend.closed
        assert t.pool.idle == []


async def test_bytes_on_an_idle_upstream_connection_close_it() -> None:
    with trace() as t:
        t.upstream.data_received(OK)
        assert t.backend.closed
        assert t.pool.idle == []
        assert t.client.take() == b""


async def test_a_bad_chunk_is_refused_before_anything_is_sent() -> None:
    with trace() as t:
        t.downstream.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX")
        assert t.backend.take() == b""
        assert t.client.take().startswith(b"HTTP/1.1 400 ")
        assert t.client.ended


async def test_a_bad_chunk_later_on_takes_the_upstream_request_down() -> None:
    with trace() as t:
        t.downstream.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert t.backend.take().endswith(b"5\r\nhello\r\n")
        t.downstream.data_received(b"+1\r\n")
        assert t.backend.aborted
        assert t.client.take().startswith(b"HTTP/1.1 400 ")


async def test_bytes_after_an_upgrade_request_wait_for_the_answer() -> None:
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    with trace() as t:
        t.downstream.data_received(upgrade + b"early")
        assert b"early" not in t.backend.take()
        t.upstream.data_received(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert t.backend.take() == b"early"
        t.downstream.data_received(b"more")
        assert t.backend.take() == b"more"


async def test_a_101_that_nobody_asked_for_is_a_502() -> None:
    with trace() as t:
        t.downstream.data_received(GET)
        t.upstream.data_received(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw")
        assert t.client.take().startswith(b"HTTP/1.1 502 ")
        assert t.backend.aborted


async def test_backpressure_crosses_in_both_directions() -> None:
    with trace() as t:
        t.downstream.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        t.upstream.pause_writing()
        assert t.client.paused
        t.upstream.resume_writing()
        assert not t.client.paused
        t.downstream.data_received(b"defghi")
        t.upstream.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        t.downstream.pause_writing()
        assert t.backend.paused
        t.downstream.resume_writing()
        assert not t.backend.paused


async def test_pipelined_bytes_are_held_up_to_a_bound() -> None:
    with trace(limits=Limits(head_bytes=1000)) as t:
        t.downstream.data_received(GET)
        t.downstream.data_received(GET * 30)
        assert not t.client.paused
        t.downstream.data_received(GET * 5)
        assert t.client.paused


def asked(t: Trace, *lines: bytes, path: bytes = b"/a") -> bytes:
    """Ask, answer, and return what the backend got, but the request id and our other lines."""
    t.downstream.data_received(b"GET %b HTTP/1.1\r\n%b\r\n" % (path, b"".join(line + b"\r\n" for line in lines)))
    got = t.backend.take()
    t.upstream.data_received(OK)
    assert t.client.take() == OK
    return re.sub(rb"(?m)^(?:x-forwarded-(?!host)|via|x-request-id)[^\n]*\n", b"", got)


async def test_each_request_of_a_connection_goes_on_with_its_own_fields_and_host() -> None:
    with trace() as t:
        for host, line, path in [
            (b"a.test", b"X: 1", b"/a"), (b"a.test", b"X: 1", b"/b?c"), (b"a.test", b"X: 2", b"/b?c"),
            (b"b.test", b"X: 2", b"/b"), (b"b.test", b"X: 2", b"/b"), (b"a.test", b"X: 1", b"/a"),
        ]:  # fmt: skip
            expected = b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\nx-forwarded-host: %b\r\n\r\n" % (path, host, line, host)
            assert asked(t, b"Host: " + host, line, path=path) == expected


async def test_fields_that_end_here_end_here_whatever_came_before() -> None:
    with trace() as t:
        plain = asked(t, b"Host: a.test", b"X: 1")
        assert asked(t, b"Host: a.test", b"X: 1", b"X-Real-IP: 6") == plain
        assert asked(t, b"Host: a.test", b"X: 1") == plain
        assert asked(t, b"Host: a.test", b"X: 1", b"X-Forwarded-For: 6") == plain
        assert asked(t, b"X: 1", b"Host: a.test") == plain.replace(b"Host: a.test\r\nX: 1", b"X: 1\r\nHost: a.test")


async def test_an_edit_drops_a_field_from_the_first_request_that_has_it_and_from_all_behind() -> None:
    edit = HeadEdit(cut=frozenset((b"x-gateway",)), append=b"X-Gateway: us\r\n")
    with trace(request=edit) as t:
        without = asked(t, b"Host: a.test", b"X: 1")
        assert without.count(b"X-Gateway: us\r\n") == 1
        for _ in range(2):
            assert asked(t, b"Host: a.test", b"X: 1") == without
            assert asked(t, b"Host: a.test", b"X: 1", b"x-GATEWAY: them") == without
            assert asked(t, b"Host: a.test", b"X: 1", b"x-GATEWAY: them") == without


async def test_requests_have_ids_of_their_own() -> None:
    with trace() as t:
        ids = []
        for _ in range(3):
            t.downstream.data_received(GET)
            ids += re.findall(rb"\r\nx-request-id: ([0-9a-f]{32})\r\n", t.backend.take())
            t.upstream.data_received(OK)
        assert len(set(ids)) == 3


async def test_no_more_of_a_head_is_remembered_than_2_kib() -> None:
    with trace() as t:
        asked(t, b"Host: a.test", b"X: 1")
        assert t.downstream.last_fields is not None
        asked(t, b"Host: a.test", b"X: " + b"1" * 2048)
        assert t.downstream.last_fields is None


ANSWERS = [
    (b"Content-Length: 2\r\n", b"ok"),
    (b"Content-Length: 2\r\n", b"no"),
    (b"Content-Length: 3\r\n", b"yes"),
    (b"Date: 1\r\nContent-Length: 3\r\n", b"yes"),
    (b"X: " + b"y" * 2048 + b"\r\nContent-Length: 2\r\n", b"ok"),
    (b"transfer-encoding: chunked\r\n", b"1\r\na\r\n0\r\n\r\n"),
]
gets = st.tuples(st.just(b"GET"), st.sampled_from(ANSWERS))
heads = st.tuples(st.just(b"HEAD"), st.sampled_from(ANSWERS[:-1]))


@settings(max_examples=100, deadline=None)
@given(st.lists(gets | heads, min_size=2, max_size=20))
@example([(b"HEAD", ANSWERS[0]), (b"GET", ANSWERS[0])])
@example([(b"GET", ANSWERS[0]), (b"HEAD", ANSWERS[0]), (b"GET", ANSWERS[1])])
@example([(b"GET", ANSWERS[4]), (b"GET", ANSWERS[4])])
async def test_each_answer_of_an_endpoint_s_connection_comes_with_its_own_head_and_body(
    asked: list[tuple[bytes, tuple[bytes, bytes]]],
) -> None:
    with trace() as t:
        for method, (lines, body) in asked:
            answer = b"HTTP/1.1 200 OK\r\n%b\r\n" % lines + (body if method == b"GET" else b"")
            t.downstream.data_received(method + GET[3:])
            t.upstream.data_received(answer)
            assert t.client.take() == answer


async def test_no_more_of_an_answer_s_head_is_remembered_than_2_kib() -> None:
    with trace() as t:
        t.downstream.data_received(GET)
        t.upstream.data_received(b"HTTP/1.1 200 OK\r\n%b\r\n%b" % ANSWERS[4])
        assert t.upstream._last is None
        for _ in range(8):
            t.downstream.data_received(GET)
            t.upstream.data_received(OK)
        assert t.upstream._last is not None
        assert t.upstream._last.buf + b"ok" == OK


async def test_a_fault_of_our_own_is_a_500_and_one_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError

    with trace() as t:
        monkeypatch.setattr("gatewayproxy.dataplane.protocols.forwarded.standing_lines", broken)
        t.downstream.data_received(GET)
        assert t.client.take().startswith(b"HTTP/1.1 500 ")
        assert t.context.stats.reasons == {("default/gw/http", "internal_error"): 1}
        monkeypatch.undo()
        t.downstream.data_received(GET)
        assert t.backend.take().startswith(b"GET /a ")
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_a_backend_that_has_not_taken_a_request_gets_no_second_one_behind_it() -> None:
    with trace() as t:
        t.downstream.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        t.upstream.pause_writing()
        t.upstream.data_received(OK)
        assert t.client.take() == OK
        assert t.backend.closed
        assert t.pool.idle == []


async def test_a_client_that_reads_again_after_its_last_answer_is_not_waited_for_longer() -> None:
    """The linger of a connection must end, whatever its write buffer did before."""
    with trace() as t:
        t.downstream.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        t.upstream.data_received(OK)
        t.downstream.pause_writing()
        t.downstream.resume_writing()
        assert t.downstream.deadline_at > 0
