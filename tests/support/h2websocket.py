"""A WebSocket over an HTTP/2 connection, by extended CONNECT (RFC 8441); frames by the `websockets` library."""

from __future__ import annotations

from websockets.frames import Frame, Opcode

from tests.support.h2client import H2Session

__all__ = ["H2WebSocket"]


class H2WebSocket:
    """One stream of *session*, opened by `open`."""

    def __init__(self, session: H2Session, stream_id: int) -> None:
        self._session = session
        self._stream_id = stream_id
        self._at = 0  # what has been received of the stream

    @classmethod
    async def open(cls, session: H2Session, host: str, path: str, subprotocol: str = "") -> H2WebSocket:
        """Return an open WebSocket; AssertionError with the status if it was refused."""
        fields = [(":protocol", "websocket"), ("sec-websocket-version", "13")]
        if subprotocol:
            fields.append(("sec-websocket-protocol", subprotocol))
        stream_id = session.request(path, method="CONNECT", host=host, scheme="https", end=False, fields=fields)
        answer = session.answers[stream_id]
        await session.until(lambda: answer.status or answer.reset is not None)
        assert (answer.status, answer.reset) == (200, None)
        chosen = dict(answer.fields).get(b"sec-websocket-protocol", b"").decode()
        assert chosen == subprotocol
        return cls(session, stream_id)

    async def echoes(self, message: str | bytes) -> bool:
        """Send *message* and return whether it comes back."""
        text = isinstance(message, str)
        frame = Frame(Opcode.TEXT if text else Opcode.BINARY, message.encode() if isinstance(message, str) else message)
        await self._session.send(self._stream_id, frame.serialize(mask=True), end=False)
        expected = frame.serialize(mask=False)
        answer = self._session.answers[self._stream_id]
        end = self._at + len(expected)
        await self._session.until(lambda: len(answer.body) >= end or answer.ended or answer.reset is not None)
        begun_at, self._at = self._at, end
        return bytes(answer.body[begun_at:end]) == expected
