"""The event log: what happens to the process, on standard error, as key=value text or JSON lines.

A message is an event word and its fields, given as `log.info("worker_died", extra=fields(slot=1, status=-9))`; what is
below `ops` writes `log.info("worker_died slot=%d status=%d", 1, -9)`, which comes to the same.

Lines are written by a thread, as those of the access log are: whoever reads standard error, or has stopped reading it,
holds up nobody who logs. `QUEUE_BYTES` of lines wait for a slow reader; beyond, they are dropped, counted and told.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import queue
import re
import select
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gatewayproxy.ops.options import LogFormat

__all__ = ["dropped", "fields", "setup", "write_some"]

QUEUE_BYTES: Final = 1 << 20  # lines waiting for standard error; beyond, they are dropped and counted
FLUSH_S: Final = 2.0  # for what waits, at the end of the process
_STDERR: Final = 2
_WRITTEN: Final = re.compile(r"(\w+)((?: \w+=%[srd])+)")  # an event whose fields are in the message
_FIELD: Final = re.compile(r"(\w+)=%")
_PLAIN: Final = re.compile(r"[!#-&(-<>-\[\]-~]+")  # needs no quotes in text


def setup(form: LogFormat, level: str, process: str) -> None:
    """Send all logging of this process to standard error; *process* names it in every line."""
    handler = _Lines(_Json(process) if form == "json" else _Text(process))
    package = logging.getLogger("gatewayproxy")
    package.handlers[:] = [handler]
    package.propagate = False
    package.setLevel(level.upper())
    others = logging.getLogger("asyncio")
    others.handlers[:] = [handler]
    others.propagate = False
    logging.lastResort = handler  # of libraries that have a logger of their own


def dropped() -> int:
    """Return how many lines of this process have been lost to standard error so far."""
    return sum(each.dropped for each in logging.getLogger("gatewayproxy").handlers if isinstance(each, _Lines))


def fields(**values: object) -> dict[str, Any]:
    """Return the `extra` of a logging call; None values are left out."""
    return {"fields": {name: value for name, value in values.items() if value is not None}}


def write_some(fd: int, data: bytes | memoryview) -> int:
    """Write some of *data*, which may take as long as it wants; return how many bytes. Raise OSError as `os.write`."""
    while True:
        try:
            return os.write(fd, data)
        except BlockingIOError:  # whoever shares the pipe has made it so
            room = select.poll()
            room.register(fd, select.POLLOUT)
            room.poll()


class _Lines(logging.Handler):
    """Formats where it is called, and has a thread write. `logging.shutdown`, at exit too, waits FLUSH_S for that."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.dropped = 0
        self._told = 0  # of these
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line of *record*, or drop and count it where the queue is full; never blocks."""
        try:
            line = self._line(record)
        except Exception:
            self.handleError(record)
            return
        with self._changed:
            if self._waiting_bytes + len(line) > QUEUE_BYTES:
                self.dropped += 1
                return
            self._waiting_bytes += len(line)
        self._queue.put(line)

    def flush(self) -> None:
        """Wait up to FLUSH_S for what is queued."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting_bytes, FLUSH_S)

    def close(self) -> None:
        """End the thread when it has written what is queued."""
        self._queue.put(None)
        super().close()

    def _line(self, record: logging.LogRecord) -> bytes:
        return (self.format(record) + "\n").encode("utf-8", "backslashreplace")

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            if self._wrote(line):
                self._tell_dropped()
            with self._changed:
                self._waiting_bytes -= len(line)
                self._changed.notify_all()

    def _tell_dropped(self) -> None:
        n = self.dropped - self._told
        if n:
            record = logging.LogRecord(__name__, logging.WARNING, "", 0, "log_lines_dropped n=%d", (n,), None)
            self._told += n if self._wrote(self._line(record)) else 0

    def _wrote(self, line: bytes) -> bool:
        """Write *line*, for as long as that takes; return False, and count, where standard error fails."""
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[write_some(_STDERR, rest) :]
            except OSError:
                with self._changed:
                    self.dropped += 1
                return False
        return True


class _Text(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        event, told = _event(record)
        words = [_time(record), record.levelname.lower(), self._process, event]
        words += [f"{name}={_value(value)}" for name, value in told.items()]
        line = " ".join(words)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _Json(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        event, told = _event(record)
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": event,
            **told,
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _event(record: logging.LogRecord) -> tuple[str, Mapping[str, object]]:
    """Return the event word of *record* and its fields; of somebody else's record the whole message, and none."""
    written = _WRITTEN.fullmatch(record.msg) if isinstance(record.args, tuple) and isinstance(record.msg, str) else None
    if written is None:
        return record.getMessage(), getattr(record, "fields", {})
    values: Iterable[object] = record.args or ()
    return written[1], dict(zip(_FIELD.findall(written[2]), values, strict=True)) | getattr(record, "fields", {})


def _time(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _value(value: object) -> str:
    text = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
