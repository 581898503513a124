"""The access log: one line per exchange or stream, written without blocking the loop.

`AccessLog` formats on the loop (a few µs a line), gathers lines, and hands whole batches to a `LineWriter`, a thread
that does nothing but `write`. The queue between them holds `QUEUE_BYTES`; where the disk or the pipe is slower than
the traffic, further lines are dropped and counted (`dropped`), never waited for.

Peers' bytes are escaped by JSON's string rules (ASCII only), so no line can be forged or broken by a request.
"""

from __future__ import annotations

import asyncio
import datetime
import errno
import logging
import os
import queue
import stat
import threading
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quote
from typing import Final

from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.ops.logs import write_some
from gatewayproxy.ops.options import AccessLogFormat

__all__ = ["AccessLog", "LineWriter", "json_line", "text_line"]

log = logging.getLogger(__name__)

BATCH_BYTES: Final = 65_536  # a batch this large leaves at once
FLUSH_S: Final = 0.2  # and any other after this long
QUEUE_BYTES: Final = 8 << 20  # lines waiting for the disk; beyond, they are dropped and counted
FIELD_BYTES: Final = 2_048  # a longer target, host or request id is cut in the log
_PIPE_BUF: Final = 4_096  # a pipe takes this much as a whole, even when several workers write
_HINT: Final = "lines are dropped and counted meanwhile: make room, or mend the path and send SIGUSR1"
_CLOSED: Final = -1
_END: Final = b"\n"[0]
_REOPEN: Final = b""  # in the queue: reopen the file


def json_line(record: AccessRecord, timestamp: str) -> str:
    """Return *record* as one JSON object and a newline; absent fields are left out, names carry their unit."""
    r = record
    parts = [
        f'{{"time":"{timestamp}","protocol":"{r.protocol}","listener":{quote(r.listener)},"route":{quote(r.route)}'
        f',"rule":{quote(r.rule)},"backend":{quote(r.backend)},"endpoint":{quote(r.endpoint)}'
        f',"client":{_text(r.client)}'
    ]
    if r.method:
        parts.append(f',"method":{_bytes(r.method)},"target":{_bytes(r.target)}')
    if r.status:
        parts.append(f',"status":{r.status}')
    if r.grpc_status:
        parts.append(f',"grpc_status":{r.grpc_status}')
    if r.host:
        parts.append(f',"host":{_bytes(r.host)}')
    if r.reason:
        parts.append(f',"reason":{quote(r.reason)}')
    if r.detail:
        parts.append(f',"detail":{_text(r.detail)}')
    if r.request_id:
        parts.append(f',"request_id":{_bytes(r.request_id)}')
    parts.append(
        f',"bytes_in":{r.bytes_in},"bytes_out":{r.bytes_out},"duration_ms":{r.duration_s * 1e3:.3f}'
        f',"connect_ms":{r.connect_s * 1e3:.3f},"upstream_ms":{r.upstream_s * 1e3:.3f}'
        f',"attempts":{r.attempts},"generation":{r.generation}}}\n'
    )
    return "".join(parts)


def text_line(record: AccessRecord, timestamp: str) -> str:
    """Return *record* as one line of space-separated fields, "-" where there is none.

    time client protocol "method target" host status reason bytes_in bytes_out duration_ms connect_ms upstream_ms
    listener route rule backend endpoint generation request_id grpc_status "detail"
    """
    r = record
    request = f'"{_bytes(r.method)[1:-1]} {_bytes(r.target)[1:-1]}"' if r.method else "-"
    return (
        f"{timestamp} {_word(r.client)} {r.protocol} {request} {_byte_word(r.host)} {r.status or '-'}"
        f" {_word(r.reason)} {r.bytes_in} {r.bytes_out} {r.duration_s * 1e3:.3f} {r.connect_s * 1e3:.3f}"
        f" {r.upstream_s * 1e3:.3f} {_word(r.listener)} {_word(r.route)} {_word(r.rule)} {_word(r.backend)}"
        f" {_word(r.endpoint)} {r.generation} {_byte_word(r.request_id)} {r.grpc_status or '-'}"
        f" {_text(r.detail) if r.detail else '-'}\n"
    )


def _text(value: str) -> str:
    return quote(value[:FIELD_BYTES])


def _bytes(value: bytes) -> str:
    return quote(value[:FIELD_BYTES].decode("latin-1"))


def _word(value: str) -> str:
    """Return *value* as one word: quotes and backslashes escaped, spaces as \\u0020."""
    return _text(value)[1:-1].replace(" ", "\\u0020") or "-"


def _byte_word(value: bytes) -> str:
    return _word(value.decode("latin-1"))


FORMATS: Final[dict[AccessLogFormat, Callable[[AccessRecord, str], str]]] = {"json": json_line, "text": text_line}


class AccessLog:
    """The loop's side: call it with a record. Needs a running loop."""

    def __init__(self, writer: LineWriter, form: AccessLogFormat) -> None:
        self._writer = writer
        self._format = FORMATS[form]
        self._loop = asyncio.get_running_loop()
        self._lines: list[str] = []
        self._size = 0
        self._flush_at: asyncio.TimerHandle | None = None
        self._second = -1
        self._prefix = ""
        self._offset = 0.0
        self._sync_clock()

    def __call__(self, record: AccessRecord) -> None:
        """Log *record*; never blocks."""
        wall = record.started_at + self._offset
        second = int(wall)
        if second != self._second:
            self._second = second
            moment = datetime.datetime.fromtimestamp(second, datetime.UTC)
            self._prefix = moment.strftime("%Y-%m-%dT%H:%M:%S")
        line = self._format(record, f"{self._prefix}.{int((wall - second) * 1e3):03d}Z")
        self._lines.append(line)
        self._size += len(line)
        if self._size >= BATCH_BYTES:
            self.flush()
        elif self._flush_at is None:
            self._flush_at = self._loop.call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Hand what there is to the writer."""
        if self._flush_at is not None:
            self._flush_at.cancel()
            self._flush_at = None
        if self._lines:
            self._writer.write("".join(self._lines).encode("ascii", "backslashreplace"), len(self._lines))
            self._lines.clear()
            self._size = 0
        self._sync_clock()

    def close(self, timeout_s: float) -> None:
        """Flush, and wait up to *timeout_s* for the writer."""
        self.flush()
        self._writer.close(timeout_s)

    def _sync_clock(self) -> None:
        # Loop time is monotonic; the offset follows steps of the wall clock within a flush.
        self._offset = datetime.datetime.now(datetime.UTC).timestamp() - self._loop.time()


class LineWriter:
    """The thread's side: appends batches of whole lines to *path* ("-" = standard output)."""

    def __init__(self, path: str) -> None:
        """Open *path*; where that fails, lines are dropped and counted, and each batch tries anew."""
        self.dropped = 0  # lines lost to a full queue or a failing disk
        self._path = path
        self._fd = _CLOSED
        self._queue: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._error = 0
        self._torn = False  # the file ends in half a line of ours
        try:
            self._fd = self._open()
        except OSError as error:
            self._failed(error, 0)
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, batch: bytes, n_lines: int) -> None:
        """Queue *batch*, or drop and count its lines where the queue is full."""
        with self._lock:
            if self._waiting_bytes + len(batch) > QUEUE_BYTES:
                self.dropped += n_lines
                return
            self._waiting_bytes += len(batch)
        self._queue.put((batch, n_lines))

    def reopen(self) -> None:
        """Reopen the file after what is queued (log rotation)."""
        self._queue.put((_REOPEN, 0))

    def close(self, timeout_s: float) -> None:
        """Write what is queued, wait up to *timeout_s* for it."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _open(self) -> int:
        if self._path == "-":
            return 1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self._path, flags | os.O_NONBLOCK, 0o640)  # a pipe that nobody reads is an error, no wait
        os.set_blocking(fd, True)
        return fd

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            batch, n_lines = item
            try:
                if batch is _REOPEN:
                    self._reopen_file()
                else:
                    self._append(batch)
            except OSError as error:
                self._failed(error, n_lines)
            with self._lock:
                self._waiting_bytes -= len(batch)
        self._close()

    def _reopen_file(self) -> None:
        if self._path == "-":
            return
        fresh = self._open()  # first, so that a failure keeps the old file
        self._close()
        self._fd = fresh
        self._error = 0
        self._torn = False

    def _close(self) -> None:
        if self._fd not in (_CLOSED, 1):
            os.close(self._fd)

    def _append(self, batch: bytes) -> None:
        if self._fd == _CLOSED:
            self._fd = self._open()
        # A file takes an append of any size as a whole; a pipe only up to PIPE_BUF.
        whole = not stat.S_ISFIFO(os.fstat(self._fd).st_mode)
        if self._torn:
            self._torn = not write_some(self._fd, b"\n")
        written = 0
        try:
            for part in [batch] if whole else _pieces(batch):
                end = written + len(part)
                while written < end:
                    written += write_some(self._fd, memoryview(batch)[written:end])
        except OSError as error:
            self._torn = written > 0 and batch[written - 1] != _END
            self._failed(error, batch.count(b"\n", written))
        else:
            self._error = 0

    def _failed(self, error: OSError, n_lines: int) -> None:
        with self._lock:
            self.dropped += n_lines
        if error.errno != self._error:  # once per trouble, not once per batch
            self._error = error.errno or errno.EIO
            log.error("access_log_failed path=%s error=%s hint=%s", self._path, error.strerror or str(error), _HINT)


def _pieces(batch: bytes) -> list[bytes]:
    """Cut *batch* between lines into pieces a pipe takes whole; a longer line goes alone."""
    pieces: list[bytes] = []
    start = 0
    while start < len(batch):
        end = batch.rfind(b"\n", start, start + _PIPE_BUF) + 1 or batch.find(b"\n", start) + 1 or len(batch)
        pieces.append(batch[start:end])
        start = end
    return pieces
