"""What is remembered of the fields of requests: which ones are taken for like the last, and which are read anew."""

from __future__ import annotations

import pytest

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.head import parse_request
from gatewayproxy.wire.plain import MAX_LESSONS, MAX_VALUES, PlainFields

LIMITS = Limits(head_bytes=8192, head_fields=20)


def request(*lines: bytes, line: bytes = b"GET /a HTTP/1.1") -> bytes:
    return b"".join(each + b"\r\n" for each in (line, *lines, b""))


def fields_after(*heads: bytes) -> PlainFields:
    """Return what a connection remembers after *heads*."""
    last = None
    for raw in heads:
        head = parse_request(raw, LIMITS, last=last)
        assert head is not None
        last = head.plain
    assert last is not None
    return last


def is_known(last: PlainFields, raw: bytes) -> bool:
    """Return whether the fields of *raw* are not read again."""
    try:
        head = parse_request(raw, LIMITS, last=last)
    except RemoteProtocolError:
        return False
    return head is not None and head.plain is last


HOST = b"Host: a.test"
TWO = fields_after(request(HOST, b"A: 1", b"B: x", b"C: 1"), request(HOST, b"A: 2", b"B: x", b"C: 2"))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(request(HOST, b"A: 2", b"B: x", b"C: 2"), id="the same bytes"),
        pytest.param(request(HOST, b"A: 3", b"B: x", b"C: 3"), id="the values that differed"),
        pytest.param(request(HOST, b"A: 3", b"B: x", b"C: 2"), id="one of them"),
        pytest.param(request(HOST, b"A:", b"B: x", b"C:\t longer \xff"), id="empty and longer values"),
        pytest.param(request(HOST, b"A: 3", b"B: x", b"C: 4", line=b"PUT /b?c HTTP/1.1"), id="another target"),
    ],
)
def test_values_that_differed_once_may_differ_again(raw: bytes) -> None:
    assert is_known(TWO, raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(request(HOST, b"A: 3", b"B: y", b"C: 3"), id="a value that did not differ before"),
        pytest.param(request(HOST, b"A: 3", b"D: x", b"C: 3"), id="another name"),
        pytest.param(request(HOST, b"a: 3", b"B: x", b"C: 3"), id="a name in other letters"),
        pytest.param(request(HOST, b"A : 3", b"B: x", b"C: 3"), id="a space behind a name"),
        pytest.param(request(HOST, b"B: x", b"A: 3", b"C: 3"), id="another order"),
        pytest.param(request(HOST, b"A: 3", b"B: x", b"C: 3", b"C: 4"), id="a line more"),
        pytest.param(request(HOST, b"A: 3", b"B: x", b"C: 3", b"Connection: close"), id="a line more that matters"),
        pytest.param(request(HOST, b"A: 3", b"B: x"), id="a line less"),
        pytest.param(request(b"Host: b.test", b"A: 3", b"B: x", b"C: 3"), id="another host"),
        pytest.param(request(HOST, b"A: 3\r\n folded", b"B: x", b"C: 3"), id="a folded value"),
        pytest.param(request(HOST, b"A: 3\r\nContent-Length: 5", b"B: x", b"C: 3"), id="a line within a value"),
        pytest.param(request(HOST, b"A: 3\nContent-Length: 5", b"B: x", b"C: 3"), id="a bare LF"),
        pytest.param(request(HOST, b"A: 3\rX", b"B: x", b"C: 3"), id="a bare CR"),
        pytest.param(request(HOST, b"A: 3\0", b"B: x", b"C: 3"), id="NUL"),
        pytest.param(request(HOST, b"A: \x7f", b"B: x", b"C: 3"), id="DEL"),
        pytest.param(request(HOST, b"A: 3", b"B: x", b"C: 3") + b"G", id="the beginning of another request"),
        pytest.param(request(HOST, b"A: 3", b"B: x", b"C: 3") * 2, id="two requests"),
        pytest.param(request(HOST, b"A: 3", b"B: x", b"C: 3", line=b"GET /a HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(request(HOST, b"A: 3", b"B: x", b"C: 3", line=b"GET /a;b HTTP/1.1"), id="an odd path"),
        pytest.param(request(HOST, b"A: 3", b"B: x", b"C: 3", line=b"GET /a HTTP/1.1\r\nX: 1"), id="a line in front"),
        pytest.param(request(HOST, b"A: " + b"3" * 8192, b"B: x", b"C: 3"), id="more than a head may have"),
    ],
)
def test_what_differs_otherwise_is_read_anew(raw: bytes) -> None:
    assert not is_known(TWO, raw)
    assert is_known(TWO, request(HOST, b"A: 4", b"B: x", b"C: 4"))


def test_a_value_that_differs_later_is_learned_beside_the_others() -> None:
    three = fields_after(
        request(HOST, b"A: 1", b"B: x", b"C: 1"),
        request(HOST, b"A: 2", b"B: x", b"C: 1"),
        request(HOST, b"A: 2", b"B: x", b"C: 2"),
    )
    assert is_known(three, request(HOST, b"A: 3", b"B: x", b"C: 3"))
    assert not is_known(three, request(HOST, b"A: 3", b"B: y", b"C: 3"))


def test_the_host_is_never_among_the_values_that_may_differ() -> None:
    last = fields_after(request(HOST, b"A: 1"), request(b"Host: b.test", b"A: 2"))
    assert last.authority == b"b.test"
    assert not is_known(last, request(b"Host: c.test", b"A: 2"))


@pytest.mark.parametrize(("n", "known"), [(MAX_VALUES, True), (MAX_VALUES + 1, False)])
def test_more_than_so_many_values_are_not_compared(n: int, known: bool) -> None:
    def head(value: bytes) -> bytes:
        return request(HOST, *(b"X-%d: %b" % (i, value) for i in range(n)))

    assert is_known(fields_after(head(b"1"), head(b"2")), head(b"3")) is known


@pytest.mark.parametrize(("n", "known"), [(MAX_LESSONS - 1, True), (MAX_LESSONS, False)])
def test_from_heads_of_ever_other_names_nothing_is_learned_any_more(n: int, known: bool) -> None:
    others = [request(HOST, b"X-%d: 1" % i) for i in range(n)]
    last = fields_after(*others, request(HOST, b"A: 1"), request(HOST, b"A: 2"))
    assert is_known(last, request(HOST, b"A: 3")) is known


def test_what_was_of_use_is_learned_anew() -> None:
    kinds = (b"A", b"B") * MAX_LESSONS
    last = fields_after(*(request(HOST, b"%b: %d" % (name, i)) for name in kinds for i in range(3)))
    assert is_known(last, request(HOST, b"B: 3"))


def test_an_edit_finds_what_it_drops_in_heads_like_those_before() -> None:
    last = fields_after(request(HOST, b"X-Gateway: 1"), request(HOST, b"X-Gateway: 2"))
    head = parse_request(request(HOST, b"X-Gateway: 3"), LIMITS, last=last)
    assert head is not None
    assert head.plain is last
    assert head.mentions((b"\nx-gateway:",))
