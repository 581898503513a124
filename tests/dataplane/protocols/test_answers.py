"""Answers of our own: one table of reasons, and well-formed bytes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gatewayproxy
from gatewayproxy.dataplane.protocols.answers import ANSWERS, answer_body, answer_bytes
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.response import parse_response

ROOT = Path(gatewayproxy.__file__).parent
RAISED = re.compile(r'(?:reason|kind)="([a-z_0-9]+)"')
HTTP = [ROOT / "wire" / f"{name}.py" for name in ("head", "response", "chunked", "target")]
FILES = [*HTTP, *(ROOT / "dataplane" / "upstream").glob("*.py")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_reason_that_is_raised_is_in_the_table(path: Path) -> None:
    assert set(RAISED.findall(path.read_text())) <= set(ANSWERS)


@pytest.mark.parametrize("reason", ANSWERS)
def test_an_answer_is_a_whole_response_that_names_its_reason(reason: str) -> None:
    status, _ = ANSWERS[reason]
    body = answer_body(status, reason)
    raw = answer_bytes(status, body, head_only=False, lines=b"connection: close\r\n")
    head = parse_response(raw, Limits())
    assert head is not None
    assert (head.status, head.length, raw[head.end :]) == (status, len(body), body)
    assert reason.encode() in body


def test_a_content_type_that_a_filter_gives_is_the_only_one() -> None:
    raw = answer_bytes(500, b"gone", head_only=False, lines=b"a: b\r\nContent-Type: text/html\r\n")
    assert raw.lower().count(b"content-type:") == 1


def test_an_answer_to_head_has_the_length_but_not_the_body() -> None:
    raw = answer_bytes(404, b"gone", head_only=True, lines=b"")
    assert raw.endswith(b"content-length: 4\r\n\r\n")
