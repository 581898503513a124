"""Frames by themselves: read whole or in pieces, written and read back, with bounds on what is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.errors import H2Error
from gatewayproxy.wire.h2frames import (
    END_STREAM,
    FRAME_BYTES,
    HEADERS,
    ErrorCode,
    FrameReader,
    Setting,
    frame,
    goaway_frame,
    goaway_of,
    header_frames,
    number_frame,
    settings_frame,
    settings_of,
)
from tests.support import h2peer


def read(
    raw: bytes, max_block_bytes: int = 65_536, max_continuations: int = 16
) -> list[tuple[int, int, int, bytes, int]]:
    reader = FrameReader(max_block_bytes, max_continuations)
    reader.feed(raw)
    return list(reader.frames())


@given(st.binary(max_size=60_000), st.sampled_from([0, END_STREAM]))
def test_a_header_block_of_any_size_comes_back_as_one_frame(block: bytes, flags: int) -> None:
    ((kind, got, stream, payload, number),) = read(header_frames(5, block, flags))
    assert (kind, got & END_STREAM, stream, payload, number) == (HEADERS, flags, 5, block, 0)


def test_no_frame_we_write_is_larger_than_any_peer_must_take() -> None:
    assert max(len(each[3]) for each in h2peer.parse(header_frames(1, bytes(50_000), 0))) == FRAME_BYTES


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(frame(0, 1, 3, b"abc"), (0, 1, 3, b"abc", 3), id="DATA"),
        pytest.param(frame(0, 8, 3, b"\x02abc\0\0"), (0, 8, 3, b"abc", 6), id="DATA counts its padding"),
        pytest.param(frame(0, 8, 3, b"\x02\0\0"), (0, 8, 3, b"", 3), id="nothing but padding"),
        pytest.param(frame(1, 0x2C, 3, b"\x01\0\0\0\x03\x10abc\0"), (1, 0x2C, 3, b"abc", 1), id="HEADERS, all of it"),
        pytest.param(number_frame(3, 3, 8), (3, 0, 3, b"", 8), id="RST_STREAM"),
        pytest.param(number_frame(8, 0, 0x80000005), (8, 0, 0, b"", 5), id="WINDOW_UPDATE, reserved bit"),
        pytest.param(frame(0xBE, 7, 3, b"what"), (0xBE, 7, 3, b"", 0), id="unknown"),
    ],
)
def test_a_frame_is_taken_apart(raw: bytes, expected: tuple[int, int, int, bytes, int]) -> None:
    assert read(raw) == [expected]
    assert read(raw[:-1]) == []


def test_settings_and_goaway_come_back() -> None:
    ((*_, payload, _),) = read(settings_frame([(Setting.ENABLE_PUSH, 0), (0xFEED, 7)]))
    assert list(settings_of(payload)) == [(2, 0), (0xFEED, 7)]
    ((*_, payload, _),) = read(goaway_frame(7, ErrorCode.CANCEL, b"why"))
    assert goaway_of(payload) == (7, 8, b"why")


def test_a_frame_too_large_is_refused_by_its_head_alone() -> None:
    with pytest.raises(H2Error) as caught:
        read(frame(0, 0, 1, bytes(FRAME_BYTES + 1))[:9])
    assert caught.value.code is ErrorCode.FRAME_SIZE_ERROR


def test_what_is_kept_of_a_frame_is_less_than_a_frame() -> None:
    reader = FrameReader(65_536, 16)
    raw = frame(0, 0, 1, bytes(FRAME_BYTES)) * 3
    for at in range(0, len(raw), 1000):
        reader.feed(raw[at : at + 1000])
        list(reader.frames())
        assert len(reader._buf) - reader._at < FRAME_BYTES + 9
    assert not reader.partial


@pytest.mark.parametrize(("size", "n"), [(1001, 0), (600, 1), (0, 4)], ids=["at once", "in bytes", "in frames"])
def test_a_block_that_goes_on_too_long_is_refused(size: int, n: int) -> None:
    raw = frame(1, 0, 1, bytes(size)) + frame(9, 0, 1, bytes(size)) * n + frame(9, 0, 1, b"x")
    with pytest.raises(H2Error) as caught:
        read(raw, 1000, 3)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_after_an_error_of_a_stream_the_next_frame_is_read() -> None:
    reader = FrameReader(1000, 3)
    reader.feed(frame(2, 0, 1, b"123") + frame(0, 0, 1, b"abc"))
    with pytest.raises(H2Error) as caught:
        list(reader.frames())
    assert (caught.value.stream_id, caught.value.code) == (1, ErrorCode.FRAME_SIZE_ERROR)
    assert list(reader.frames()) == [(0, 0, 1, b"abc", 3)]
