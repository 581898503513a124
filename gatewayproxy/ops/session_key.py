"""The key that signs persistent sessions: from a file, so that restarts and other machines share it, or of this run."""

from __future__ import annotations

import secrets
from hashlib import blake2b
from pathlib import Path
from typing import Final

from gatewayproxy.errors import UsageError

__all__ = ["session_secret"]

LEAST_BYTES: Final = 32
_HOW: Final = "write one with: head -c 32 /dev/urandom | base64"


def session_secret(path: str | None) -> bytes:
    """Return 32 bytes that depend on the file's content alone; without *path*, random ones. Raises UsageError."""
    if path is None:
        return secrets.token_bytes(32)
    try:
        content = Path(path).read_bytes().strip()
    except OSError as error:
        raise UsageError(f"--session-key-file {path}: {error.strerror}; {_HOW}") from error
    if len(content) < LEAST_BYTES:
        raise UsageError(f"--session-key-file {path}: has {len(content)} bytes, {LEAST_BYTES} is the least; {_HOW}")
    return blake2b(content, digest_size=32, person=b"sessions").digest()
