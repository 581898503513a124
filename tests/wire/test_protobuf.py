"""The wire format of Protocol Buffers, beside Google's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.protobuf import fields, message, number, signed, text
from tests.support.ext_authz import CheckRequest

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@given(seconds=INT64, method=st.text(), raw=st.binary(), size=INT64)
def test_google_reads_what_is_written(seconds: int, method: str, raw: bytes, size: int) -> None:
    http = text(2, method.encode()) + number(9, size) + text(12, raw)
    request = message(1, number(1, seconds)) + message(2, http)
    found = CheckRequest.FromString(message(1, message(4, request))).attributes.request
    assert (found.time.seconds, found.http.size, found.http.method, found.http.raw_body) == (seconds, size, method, raw)


@given(size=INT64, text_=st.text(), raw=st.binary())
def test_what_google_writes_is_read(size: int, text_: str, raw: bytes) -> None:
    request = CheckRequest()
    http = request.attributes.request.http
    http.size, http.body, http.raw_body = size, text_, raw
    found = dict(fields(http.SerializeToString()))
    assert signed(int(found.get(9, 0))) == size  # type: ignore[arg-type]
    assert found.get(11, b"") == text_.encode()
    assert found.get(12, b"") == raw


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = list(fields(data))
    except RemoteProtocolError:
        return
    assert sum(len(value) if isinstance(value, bytes) else 1 for _, value in found) <= len(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x08", id="no value"),
        pytest.param(b"\x80", id="half a key"),
        pytest.param(b"\x08" + b"\x80" * 10 + b"\x01", id="a number of more than ten bytes"),
        pytest.param(b"\x08" + b"\xff" * 9 + b"\x02", id="a number of 65 bits"),
        pytest.param(b"\x0a\x02a", id="longer than what is there"),
        pytest.param(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", id="longer than memory"),
        pytest.param(b"\x0d123", id="half a fixed32"),
        pytest.param(b"\x091234567", id="half a fixed64"),
        pytest.param(b"\x02\x00", id="field 0"),
        pytest.param(b"\x0b\x0c", id="a group"),
        pytest.param(b"\x0e", id="no type"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        list(fields(data))


def test_fixed_fields_are_passed_over_as_bytes() -> None:
    assert list(fields(b"\x0d1234\x1112345678")) == [(1, b"1234"), (2, b"12345678")]
