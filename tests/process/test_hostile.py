"""Hostile manifests in the folder of a gateway that serves: traffic, supervisor and memory must not notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.process import Gateway, http_get, loopback_address, running
from tests.support.threaded_backend import backend

MAX_SUPERVISOR_KIB = 100 << 10
MAX_COMPILER_KIB = 700 << 10


class Site(NamedTuple):
    folder: Path
    host: str
    gateway: Gateway


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, host = tmp_path_factory.mktemp("hostile"), loopback_address()
    with backend() as app:
        write(folder, gateway("gw", host, listener("http", 8080)), http_route("r", "app"), service("app", app.endpoint))
        with running(folder, workers=1) as process:
            yield Site(folder, host, process)


def anchors_bomb() -> bytes:
    lines = ["a0: &a0 [" + ",".join("x" * 9) + "]"]
    lines += [f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, 40)]
    return "\n".join(lines).encode()


HOSTILE: list[object] = [
    pytest.param(lambda: b'a: "' + b"x" * (100 << 20) + b'"\n', "bytes", id="100 MB scalar"),
    pytest.param(lambda: b'a: "' + b"x" * (30 << 20) + b'"\n', "a string of", id="30 MB scalar"),
    pytest.param(anchors_bomb, "aliases expanded", id="anchors bomb"),
    pytest.param(lambda: b"---\n" + b"{a: b}\n---\n" * 100_000, "is no Kubernetes object", id="100,000 documents"),
    pytest.param(lambda: b"[" * 1_000_000, "nests deeper", id="deep nesting"),
    pytest.param(lambda: b"{" + b"a: 1, " * 500_000 + b"}", "is there twice", id="duplicate keys"),
    pytest.param(lambda: b"a: [" + b"&x y, " * 600_000 + b"]", "the object has", id="600,000 anchors"),
    pytest.param(lambda: b"kind: \xff\xfe", "is not UTF-8", id="not UTF-8"),
    pytest.param(lambda: b"kind:\n\t- a\n", "a tab", id="tabs"),
]


@pytest.mark.parametrize(("text", "told"), HOSTILE)
def test_a_hostile_file_is_refused_and_the_rest_serves_on(site: Site, text: Callable[[], bytes], told: str) -> None:
    hostile = site.folder / "hostile.yaml"
    hostile.write_bytes(text())
    try:
        report = site.gateway.reload(60.0)
        assert report["result"] == "failed"
        assert report["where"].startswith(str(hostile))
        assert any(told in problem["message"] for problem in report["problems"])
        assert http_get(site.host, 8080).status == 200
    finally:
        hostile.unlink()
    assert site.gateway.reload()["result"] == "unchanged"


def test_no_process_has_grown_by_it(site: Site) -> None:
    supervisor = site.gateway.pid
    assert _peak_kib(supervisor) < MAX_SUPERVISOR_KIB
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    assert len(children) == 2  # worker and compiler, the first ones
    assert all(_peak_kib(int(child)) < MAX_COMPILER_KIB for child in children)


def _peak_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
