"""The five seeds, replayed: logs of requests to every match say of each rule what `explain` says of the request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.insight.access_logs import parse_line
from gatewayproxy.insight.misses import Contender, contenders
from gatewayproxy.insight.offline import Compiled, compiled
from gatewayproxy.insight.ports import PortTable, decide_entry
from gatewayproxy.insight.replay import Replay
from gatewayproxy.insight.replay.report import Report, report
from gatewayproxy.model.plan import Match
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.accesslog import json_line, text_line
from gatewayproxy.ops.replaying import replay_logs
from gatewayproxy.ops.sources import read_files, read_paths
from tests.support.seeds import copied

SEEDS = ["nvcf", "novaedge", "genestack", "runai", "cilium"]
TIME = "2026-11-21T10:00:00.001Z"


def compile_seed(name: str, folder: Path) -> Compiled:
    """Compile config/*name*, of which a copy is made in *folder*."""
    options = CompileOptions(address_pool=("127.0.0.1",))
    return compiled(read_paths([str(copied(name, folder))]).sources, options, read_files)


def lines_for(contender: Contender) -> Iterator[bytes]:
    """Yield lines of three forms for a request that is meant for *contender*, and one that is not."""
    match, host = contender.match, next((name for name, _ in contender.hostnames), "") or "any.example"
    name = host.replace("*", "some")
    tls = contender.listener.protocol.value == "HTTPS"
    method, path = b"POST", b"/pkg.Service/Call"
    if isinstance(match, Match):
        method, path = match.method or b"GET", match.path if b"*" not in match.path else b"/x"
    for target in (path, path + b"/17?q=1", b"/no/such/path"):
        record = AccessRecord(
            protocol="https/2" if tls else "http/1.1", listener=str(contender.listener.key), client="10.0.0.1",
            started_at=0.0, generation=1, method=method, host=name.encode(), target=target, status=200,
        )  # fmt: skip
        for write in (json_line, text_line):
            yield write(record, TIME).rstrip("\n").encode()
        said = f'"{method.decode()} {target.decode("latin-1")} HTTP/1.1" 200 - 1 0 2 1 "10.0.0.1" "agent" "id"'
        yield f'[{TIME}] {said} "{name}" "10.0.2.1:80"'.encode("latin-1")


def replayed(found: Compiled, log: Path, *, jobs: int, against: Compiled | None = None) -> Report:
    replay = Replay(found.table, against.table if against is not None else None)
    counts = replay_logs(replay, [str(log)], jobs=jobs, progress=lambda *_: None)
    return report(counts, found, against, top=5)


@pytest.mark.parametrize("name", SEEDS)
def test_hits_of_a_seed_are_what_is_decided_line_by_line(name: str, tmp_path: Path) -> None:
    found, log = compile_seed(name, tmp_path), tmp_path / "access.log"
    lines = [line for contender in contenders(found.plan) for line in lines_for(contender)]
    assert len(lines) >= 18
    log.write_bytes(b"\n".join(lines * 2))
    ports, expected = PortTable(found.table), Counter[str]()
    for line in lines:
        logged = parse_line(line)
        assert logged is not None
        entry = decide_entry(ports, logged.request).entry
        if entry is not None:
            expected[f"{entry.label.route_text} rule {entry.label.rule_text}"] += 2
    told = replayed(found, log, jobs=1)
    assert {use.name: use.n for use in told.rules if use.n} == dict(expected)
    assert told.decided == 2 * len(lines) == sum(expected.values()) + told.n_missing
    assert told.unread == told.hostless == 0
    assert all(each.fix for each in told.missing)
    assert replayed(found, log, jobs=2) == told


@pytest.mark.parametrize("name", SEEDS)
def test_a_seed_changes_nothing_against_itself_and_something_without_its_routes(name: str, tmp_path: Path) -> None:
    found, log = compile_seed(name, tmp_path), tmp_path / "access.log"
    log.write_bytes(b"\n".join(line for contender in contenders(found.plan) for line in lines_for(contender)))
    assert replayed(found, log, jobs=1, against=compile_seed(name, tmp_path / "again")).changes == ()
    other = compile_seed(SEEDS[SEEDS.index(name) - 1], tmp_path)
    told = replayed(found, log, jobs=1, against=other)
    assert told.n_changed >= sum(use.n for use in told.rules if not use.there) > 0
