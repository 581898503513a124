"""The codes of the gateway's answers to calls."""

from __future__ import annotations

import pytest

from gatewayproxy.dataplane.protocols.answers import ANSWERS
from gatewayproxy.dataplane.protocols.call_answers import DEADLINES, answer_to, code_of
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.refusals import REFUSALS
from gatewayproxy.wire.grpc import Code, code_of_lines
from gatewayproxy.wire.head import RequestHead, parse_request


def head(*lines: bytes) -> RequestHead:
    raw = b"\r\n".join([b"POST /s/m HTTP/1.1", b"Host: a.test", *lines, b"", b""])
    parsed = parse_request(raw, Limits())
    assert parsed is not None
    return parsed


CALL = head(b"Content-Type: application/grpc")


@pytest.mark.parametrize("reason", [*REFUSALS, *(each for each in ANSWERS if ANSWERS[each][0] >= 400)])
def test_every_reason_has_a_code_and_is_told(reason: str) -> None:
    status = REFUSALS[reason] if reason in REFUSALS else ANSWERS[reason][0]
    answer = answer_to(CALL, status, reason, b"")
    if status == 421:
        assert answer is None
        return
    assert answer is not None
    assert answer.code is code_of(status, reason) is not Code.OK
    assert code_of_lines(answer.lines) == answer.code
    assert b"\r\ngrpc-message: %b: " % reason.encode() in answer.lines


def test_timeouts_are_deadlines() -> None:
    told = {reason for reason, (status, _) in ANSWERS.items() if status == 504}
    assert told <= DEADLINES


@pytest.mark.parametrize("status", [200, 301, 421])
def test_what_grpc_cannot_say_stays_http(status: int) -> None:
    assert answer_to(CALL, status, "redirect", b"") is None


@pytest.mark.parametrize("lines", [(), (b"Content-Type: text/plain",), (b"Content-Type: application/grpc",) * 2])
def test_another_request_is_no_call(lines: tuple[bytes, ...]) -> None:
    assert answer_to(head(*lines), 404, "no_rule", b"") is None


def test_fields_of_filters_go_along_except_for_ours() -> None:
    answer = answer_to(
        CALL, 500, "backend_not_found", b"x-a: b\r\nContent-Type: text/html\r\ngrpc-status: 0\r\nx-c: d\r\n"
    )
    assert answer is not None
    assert answer.lines.endswith(b"\r\nx-a: b\r\nx-c: d\r\n")
    assert answer.lines.lower().count(b"content-type:") == answer.lines.count(b"grpc-status:") == 1
