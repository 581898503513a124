"""Real servers and clients of other people, started for a test on loopback and stopped after it."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from gatewayproxy.model.plan import Certificate
from tests.support.ports import free_port

__all__ = ["Address", "postgresql", "redis_tls", "require", "run", "serving", "tls_files"]

Address = tuple[str, int]


def require(name: str) -> str:
    """Return the path of program *name*; skip the test where it is missing, fail it there if CI is "true"."""
    for pattern in ("", "/usr/lib/postgresql/*/bin", "/usr/sbin"):
        found = shutil.which(name, path=os.pathsep.join(sorted(glob.glob(pattern), reverse=True)) if pattern else None)
        if found:
            return found
    message = f"{name} is not installed; install it to run this test"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


async def run(*command: str | Path, stdin: bytes = b"", timeout_s: float = 60.0) -> tuple[int, str]:
    """Run a program to its end; return its exit code and what it wrote, errors included."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(stdin), timeout_s)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace")


@contextlib.asynccontextmanager
async def serving(command: Sequence[str | Path], address: Address, log: Path) -> AsyncIterator[Address]:
    """Run a server until the block ends; enter the block when *address* accepts connections."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        async with asyncio.timeout(60):
            while not await _accepts(address):
                assert process.returncode is None, f"{command[0]} ended: {log.read_text()[-2000:]}"
                await asyncio.sleep(0.02)
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 60)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _accepts(address: Address) -> bool:
    try:
        _, writer = await asyncio.open_connection(*address)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def tls_files(certificate: Certificate, folder: Path) -> tuple[Path, Path]:
    """Write *certificate* as files; return the paths of chain and key."""
    chain, key = folder / "tls.crt", folder / "tls.key"
    chain.write_bytes(certificate.chain_pem)
    key.write_bytes(certificate.key_pem)
    return chain, key


@contextlib.asynccontextmanager
async def redis_tls(certificate: Certificate, folder: Path) -> AsyncIterator[Address]:
    """Serve Redis over TLS only."""
    chain, key = tls_files(certificate, folder)
    port = free_port()
    command = [
        require("redis-server"), "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "",
        "--tls-cert-file", chain, "--tls-key-file", key, "--tls-auth-clients", "no", "--dir", folder,
    ]  # fmt: skip
    async with serving(command, ("127.0.0.1", port), folder / "redis.log") as address:
        yield address


@contextlib.asynccontextmanager
async def postgresql(certificate: Certificate | None = None) -> AsyncIterator[Address]:
    """Serve an empty PostgreSQL whose user "postgres" needs no password; over TLS as well if *certificate* is given."""
    initdb, postgres = require("initdb"), require("postgres")
    # Not pytest's folder: PostgreSQL refuses root, and its user cannot enter a folder of root's.
    folder = Path(tempfile.mkdtemp(prefix="gatewayproxy-pg-"))
    try:
        prefix = _as_postgres(folder)
        data = folder / "data"
        code, out = await run(*prefix, initdb, "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", timeout_s=90)
        assert code == 0, out
        port = free_port()
        command = [*prefix, postgres, "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
        if certificate is not None:
            chain, key = tls_files(certificate, folder)
            key.chmod(0o600)
            shutil.chown(key, folder.owner())
            command += ["-l", "-c", f"ssl_cert_file={chain}", "-c", f"ssl_key_file={key}"]
        async with serving(command, ("127.0.0.1", port), folder / "postgres.log") as address:
            await _until_ready(address)
            yield address
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _until_ready(address: Address) -> None:
    isready = require("pg_isready")
    async with asyncio.timeout(60):
        while (await run(isready, "-h", address[0], "-p", str(address[1])))[0] != 0:
            await asyncio.sleep(0.05)


def _as_postgres(folder: Path) -> list[str]:
    """Return the command prefix that runs as somebody other than root, to whom *folder* is given."""
    if os.getuid() != 0:
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return [require("setpriv"), f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
