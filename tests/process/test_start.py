"""Signals that arrive before the real process can have handlers for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.process import loopback_address

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    host = loopback_address()
    write(
        tmp_path,
        gateway("gw", host, listener("http", 8080)),
        http_route("r", "app"),
        service("app", "127.0.0.1:9"),
    )
    return tmp_path


@contextmanager
def importing(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield the process when it has begun to import the command line, long before it has an event loop."""
    command = [sys.executable, "-X", "importtime", "-m", "gatewayproxy", "run", str(folder), "--admin", "none"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([*command, "--workers", "1"], stderr=subprocess.PIPE, env=env, text=True) as process:
        watchdog = threading.Timer(200.0, process.kill)
        watchdog.start()
        try:
            read_until(process, "argparse")
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def read_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return line
    raise AssertionError(f"the process ended with {process.wait()} before it said {word!r}")


def test_a_reload_asked_for_too_early_is_done_when_it_can_be(folder: Path) -> None:
    with importing(folder) as process:
        process.send_signal(signal.SIGHUP)
        read_until(process, "reload_applied")
        read_until(process, "reload_unchanged")
        process.send_signal(signal.SIGTERM)
        read_until(process, "stopped")
        assert process.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stop_asked_for_too_early_is_a_clean_stop(folder: Path, number: signal.Signals) -> None:
    with importing(folder) as process:
        process.send_signal(number)
        assert "status=0" in read_until(process, "supervisor stopped")
        assert process.wait(60) == 0


def test_other_commands_are_ended_by_a_signal_as_any_program() -> None:
    script = "import signal; from gatewayproxy.__main__ import main; main(); print(signal.pthread_sigmask(0, ()))"
    done = subprocess.run(
        [sys.executable, "-c", script, "version"], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)},
        check=True,
    )  # fmt: skip
    assert done.stdout.rstrip().endswith("set()")
