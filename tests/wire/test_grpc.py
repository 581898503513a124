"""gRPC in fields: deadlines, messages, content types, status codes."""

from __future__ import annotations

from urllib.parse import unquote

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.grpc import Code, code_of_http, code_of_lines, content_type, percent_encoded, timeout_s


def test_the_codes_are_those_of_the_official_library() -> None:
    assert {code.name: code.value for code in Code} == {code.name: code.value[0] for code in grpc.StatusCode}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"250m", 0.25),
        (b"99999999u", 99.999999),
        (b"5n", 5e-9),
        (b"0n", 0.0),
    ],
)
def test_a_timeout_is_a_number_and_a_unit(value: bytes, seconds: float) -> None:
    assert timeout_s(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", [b"", b"1", b"S", b"123456789S", b"-1S", b"+1S", b"1 S", b"1s", b"1.5S", b"1S,2S", b"1S\n", b"\xb2S"]
)
def test_another_timeout_is_refused(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        timeout_s(value)
    assert caught.value.reason == "bad_grpc_timeout"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_message_survives_its_field(text: str) -> None:
    encoded = percent_encoded(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert unquote(encoded.decode("ascii")) == text


def test_what_needs_no_encoding_gets_none() -> None:
    assert percent_encoded("no_rule: 100% of ~ é\n") == b"no_rule: 100%25 of ~ %C3%A9%0A"


@pytest.mark.parametrize(
    ("value", "media"),
    [
        (b"application/grpc", b"application/grpc"),
        (b"Application/gRPC+Proto", b"application/grpc+proto"),
        (b"application/grpc; charset=utf-8", b"application/grpc"),
        (b"application/grpc-web+json", b"application/grpc-web+json"),
        (b"application/grpc-web-text", b"application/grpc-web-text"),
        (b"application/grpc-webby", b""),
        (b"application/grpc-web-text-base32", b""),
        (b"application/grpcx", b""),
        (b"application/grpc+", b""),
        (b"text/plain, application/grpc", b""),
        (b"application/json", b""),
        (b"application/grpc;" + b"x" * 300, b""),
    ],
)
def test_a_content_type_of_grpc_is_known(value: bytes, media: bytes) -> None:
    assert content_type(value) == media


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Code.INTERNAL),
        (401, Code.UNAUTHENTICATED),
        (403, Code.PERMISSION_DENIED),
        (404, Code.UNIMPLEMENTED),
        (429, Code.UNAVAILABLE),
        (500, Code.UNKNOWN),
        (502, Code.UNAVAILABLE),
        (503, Code.UNAVAILABLE),
        (504, Code.UNAVAILABLE),
    ],
)
def test_an_http_status_stands_for_a_code(status: int, code: Code) -> None:
    assert code_of_http(status) is code


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (b"grpc-status: 0\r\n", 0),
        (b"a: b\r\nGrpc-Status:14\r\ngrpc-message: x\r\n", 14),
        (b"x-grpc-status: 3\r\n", -1),
        (b"grpc-status: x\r\n", -1),
        (b"", -1),
    ],
)
def test_the_status_is_found_among_field_lines(lines: bytes, code: int) -> None:
    assert code_of_lines(lines) == code
