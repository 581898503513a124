"""The translation of gRPC-Web in memory: whatever slices both bodies come in."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.dataplane.protocols.grpc_web import Translation
from gatewayproxy.errors import RemoteProtocolError, UpstreamError
from gatewayproxy.model.limits import Limits
from gatewayproxy.wire.grpc_web import form_of
from gatewayproxy.wire.response import ResponseHead, parse_response
from tests.support.grpc_web import chunks, frame, read_answer, unchunked, untexted

LIMITS = Limits()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n"
MESSAGES = st.lists(st.binary(max_size=40), max_size=6)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=20)


@dataclass
class Endpoint:
    """The upstream's end: what it was sent."""

    out: bytes = b""
    complete: bool = False
    abandoned: bool = False
    fresh: bool = False
    full: bool = False
    unsent: int = 0

    def start(self, sink: object, out: bytes, bodiless: bool, complete: bool) -> None:
        self.send(out, complete)

    def send(self, data: bytes, complete: bool) -> None:
        assert not self.complete
        self.out += data
        self.complete = complete

    def abandon(self) -> None:
        self.abandoned = True


@dataclass
class Client:
    """The exchange's end: what it got."""

    payload_only: bool
    chunked: bool = False
    request_trailers: bytes = b""
    head: ResponseHead | None = None
    body: bytes = b""
    ended: bool = False
    failures: list[UpstreamError] = field(default_factory=list)
    refused: list[RemoteProtocolError] = field(default_factory=list)

    def on_head(self, head: ResponseHead, body: bytes) -> None:
        self.head = head
        self.body += body

    def on_body(self, data: bytes, last: bool = False) -> None:
        assert data
        self.body += data

    def on_end(self) -> None:
        self.ended = True

    def on_failure(self, error: UpstreamError) -> None:
        self.failures.append(error)


def slices(data: bytes, sizes: list[int]) -> list[bytes]:
    """Return *data* in slices of *sizes*, over and over."""
    found, turn = [], 0
    while data:
        size = sizes[turn % len(sizes)]
        found.append(data[:size])
        data = data[size:]
        turn += 1
    return found


def begin(kind: bytes, client: Client) -> tuple[Translation, Endpoint]:
    endpoint = Endpoint()
    form = form_of(kind, None)
    assert form is not None
    return Translation(form, client, endpoint, LIMITS, refuse=client.refused.append), endpoint  # type: ignore[arg-type]


def send(translation: Translation, client: Client, kind: bytes, pieces: list[bytes]) -> None:
    head = b"POST /s/m HTTP/1.1\r\nHost: a\r\nContent-Type: %b\r\n\r\n" % kind
    first, *rest = pieces or [b""]
    translation.start(client, head + first, False, not rest)  # type: ignore[arg-type]
    for n, piece in enumerate(rest):
        if client.refused:
            return
        translation.send(piece, n == len(rest) - 1)


@given(MESSAGES, SIZES, st.booleans(), st.booleans())
def test_a_request_arrives_whole(messages: list[bytes], sizes: list[int], text: bool, chunked: bool) -> None:
    kind = b"application/grpc-web-text" if text else b"application/grpc-web"
    body = b"".join([base64.b64encode(frame(each)) if text else frame(each) for each in messages])
    client = Client(payload_only=True, chunked=chunked)
    translation, endpoint = begin(kind, client)
    pieces = slices(chunks(*slices(body, sizes[::-1])) if chunked else body, sizes)
    send(translation, client, kind, pieces)
    head, _, raw = endpoint.out.partition(b"\r\n\r\n")
    assert (endpoint.complete, client.refused) == (True, [])
    assert head.endswith(b"\r\ncontent-type: application/grpc\r\nte: trailers\r\ntransfer-encoding: chunked")
    assert unchunked(raw) == b"".join([frame(each) for each in messages])


@given(st.binary(max_size=60), SIZES, st.booleans())
def test_any_other_bytes_are_refused_once(body: bytes, sizes: list[int], text: bool) -> None:
    kind = b"application/grpc-web-text" if text else b"application/grpc-web"
    client = Client(payload_only=True)
    translation, endpoint = begin(kind, client)
    send(translation, client, kind, slices(body, sizes))
    assert len(client.refused) == (not endpoint.complete)
    assert all(error.reason == "bad_grpc_web" for error in client.refused)


@given(MESSAGES, SIZES, st.booleans(), st.booleans())
def test_an_answer_arrives_whole(messages: list[bytes], sizes: list[int], text: bool, payload_only: bool) -> None:
    kind = b"application/grpc-web-text" if text else b"application/grpc-web"
    client = Client(payload_only=payload_only)
    translation, _ = begin(kind, client)
    send(translation, client, kind, [])
    head = parse_response(ANSWER, LIMITS)
    assert head is not None
    translation.on_head(head, b"")
    for piece in slices(b"".join([frame(each) for each in messages]), sizes):
        translation.on_body(piece)
    translation.on_trailers(b"grpc-status: 0\r\nx-a: b\r\n")
    translation.on_end()
    assert client.head is not None
    assert parse_response(client.head.buf, LIMITS) is not None
    assert (client.ended, client.failures) == (True, [])
    raw = client.body if payload_only else unchunked(client.body)
    assert read_answer(untexted(raw) if text else raw) == (messages, {"grpc-status": "0", "x-a": "b"})
