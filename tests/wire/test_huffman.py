"""The Huffman code of HPACK, beside another implementation of it."""

from __future__ import annotations

import hpack.huffman
import pytest
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.huffman import decode, encode

ORACLE = hpack.huffman.HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
BITS = [f"{code:0{length}b}" for code, length in zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)]


def packed(bits: str) -> bytes:
    assert len(bits) % 8 == 0
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


@pytest.mark.parametrize("symbol", range(256))
def test_every_symbol_has_the_code_of_the_rfc(symbol: int) -> None:
    text = bytes((symbol,))
    assert encode(text) == ORACLE.encode(text)
    assert decode(encode(text)) == text


@given(st.binary(max_size=300))
def test_any_string_comes_back_and_is_written_like_the_oracle_does(text: bytes) -> None:
    assert encode(text) == (ORACLE.encode(text) if text else b"")
    assert decode(encode(text)) == text


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_like_the_oracle_does(data: bytes) -> None:
    try:
        expected = decode_huffman(data)
    except hpack.HPACKDecodingError:
        expected = None
    try:
        found = decode(data)
    except RemoteProtocolError:
        found = None
    assert found == expected


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(packed(BITS[ord("0")] + "1" * 11), id="padding of more than seven bits"),
        pytest.param(b"\xff", id="nothing but eight bits of padding"),
        pytest.param(packed(BITS[ord("0")] + "000"), id="padding of zeros"),
        pytest.param(packed(BITS[ord("0")] + "110"), id="padding that is not EOS's"),
        pytest.param(packed(BITS[256] + "11"), id="EOS"),
        pytest.param(packed(BITS[ord("0")] + BITS[256] + BITS[ord("0")]), id="EOS within"),
    ],
)
def test_eos_and_wrong_padding_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(data)


def test_long_strings_are_decoded_alike() -> None:
    text = bytes(range(32, 127)) * 20
    assert decode(encode(text)) == text
