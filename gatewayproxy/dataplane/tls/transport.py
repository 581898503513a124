"""TlsTransport: an established TLS connection, presented as a transport to the protocol that speaks inside it.

Between a raw transport and an `ssl.SSLObject` over memory BIOs. Ciphertext enters OpenSSL record by record, so each
record costs one read and no exception, and the BIOs, which never shrink, stay at the size of a record.
Flow control passes through both ways: nothing is held here but an unfinished record. Closing is RFC 8446 §6.1:
close_notify ends a direction; a TCP end without it is a truncation, and the inner protocol sees a lost connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

__all__ = ["TlsTransport"]

_HEADER: Final = 5  # bytes of a record header (RFC 8446 §5.1)
_PLAIN: Final = 16_384  # most plaintext bytes of a record
_CIPHER: Final = _PLAIN + 2_048  # most ciphertext bytes of a record (RFC 5246 §6.2.3; TLS 1.3 allows fewer)


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """Encrypts for the inner protocol above and decrypts from the raw transport below; one object plays both roles."""

    __slots__ = (
        "_closing", "_error", "_header", "_incoming", "_inner", "_missing", "_on_lost", "_outgoing", "_peer_closed",
        "_raw", "_reading", "_sent_close", "_stalled", "_tls",
    )  # fmt: skip

    def __init__(
        self,
        raw: asyncio.Transport,
        *,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        on_lost: Callable[[TlsTransport], None],
    ) -> None:
        super().__init__()
        self._raw = raw
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self._on_lost = on_lost
        self._inner: asyncio.Protocol | None = None
        self._missing = 0  # bytes that end the record begun in the BIO
        self._header = b""  # a record header cut short
        self._closing = False  # nothing more goes to the inner protocol, or comes from it
        self._sent_close = False  # our close_notify is out: no more writes
        self._peer_closed = False  # the peer's close_notify is in: no more reads
        self._stalled = False  # the raw transport's buffer is full
        self._reading = True  # the inner protocol has not paused reading
        self._error: Exception | None = None

    @property
    def error(self) -> Exception | None:
        """Return what ended the connection, where it was TLS that did."""
        return self._error

    def start(self, inner: asyncio.Protocol) -> None:
        """Begin to serve *inner*, right after the handshake; what the BIO still holds arrived with it."""
        self._inner = inner
        self._raw.set_protocol(self)
        inner.connection_made(self)
        early = self._incoming.read()
        if early and not self._closing:
            self.data_received(early)

    # Towards the raw transport: its protocol

    def data_received(self, data: bytes) -> None:
        """Decrypt what arrived and pass on the plaintext, in one piece."""
        if self._closing or self._peer_closed:
            return  # RFC 8446 §6.1: data after a closure alert MUST be ignored
        try:
            # PERF: one whole record a segment is the common case: one BIO write, one read, no exception.
            if not self._missing and not self._header and len(data) == _record_bytes(data):
                self._incoming.write(data)
                plain = self._tls.read(_PLAIN)
                if not plain:
                    self._peer_closed = True
            else:
                plain = self._read_records(data)
        except ssl.SSLWantReadError:  # a record without data: a key update, a refused renegotiation
            self._flush_control()
            return
        except ssl.SSLZeroReturnError:  # close_notify in answer to ours, where OpenSSL returns no b""
            plain = b""
            self._peer_closed = True
        except ssl.SSLError as error:
            self._fail(error)
            return
        if plain and self._inner is not None:
            self._inner.data_received(plain)
        if self._peer_closed and not self._closing and self._inner is not None:
            self._end_of_input(self._inner)

    def eof_received(self) -> bool:
        """Tell an end from a truncation: TCP's end without close_notify is none of TLS's."""
        if self._peer_closed:
            return not self._closing  # our direction may go on
        self._error = ConnectionAbortedError("the TCP stream ended without close_notify")
        self._closing = True
        self._raw.abort()
        return False

    def pause_writing(self) -> None:
        """Pass backpressure up."""
        self._stalled = True
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass the end of backpressure up."""
        self._stalled = False
        if self._inner is not None:
            self._inner.resume_writing()
        if self._reading and not self._closing:
            self._raw.resume_reading()  # where `_flush_control` had paused it

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the inner protocol, once, and let go of everything."""
        self._closing = True
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.connection_lost(self._error or exc)
        self._on_lost(self)

    def _read_records(self, data: bytes) -> bytes:
        """Decrypt *data*, which holds several records or parts of some; set `_peer_closed` at a close_notify."""
        if self._header:
            data, self._header = self._header + data, b""
        view = memoryview(data)
        plain: list[bytes] = []
        at = 0
        while at < len(view) and not self._peer_closed:
            if not self._missing:
                if len(view) - at < _HEADER:
                    self._header = bytes(view[at:])
                    break
                # A longer record is an error that OpenSSL finds in its header: no need to wait for the rest.
                self._missing = min(_record_bytes(view[at:]), _HEADER + _CIPHER)
            end = min(at + self._missing, len(view))
            self._missing -= self._incoming.write(view[at:end])
            at = end
            if not self._missing:
                self._read_record(plain)
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def _read_record(self, plain: list[bytes]) -> None:
        try:
            data = self._tls.read(_PLAIN)
        except ssl.SSLWantReadError:
            self._flush_control()
            return
        except ssl.SSLZeroReturnError:
            data = b""
        if data:
            plain.append(data)
        else:
            self._peer_closed = True

    def _flush_control(self) -> None:
        """Send what OpenSSL itself has to say. A peer that provokes such records and reads none is not read on."""
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())
            if self._stalled:
                self._raw.pause_reading()

    def _end_of_input(self, inner: asyncio.Protocol) -> None:
        if not inner.eof_received():
            self.close()

    def _fail(self, error: ssl.SSLError) -> None:
        self._error = error
        self._closing = True
        if self._outgoing.pending:  # the fatal alert
            self._raw.write(self._outgoing.read())
        self._raw.close()

    # Towards the inner protocol: its transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send *data*."""
        if self._sent_close or self._closing or not data:
            return
        try:
            if len(data) <= _PLAIN:
                self._tls.write(data)
                self._raw.write(self._outgoing.read())
            else:
                self._write_records(memoryview(data))
        except ssl.SSLError as error:  # the connection is beyond use, e.g. its last key update failed
            self._fail(error)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Encrypt and send the pieces as if they were one."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """End our direction: close_notify, then FIN; reading goes on (RFC 8446 §6.1)."""
        if not self._closing:
            self._send_close_notify()
            self._raw.write_eof()

    def can_write_eof(self) -> bool:
        """Return True: either direction of TLS may end by itself."""
        return True

    def close(self) -> None:
        """Send what is buffered and close_notify, then close."""
        if not self._closing:
            self._send_close_notify()
            self._closing = True
            self._raw.close()

    def abort(self) -> None:
        """Close at once; buffered data is dropped."""
        self._closing = True
        self._raw.abort()

    def break_off(self) -> None:
        """Send what is buffered, then close without close_notify: to the peer, the end is a truncation."""
        if not self._closing:
            self._closing = True
            self._raw.close()

    def is_closing(self) -> bool:
        """Return whether the connection is closed or about to be."""
        return self._closing or self._raw.is_closing()

    def pause_reading(self) -> None:
        """Stop `data_received` until `resume_reading`; the peer meets TCP's window."""
        self._reading = False
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        self._reading = True
        if not self._closing:
            self._raw.resume_reading()

    def is_reading(self) -> bool:
        """Return whether `data_received` may be called."""
        return self._reading and not self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when `pause_writing` and `resume_writing` are called; ciphertext bytes."""
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return the bytes of ciphertext not yet taken by the kernel."""
        return self._raw.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return (low, high) of `set_write_buffer_limits`."""
        return self._raw.get_write_buffer_limits()

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the inner protocol."""
        assert self._inner is not None
        return self._inner

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol speak from here on."""
        self._inner = cast(asyncio.Protocol, protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the raw transport knows, or `ssl_object`."""
        return self._tls if name == "ssl_object" else self._raw.get_extra_info(name, default)

    def _write_records(self, view: memoryview) -> None:
        records = []
        for at in range(0, len(view), _PLAIN):
            self._tls.write(view[at : at + _PLAIN])
            records.append(self._outgoing.read())
        self._raw.writelines(records)

    def _send_close_notify(self) -> None:
        if self._sent_close:
            return
        self._sent_close = True
        with contextlib.suppress(ssl.SSLError):  # the peer's own close_notify is not awaited
            self._tls.unwrap()
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())


def _record_bytes(data: bytes | memoryview) -> int:
    """Return the size of the record that *data* begins with, header included; 0 = the header is not whole."""
    return _HEADER + (data[3] << 8 | data[4]) if len(data) >= _HEADER else 0
