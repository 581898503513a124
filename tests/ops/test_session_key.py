"""The key of persistent sessions: what of a file counts, and which files are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewayproxy.errors import UsageError
from gatewayproxy.ops.session_key import LEAST_BYTES, session_secret


def secret(path: Path, content: bytes) -> bytes:
    path.write_bytes(content)
    return session_secret(str(path))


def test_the_content_of_the_file_makes_the_key_and_blanks_around_it_do_not(tmp_path: Path) -> None:
    content = b"k" * LEAST_BYTES
    key = secret(tmp_path / "a", content)
    assert len(key) == 32
    assert secret(tmp_path / "b", content + b"\n") == key
    assert secret(tmp_path / "c", content[:-1] + b"l") != key
    assert secret(tmp_path / "d", content + b"l") != key


def test_without_a_file_every_run_has_a_key_of_its_own() -> None:
    keys = {session_secret(None) for _ in range(3)}
    assert [len(key) for key in keys] == [32] * 3


@pytest.mark.parametrize("content", [b"", b"k" * (LEAST_BYTES - 1), b" " * 100], ids=["empty", "short", "blanks"])
def test_a_file_with_too_little_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UsageError, match=r"32 is the least; write one with: head -c 32"):
        secret(tmp_path / "key", content)


@pytest.mark.parametrize("name", ["nothing", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"--session-key-file .*; write one with"):
        session_secret(str(tmp_path / name))
