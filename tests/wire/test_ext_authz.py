"""Messages of ext_authz v3: what Google's Protocol Buffers read of ours, and what is read of any bytes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.auth import Action, Change
from gatewayproxy.wire.ext_authz import Question, call_head, framed, read_answer
from tests.support.ext_authz import CheckRequest, CheckResponse

MOST = 128  # fields
TOKEN = st.text("abcXYZ-_09", min_size=1, max_size=8)


def question(**given_: Any) -> Question:
    usual: dict[str, Any] = {
        "method": b"GET", "path": b"/", "host": b"a.test", "scheme": b"http", "protocol": b"HTTP/1.1",
        "request_id": b"1", "headers": {}, "size": 0, "body": b"", "source": b"192.0.2.1", "address": b"192.0.2.2",
        "port": 80, "seconds": 1, "nanos": 2,
    }  # fmt: skip
    return Question(**{**usual, **given_})


@given(
    headers=st.dictionaries(st.binary(min_size=1, max_size=8), st.binary(max_size=8), max_size=4),
    path=st.binary(min_size=1, max_size=20), body=st.binary(max_size=40), size=st.integers(-1, 1 << 40),
)  # fmt: skip
def test_google_reads_any_question(headers: dict[bytes, bytes], path: bytes, body: bytes, size: int) -> None:
    made = question(headers=headers, path=path, body=body, size=size)
    attributes = CheckRequest.FromString(made.encoded()).attributes
    http = attributes.request.http
    assert (http.path, http.size) == (path.decode("utf-8", "replace"), size)
    assert (http.raw_body or http.body.encode()) == body
    assert len(http.headers) == len(headers)
    assert attributes.destination.address.socket_address.port_value == 80


def test_a_call_says_how_long_its_message_is_and_may_take() -> None:
    assert framed(b"abc") == b"\0\0\0\0\x03abc"
    assert b"\r\ngrpc-timeout: 1m\r\ncontent-length: 8\r\n" in call_head(b"a", 0.0001, 8)
    assert b"\r\ngrpc-timeout: 99999999m\r\n" in call_head(b"a", 1e9, 8)


@given(names=st.lists(TOKEN, max_size=4), code=st.integers(-(1 << 31), (1 << 31) - 1))
def test_what_google_writes_is_a_verdict(names: list[str], code: int) -> None:
    response = CheckResponse()
    response.status.code = code
    for name in names:
        option = response.ok_response.headers.add()
        option.header.key, option.header.value = name, " v "
    verdict = read_answer(framed(response.SerializeToString()), MOST)
    assert verdict.allowed == (code == 0)
    made = tuple(Change(name.lower().encode(), b"v", Action.SET) for name in names)
    assert verdict.changes == (made if verdict.allowed else ())


@given(st.binary(max_size=80))
def test_any_message_is_read_or_refused(content: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert read_answer(framed(content), MOST).status


@given(st.binary(max_size=20))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert read_answer(body, MOST).status


def test_a_raw_value_counts_where_there_is_no_other() -> None:
    response = CheckResponse()
    option = response.ok_response.headers.add()
    option.header.key, option.header.raw_value = "x-a", b"\xe9"
    assert read_answer(framed(response.SerializeToString()), MOST).changes == (Change(b"x-a", b"\xe9"),)


@pytest.mark.parametrize("name", ["", "a b", "a:", "é", "a\n"])
@pytest.mark.parametrize("part", ["ok", "denied"])
def test_a_field_that_is_none_is_refused(name: str, part: str) -> None:
    response = CheckResponse()
    response.status.code = 7 if part == "denied" else 0
    where = response.denied_response if part == "denied" else response.ok_response
    option = where.headers.add()
    option.header.key, option.header.value = name, "v"
    with pytest.raises(RemoteProtocolError):
        read_answer(framed(response.SerializeToString()), MOST)


@pytest.mark.parametrize("part", ["headers", "headers_to_remove", "response_headers_to_add", "denied"])
def test_more_fields_than_a_head_may_have_are_refused(part: str) -> None:
    response = CheckResponse()
    response.status.code = 7 if part == "denied" else 0
    where = response.denied_response.headers if part == "denied" else getattr(response.ok_response, part)
    for n in range(MOST):
        if part == "headers_to_remove":
            where.append(f"x-{n}")
        else:
            where.add().header.key = f"x-{n}"
    whole = framed(response.SerializeToString())
    assert read_answer(whole, MOST).allowed == (part != "denied")
    with pytest.raises(RemoteProtocolError, match="more than 127 fields"):
        read_answer(whole, MOST - 1)
