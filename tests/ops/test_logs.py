"""The event log: one line an event, in text or JSON, whatever a field holds."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import gatewayproxy
from gatewayproxy.ops import logs
from tests.support.process import wait_until


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    loggers = [logging.getLogger("gatewayproxy"), logging.getLogger("asyncio")]
    before = [(logger, logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    last = logging.lastResort
    yield logging.getLogger("gatewayproxy.test")
    logging.lastResort = last
    for handler in set(loggers[0].handlers) - set(before[0][1]):
        handler.close()
    for logger, handlers, propagate, level in before:
        logger.handlers[:] = handlers
        logger.propagate = propagate
        logger.setLevel(level)


def written(capfd: pytest.CaptureFixture[str]) -> str:
    """Return what has been logged since the last look."""
    for handler in logging.getLogger("gatewayproxy").handlers:
        handler.flush()
    return capfd.readouterr().err


def test_text_quotes_what_needs_quotes(log: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("text", "info", "worker-1")
    log.info("bind_failed", extra=logs.fields(port=80, error="Permission denied", hint='say "x"\nforged', absent=None))
    line = written(capfd)
    assert line.count("\n") == 1
    _, level, process, rest = line.split(" ", 3)
    assert (level, process) == ("info", "worker-1")
    assert rest == 'bind_failed port=80 error="Permission denied" hint="say \\"x\\"\\nforged"\n'


def test_json_has_the_same_fields(log: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("json", "info", "supervisor")
    log.error("reload_failed", extra=logs.fields(generation=3, error="no\nway"))
    entry = json.loads(written(capfd))
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "error", "process": "supervisor", "logger": "gatewayproxy.test", "event": "reload_failed",
        "generation": 3, "error": "no\nway",
    }  # fmt: skip


def test_fields_in_the_message_are_fields_all_the_same(log: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("json", "info", "worker-0")
    log.warning("dns_failed name=%s error=%r kept=%d", "api.example", "no\nsuch name", 2)
    entry = json.loads(written(capfd))
    assert {name: entry[name] for name in ("event", "name", "error", "kept")} == {
        "event": "dns_failed", "name": "api.example", "error": "no\nsuch name", "kept": 2,
    }  # fmt: skip
    logs.setup("text", "info", "worker-0")
    log.warning("dns_failed name=%s error=%r kept=%d", "api.example", "no\nsuch name", 2)
    assert written(capfd).split(" ", 3)[3] == 'dns_failed name=api.example error="no\\nsuch name" kept=2\n'


@pytest.mark.parametrize(("message", "args"), [("took %d ms", (7,)), ("seen x=%(a)s", ({"a": 1},)), ("100 %", ())])
def test_messages_of_others_are_told_as_they_are(
    log: logging.Logger, capfd: pytest.CaptureFixture[str], message: str, args: tuple[object, ...]
) -> None:
    logs.setup("json", "info", "worker-0")
    logging.getLogger("asyncio").warning(message, *args)
    assert json.loads(written(capfd))["event"] == (message % (args[0] if "(" in message else args) if args else message)


def messages(path: Path) -> Iterator[str]:
    """Yield the messages that a source logs."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "log":
                yield ast.unparse(node.args[node.func.attr == "log"])


def test_every_message_of_ours_is_an_event_and_its_fields() -> None:
    found = {message for path in Path(gatewayproxy.__file__).parent.rglob("*.py") for message in messages(path)}
    assert len(found) > 40
    assert {each for each in found if not re.fullmatch(r"'[a-z0-9_]+( \w+=%[srd])*'|event", each)} == set()


def test_levels_below_the_chosen_one_are_silent(log: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("text", "warning", "supervisor")
    log.info("quiet")
    log.warning("heard")
    assert written(capfd).split(" ", 3)[3] == "heard\n"


def test_a_reader_that_has_stopped_holds_nobody_up(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(logs, "_STDERR", writer)
    monkeypatch.setattr(logs, "QUEUE_BYTES", 64 << 10)
    logs.setup("text", "info", "worker-0")
    n_lines = 2_000
    for n in range(n_lines):  # far more than the pipe and the queue hold
        log.info("said", extra=logs.fields(n=n, room="x" * 200))
    assert 0 < logs.dropped() < n_lines
    read = LineReader(reader)
    n_kept = n_lines - logs.dropped()
    wait_until(lambda: sum(" said " in line for line in read.lines) == n_kept, "the lines that were kept")
    log.info("after")  # now that there is room
    wait_until(lambda: read.lines[-1].endswith(" after"), "a line behind them")
    told = [line.split() for line in read.lines if "log_lines_dropped" in line]
    assert [line[1:3] for line in told] == [["warning", "worker-0"]] * len(told)
    assert sum(int(line[-1].removeprefix("n=")) for line in told) == logs.dropped()
    assert logs.dropped() == n_lines - n_kept
    os.close(writer)


def test_a_reader_that_is_gone_costs_lines_that_are_counted(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(logs, "_STDERR", writer)
    logs.setup("json", "info", "worker-0")
    os.close(reader)
    log.info("said")
    wait_until(lambda: logs.dropped() == 1, "the loss to be counted")
    os.close(writer)


def test_a_pipe_that_does_not_block_is_waited_for(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    monkeypatch.setattr(logs, "_STDERR", writer)
    logs.setup("text", "info", "worker-0")
    for n in range(1_000):  # more than the pipe holds
        log.info("said", extra=logs.fields(n=n, room="x" * 200))
    read = LineReader(reader)
    wait_until(lambda: len(read.lines) == 1_000, "every line")
    assert logs.dropped() == 0
    os.close(writer)


class LineReader:
    """Reads lines of a pipe in a thread, until its end."""

    def __init__(self, fd: int) -> None:
        self.lines: list[str] = []
        threading.Thread(target=self._run, args=(fd,), daemon=True).start()

    def _run(self, fd: int) -> None:
        with open(fd, encoding="utf-8") as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))
