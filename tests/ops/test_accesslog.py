"""Access log lines: complete, unforgeable, never waited for."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.ops import accesslog
from gatewayproxy.ops.accesslog import AccessLog, LineWriter, json_line, text_line
from tests.support.process import wait_until

RECORD = AccessRecord(
    protocol="http/1.1", listener="default/gw/http", route="HTTPRoute default/app", rule="2 (api)",
    backend="default/app:80", endpoint="10.0.0.7:8080", client="192.0.2.9", method=b"GET", host=b"app.example",
    target=b"/a?b=c", status=200, reason="", detail="", bytes_in=0, bytes_out=128, started_at=12.0, duration_s=0.0125,
    connect_s=0.001, upstream_s=0.0105, generation=4, request_id=b"abc", attempts=1,
)  # fmt: skip
TIME = "2026-11-21T08:00:00.000Z"
FORGED = b'/x" 200\n{"time":"forged"}\r\n\x1b[31m\xff\\'


def test_a_json_line_has_every_field_that_is_there() -> None:
    assert json.loads(json_line(RECORD, TIME)) == {
        "time": TIME, "protocol": "http/1.1", "listener": "default/gw/http", "route": "HTTPRoute default/app",
        "rule": "2 (api)", "backend": "default/app:80", "endpoint": "10.0.0.7:8080", "client": "192.0.2.9",
        "method": "GET", "target": "/a?b=c", "status": 200, "host": "app.example", "request_id": "abc",
        "bytes_in": 0, "bytes_out": 128, "duration_ms": 12.5, "connect_ms": 1.0, "upstream_ms": 10.5, "attempts": 1,
        "generation": 4,
    }  # fmt: skip


def test_a_stream_has_no_request_fields_and_a_refusal_says_why() -> None:
    stream = RECORD._replace(protocol="tls", method=b"", target=b"", status=0, reason="unknown_sni", detail="no route")
    line = json.loads(json_line(stream, TIME))
    assert "method" not in line
    assert (line["reason"], line["detail"], line["host"]) == ("unknown_sni", "no route", "app.example")


@pytest.mark.parametrize(
    ("detail", "ends"),
    [("", " -\n"), ('host ok, "no"', ' "host ok, \\"no\\""\n')],
    ids=["absent", "with quotes"],
)
def test_a_line_of_words_ends_with_the_cause_in_quotes(detail: str, ends: str) -> None:
    assert text_line(RECORD._replace(detail=detail), TIME).endswith(f" abc -{ends}")


@pytest.mark.parametrize("name", ["method", "host", "target", "request_id", "client", "detail"])
@pytest.mark.parametrize("form", [json_line, text_line], ids=["json", "text"])
def test_what_a_peer_sends_cannot_break_or_forge_a_line(form: object, name: str) -> None:
    value: bytes | str = FORGED if isinstance(getattr(RECORD, name), bytes) else FORGED.decode("latin-1")
    line = form(RECORD._replace(**{name: value}), TIME)  # type: ignore[operator]
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert line.isascii()
    assert line[:-1].isprintable()
    if form is json_line:
        shown = json.loads(line)[name]
        assert shown == (value.decode("latin-1") if isinstance(value, bytes) else value)
    else:
        plain = text_line(RECORD, TIME)
        assert line.count(" ") <= plain.count(" ") + 2  # the quoted request may hold the peer's spaces


def test_an_overlong_target_is_cut() -> None:
    line = json_line(RECORD._replace(target=b"/" + b"x" * 100_000), TIME)
    assert len(line) < accesslog.FIELD_BYTES + 1_000


async def test_lines_reach_the_file_with_the_wall_clock(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(LineWriter(str(path)), "json")
    log(RECORD._replace(started_at=asyncio.get_running_loop().time()))
    log.close(60.0)
    import datetime

    logged = datetime.datetime.fromisoformat(json.loads(path.read_text())["time"])
    assert abs((datetime.datetime.now(datetime.UTC) - logged).total_seconds()) < 600


async def test_reopening_follows_a_rotation_without_losing_a_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    writer = LineWriter(str(path))
    writer.write(b"one\n", 1)
    writer.write(b"two\n", 1)
    wait_until(lambda: path.read_bytes() == b"one\ntwo\n", "the writer")
    path.rename(tmp_path / "access.log.1")
    writer.write(b"three\n", 1)
    writer.reopen()
    writer.write(b"four\n", 1)
    writer.close(60.0)
    assert (tmp_path / "access.log.1").read_bytes() == b"one\ntwo\nthree\n"
    assert path.read_bytes() == b"four\n"
    assert writer.dropped == 0


def test_a_reader_that_stops_costs_lines_and_never_time(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = LineWriter(str(fifo))
    batch = (b"x" * 99 + b"\n") * 10_000
    n_batches = 2 * accesslog.QUEUE_BYTES // len(batch)
    for _ in range(n_batches):
        writer.write(batch, 10_000)
    assert 0 < writer.dropped < n_batches * 10_000
    got = bytearray()
    kept = n_batches * 10_000 - writer.dropped
    closer = threading.Thread(target=writer.close, args=(60.0,))
    closer.start()
    os.set_blocking(reader, True)
    while part := os.read(reader, 1 << 20):
        got += part
    closer.join()
    os.close(reader)
    assert got.count(b"\n") == kept
    assert {len(line) for line in bytes(got).splitlines()} == {99}


def test_a_full_disk_costs_lines_and_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    writer = LineWriter("/dev/full")
    for _ in range(3):
        writer.write(b"line\n", 1)
    writer.close(60.0)
    assert writer.dropped == 3
    assert sum("access_log_failed" in record.message for record in caplog.records) == 1


def test_half_a_line_that_a_full_disk_took_is_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    code = """
import os, resource, sys
from gatewayproxy.ops.accesslog import LineWriter
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (25, hard))  # stands for a disk without room
writer = LineWriter(sys.argv[1])
writer.write(b"aaaaaaaaa\\nbbbbbbbbb\\nccccccccc\\nddddddddd\\n", 4)
while not writer.dropped:
    os.sched_yield()
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
writer.write(b"eeeeeeeee\\n", 1)
writer.write(b"fffffffff\\n", 1)
writer.close(50.0)
print(writer.dropped)
"""
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True, timeout=60)
    assert run.stdout == b"2\n"
    assert path.read_bytes() == b"aaaaaaaaa\nbbbbbbbbb\nccccc\neeeeeeeee\nfffffffff\n"


def test_a_file_that_cannot_be_opened_costs_lines_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "logs" / "access.log"
    writer = LineWriter(str(path))
    writer.write(b"lost\n", 1)
    wait_until(lambda: writer.dropped == 1, "the writer")
    path.parent.mkdir()
    writer.write(b"kept\n", 1)
    writer.close(60.0)
    assert path.read_bytes() == b"kept\n"
    assert [record.getMessage().split()[0] for record in caplog.records] == ["access_log_failed"]


def test_a_pipe_that_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    made: list[LineWriter] = []
    opener = threading.Thread(target=lambda: made.append(LineWriter(str(fifo))), daemon=True)
    opener.start()
    wait_until(lambda: bool(made), "the writer to be there")
    made[0].write(b"line\n", 1)
    made[0].close(60.0)
    assert made[0].dropped == 1


def test_a_batch_for_a_pipe_is_cut_between_lines() -> None:
    batch = b"a" * 3000 + b"\n" + b"b" * 3000 + b"\n" + b"c" * 9000 + b"\n" + b"d\n"
    pieces = accesslog._pieces(batch)
    assert b"".join(pieces) == batch
    assert [piece[:1] for piece in pieces] == [b"a", b"b", b"c", b"d"]
    assert all(piece.endswith(b"\n") for piece in pieces)
