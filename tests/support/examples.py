"""Run the examples of Markdown files as a reader would type them, on loopback addresses of their own.

Markdown says what is an example: a fence marked ```console holds commands after "$ " and, below each, what it prints
(a line "..." stands for any lines). Comments before a fence set the scene: `<!-- run: FOLDER -->` serves FOLDER with
`config/demo.py`; `<!-- file: PATH -->` before a fence writes its text to PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.peers import require
from tests.support.process import http_get, loopback_address, wait_until

__all__ = ["ROOT", "Example", "Fence", "Stage", "examples_of", "fences", "matches"]

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"((?:^<!-- \w+: \S+ -->\n)*)^```(\w*)\n(.*?)^```$", re.M | re.S)
_NOTE = re.compile(r"<!-- (\w+): (\S+) -->")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_DIGEST = re.compile(r"\b(?:[0-9a-f]{16}){1,2}\b")
_LIVE = re.compile(r"\bgatewayproxy (history|show|rollback|explain(?= -- ))\b")


class Fence(NamedTuple):
    """A fenced block: its language, its text, and the notes in front of it."""

    language: str
    text: str
    notes: dict[str, str]


class Example(NamedTuple):
    """A command and what it prints."""

    command: str
    output: list[str]


def fences(markdown: Path) -> list[Fence]:
    """Return the fenced blocks of a file."""
    return [
        Fence(language, text, dict(_NOTE.findall(notes)))
        for notes, language, text in _FENCE.findall(markdown.read_text())
    ]


def examples_of(fence: Fence) -> list[Example]:
    """Split a console fence into commands and their output."""
    examples: list[Example] = []
    for line in fence.text.splitlines():
        if line.startswith("$ "):
            examples.append(Example(line[2:], []))
        else:
            examples[-1].output.append(line)
    return examples


def matches(expected: list[str], printed: list[str]) -> bool:
    """Compare line by line, blanks as one, one time or digest as another; "..." stands for any number of lines."""
    pattern = "".join(r"(?:.*\n)*" if line == "..." else re.escape(_blanks(line)) + r"\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{_blanks(line)}\n" for line in printed)) is not None


def _blanks(line: str) -> str:
    return " ".join(_DIGEST.sub("DIGEST", _TIME.sub("TIME", line)).split())


class Stage:
    """A copy of the repository's examples where 127.0.0.1 and 127.0.0.2 are addresses that nobody else uses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.addresses = {"127.0.0.1": loopback_address(), "127.0.0.2": loopback_address()}
        for name in ("config", "docs"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("certs", "__pycache__"))
        for file in folder.rglob("*.yaml"):
            file.write_text(self.moved(file.read_text()))
        curlrc = (f'connect-to = "{old}::{new}:"\n' for old, new in self.addresses.items())
        # Names under .localhost are 127.0.0.1 to curl, whatever stands in /etc/hosts.
        (folder / ".curlrc").write_text("".join(curlrc) + f'connect-to = "::{self.addresses["127.0.0.1"]}:"\n')

    def moved(self, text: str) -> str:
        """Return *text* with this stage's addresses."""
        for old, new in self.addresses.items():
            text = re.sub(rf"{re.escape(old)}(?!\d)", new, text)
        return text

    def moved_back(self, text: str) -> str:
        """Return *text* as the documents have it."""
        for old, new in self.addresses.items():
            text = text.replace(new, old)
        return text

    def write(self, path: str, text: str) -> None:
        """Write a file of the stage."""
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(self.moved(text))

    def shell(self, commands: list[str]) -> list[list[str]]:
        """Run *commands* in one shell; return the lines that each of them printed, errors included."""
        bash = require("bash")
        if any("curl " in command for command in commands):
            require("curl")
        mark = "--8<-- next"
        server = f"{self.addresses['127.0.0.1']}:9901"
        script = ["shopt -s expand_aliases", "exec 2>&1", f"function cut {{ printf '\\n{mark}\\n'; }}"]
        for command in commands:
            online = "get " in command and "config/" not in command and "hello" not in command
            served = command.replace("gatewayproxy get ", f"gatewayproxy get --server {server} ") if online else command
            served = _LIVE.sub(rf"gatewayproxy \1 --server {server}", served)
            script += [self.moved_command(served), "cut"]
        done = subprocess.run(
            [bash, "-c", "\n".join(script)], cwd=self.folder, env=self.environment(), text=True, timeout=250,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        printed = self.moved_back(done.stdout).split(f"\n{mark}\n")
        assert len(printed) == len(commands) + 1, done.stdout
        return [text.splitlines() for text in printed[:-1]]

    def moved_command(self, command: str) -> str:
        """Return *command* with our addresses, except in URLs: there curl's connect-to leads to them."""
        return re.sub(r"(?<!//)127\.0\.0\.[12](?!\d)", lambda found: self.addresses[found[0]], command)

    def environment(self) -> dict[str, str]:
        binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": binaries, "CURL_HOME": str(self.folder), "COLUMNS": "110"}

    @contextmanager
    def serving(self, folder: str) -> Iterator[None]:
        """Serve *folder* with its demo backends."""
        address = self.addresses["127.0.0.1"]
        command = [sys.executable, "config/demo.py", folder, "--admin", f"{address}:9901", "--workers", "1"]
        demo = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(demo.stdout or ()))
        reader.start()

        def ready() -> bool:
            assert demo.poll() is None, "".join(lines)
            try:
                return http_get(address, 9901, "/readyz").status == 200
            except OSError:
                return False

        try:
            wait_until(ready, f"{folder} is served")
            yield
        finally:
            demo.terminate()
            assert demo.wait(60) == 0, "".join(lines)
            reader.join()
            assert demo.stdout is not None
            demo.stdout.close()
