"""Logs as blocks of whole lines, whatever they are packed in and however long their lines are."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from gatewayproxy.errors import ConfigError
from gatewayproxy.ops.logfiles import BLOCK_BYTES, Block, blocks, total_bytes

LINES = [b"%d %s" % (number, b"x" * (number % 300)) for number in range(20_000)]
TEXT = b"\n".join(LINES)


def read(*paths: Path | str) -> list[Block]:
    return list(blocks([str(path) for path in paths]))


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["an unfinished last line", "a finished one"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_every_line_comes_once_with_its_number(tmp_path: Path, end: bytes, packed: bool) -> None:
    file = tmp_path / "access.log"
    file.write_bytes(gzip.compress(TEXT + end) if packed else TEXT + end)
    found = read(file)
    assert len(found) > 1
    assert [line for block in found for line in block.lines] == LINES
    numbers = [block.first + at for block in found for at in range(block.n_lines)]
    assert numbers == list(range(1, len(LINES) + 1))
    assert max(len(block.text) for block in found) <= 2 * BLOCK_BYTES
    assert found[-1].position == total_bytes([str(file)])


def test_positions_go_on_from_file_to_file(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"a\n")
    two.write_bytes(b"b\nc\n")
    assert [(block.file, block.lines, block.position) for block in read(one, two)] == [
        (str(one), [b"a"], 2),
        (str(two), [b"b", b"c"], 6),
    ]


def test_a_line_without_end_is_cut_so_that_memory_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    file.write_bytes(b"x" * (5 * BLOCK_BYTES) + b"\nlast\n")
    found = read(file)
    assert max(len(block.text) for block in found) <= 3 * BLOCK_BYTES
    assert found[-1].lines[-1] == b"last"


def test_standard_input_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a\nb")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        monkeypatch.setattr("sys.stdin", pipe)
        assert [(block.file, block.first, block.lines) for block in read("-")] == [
            ("stdin", 1, [b"a"]),
            ("stdin", 2, [b"b"]),
        ]
    assert total_bytes(["-"]) == 0


@pytest.mark.parametrize(
    "content", [None, gzip.compress(TEXT)[:5000], b"\x1f\x8bnot gzip"], ids=["absent", "cut gzip", "no gzip"]
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "access.log"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read") as raised:
        read(file)
    assert raised.value.where == str(file)
