"""The event log: one line an event, in text or JSON, whatever a field holds."""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gatewayproxy
from gatewayproxy.ops import logs


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    loggers = [logging.getLogger("gatewayproxy"), logging.getLogger("asyncio")]
    before = [(logger, logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    yield logging.getLogger("gatewayproxy.test")
    for logger, handlers, propagate, level in before:
        logger.handlers[:] = handlers
        logger.propagate = propagate
        logger.setLevel(level)


def test_text_quotes_what_needs_quotes(log: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("text", "info", "worker-1")
    log.info("bind_failed", extra=logs.fields(port=80, error="Permission denied", hint='say "x"\nforged', absent=None))
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    _, level, process, rest = line.split(" ", 3)
    assert (level, process) == ("info", "worker-1")
    assert rest == 'bind_failed port=80 error="Permission denied" hint="say \\"x\\"\\nforged"\n'


def test_json_has_the_same_fields(log: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("json", "info", "supervisor")
    log.error("reload_failed", extra=logs.fields(generation=3, error="no\nway"))
    entry = json.loads(capfd.readouterr().err)
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "error", "process": "supervisor", "logger": "gatewayproxy.test", "event": "reload_failed",
        "generation": 3, "error": "no\nway",
    }  # fmt: skip


def test_fields_in_the_message_are_fields_all_the_same(log: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("json", "info", "worker-0")
    log.warning("dns_failed name=%s error=%r kept=%d", "api.example", "no\nsuch name", 2)
    entry = json.loads(capfd.readouterr().err)
    assert {name: entry[name] for name in ("event", "name", "error", "kept")} == {
        "event": "dns_failed", "name": "api.example", "error": "no\nsuch name", "kept": 2,
    }  # fmt: skip
    logs.setup("text", "info", "worker-0")
    log.warning("dns_failed name=%s error=%r kept=%d", "api.example", "no\nsuch name", 2)
    assert capfd.readouterr().err.split(" ", 3)[3] == 'dns_failed name=api.example error="no\\nsuch name" kept=2\n'


@pytest.mark.parametrize(("message", "args"), [("took %d ms", (7,)), ("seen x=%(a)s", ({"a": 1},)), ("100 %", ())])
def test_messages_of_others_are_told_as_they_are(
    log: logging.Logger, capfd: pytest.CaptureFixture[str], message: str, args: tuple[object, ...]
) -> None:
    logs.setup("json", "info", "worker-0")
    logging.getLogger("asyncio").warning(message, *args)
    assert json.loads(capfd.readouterr().err)["event"] == (
        message % (args[0] if "(" in message else args) if args else message
    )


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
    assert capfd.readouterr().err.split(" ", 3)[3] == "heard\n"
