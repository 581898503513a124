"""The event log: what happens to the process, on standard error, as key=value text or JSON lines.

A message is an event word and its fields, given as `log.info("worker_died", extra=fields(slot=1, status=-9))`; what is
below `ops` writes `log.info("worker_died slot=%d status=%d", 1, -9)`, which comes to the same.
"""

from __future__ import annotations

import datetime
import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gatewayproxy.ops.options import LogFormat

__all__ = ["fields", "setup"]

_WRITTEN: Final = re.compile(r"(\w+)((?: \w+=%[srd])+)")  # an event whose fields are in the message
_FIELD: Final = re.compile(r"(\w+)=%")
_PLAIN: Final = re.compile(r"[!#-&(-<>-\[\]-~]+")  # needs no quotes in text


def setup(form: LogFormat, level: str, process: str) -> None:
    """Send all logging of this process to standard error; *process* names it in every line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(process) if form == "json" else _Text(process))
    package = logging.getLogger("gatewayproxy")
    package.handlers[:] = [handler]
    package.propagate = False
    package.setLevel(level.upper())
    others = logging.getLogger("asyncio")
    others.handlers[:] = [handler]
    others.propagate = False


def fields(**values: object) -> dict[str, Any]:
    """Return the `extra` of a logging call; None values are left out."""
    return {"fields": {name: value for name, value in values.items() if value is not None}}


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
