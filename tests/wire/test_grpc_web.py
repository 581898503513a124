"""gRPC-Web framing: base64 in any slices, frames, the frame of trailers."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.grpc_web import Base64Reader, Base64Writer, Frames, form_of, trailers_frame

PIECES = st.lists(st.binary(max_size=40), max_size=8)
CUTS = st.lists(st.integers(1, 9), min_size=1, max_size=50)


def sliced(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return *data* in slices of *sizes*, over and over."""
    slices = []
    turn = 0
    while data:
        size = sizes[turn % len(sizes)]
        slices.append(data[:size])
        data = data[size:]
        turn += 1
    return slices


def read(slices: list[bytes]) -> bytes:
    reader = Base64Reader()
    found = b"".join([reader.feed(piece) for piece in slices])
    reader.end()
    return found


def message(data: bytes, flags: int = 0) -> bytes:
    return bytes([flags]) + len(data).to_bytes(4, "big") + data


@given(PIECES, CUTS)
def test_padded_pieces_in_any_slices_are_read(pieces: list[bytes], sizes: list[int]) -> None:
    text = b"".join(base64.b64encode(piece) for piece in pieces)
    assert read(sliced(text, sizes)) == b"".join(pieces)


@pytest.mark.parametrize(
    "text",
    [
        b"QQ",
        b"Q===",
        b"====",
        b"=QQQ",
        b"Q=QQ",
        b"QQ=Q",
        b"QQQ\n",
        b"QQ==\r\n",
        b"Q-_Q",
        b"QQQQ====",
        b"\xff\xff\xff\xff",
    ],
)
@pytest.mark.parametrize("size", [1, 64])
def test_what_is_no_base64_is_refused(text: bytes, size: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read(sliced(text, [size]))
    assert caught.value.reason == "bad_grpc_web"


@given(st.binary(max_size=64), CUTS)
def test_no_bytes_make_the_reader_raise_anything_else(data: bytes, sizes: list[int]) -> None:
    try:
        read(sliced(data, sizes))
    except RemoteProtocolError:
        return
    assert len(data) % 4 == 0


@given(PIECES, CUTS)
def test_messages_are_written_with_padding_between_them_only(bodies: list[bytes], sizes: list[int]) -> None:
    frames, writer = Frames(), Base64Writer()
    text = b""
    for body in bodies:
        pieces = sliced(message(body), sizes)
        for piece in pieces[:-1]:
            frames.feed(piece)
            text += writer.feed(piece, whole=frames.whole)
            assert b"=" not in text.split(b"|")[-1]
        frames.feed(pieces[-1])
        text += writer.feed(pieces[-1], whole=frames.whole) + b"|"
    answers = [base64.b64decode(each, validate=True) for each in text.split(b"|")[:-1]]
    assert answers == [message(body) for body in bodies]


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 1)), max_size=6), CUTS)
def test_frames_are_followed_in_any_slices(bodies: list[tuple[bytes, int]], sizes: list[int]) -> None:
    frames = Frames()
    for piece in sliced(b"".join([message(body, flags) for body, flags in bodies]), sizes):
        frames.feed(piece)
    assert frames.whole
    frames.end()


@pytest.mark.parametrize("flags", [2, 0x80, 0x81, 0xFF])
def test_another_frame_than_a_message_is_refused(flags: int) -> None:
    with pytest.raises(RemoteProtocolError):
        Frames().feed(message(b"", flags))


@pytest.mark.parametrize("body", [b"\0", b"\0\0\0\0", b"\0\0\0\0\2x"])
def test_a_body_that_ends_within_a_frame_is_refused(body: bytes) -> None:
    frames = Frames()
    frames.feed(body)
    with pytest.raises(RemoteProtocolError):
        frames.end()


def test_trailers_become_one_frame_with_lower_case_names() -> None:
    block = b"grpc-status: 0\r\ngrpc-message: a: b\r\n"
    assert trailers_frame(b"Grpc-Status:0\r\nGRPC-message:  a: b \r\n") == b"\x80\0\0\0%c%b" % (len(block), block)


@pytest.mark.parametrize(
    ("kind", "accept", "text", "inner", "answer"),
    [
        (b"application/grpc-web", None, False, b"application/grpc", b"application/grpc-web"),
        (b"application/grpc-web+proto", b"*/*", False, b"application/grpc+proto", b"application/grpc-web+proto"),
        (b"application/grpc-web-text", None, True, b"application/grpc", b"application/grpc-web-text"),
        (
            b"application/grpc-web-text+proto",
            b"application/grpc-web-text+proto",
            True,
            b"application/grpc+proto",
            b"application/grpc-web-text+proto",
        ),
        (
            b"application/grpc-web+json",
            b"application/grpc-web-text",
            False,
            b"application/grpc+json",
            b"application/grpc-web-text+json",
        ),
        (
            b"application/grpc-web-text",
            b"application/grpc-web",
            True,
            b"application/grpc",
            b"application/grpc-web",
        ),
        (
            b"application/grpc-web-text",
            b"application/grpc-web, application/grpc-web-text",
            True,
            b"application/grpc",
            b"application/grpc-web-text",
        ),
    ],
)
def test_the_form_of_the_answer_is_that_of_the_call_or_what_it_accepts(
    kind: bytes, accept: bytes | None, text: bool, inner: bytes, answer: bytes
) -> None:
    form = form_of(kind, accept)
    assert form is not None
    assert (form.text, form.inner, form.answer) == (text, inner, answer)
    assert form.answer_text == answer.startswith(b"application/grpc-web-text")


@pytest.mark.parametrize("kind", [None, b"application/grpc", b"application/grpc+proto", b"text/plain"])
def test_other_calls_have_no_form(kind: bytes | None) -> None:
    assert form_of(kind, b"application/grpc-web-text") is None
