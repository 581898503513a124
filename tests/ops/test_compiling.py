"""The compiling child may die, hang or eat memory: one reload fails with the reason, the next one works."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from gatewayproxy.errors import ConfigError
from gatewayproxy.ops.compiling import MAX_TELLING, CompilerProcess
from gatewayproxy.ops.options import RunOptions
from tests.support.manifests import gateway, http_route, listener, service, write

REQUEST = {"generation": 1, "serving": 0, "digest": "", "unbindable": []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(
        tmp_path, gateway("gw", "127.0.0.1", listener("http", 8080)), http_route("r", "s"), service("s", "127.0.0.1:1")
    )
    return tmp_path


async def test_it_compiles_again_and_again_in_one_process(folder: Path) -> None:
    compiler = CompilerProcess(RunOptions(paths=(str(folder),)))
    first = await compiler.compile(REQUEST)
    pid = compiler.pid
    second = await compiler.compile({**REQUEST, "generation": 2, "serving": 1, "digest": first.head["digest"]})
    assert compiler.pid == pid
    assert first.slices
    assert first.head["ports"] == [["127.0.0.1", 8080, "HTTP", ["default/gw/http"]]]
    assert second.slices == []  # the digest is the one in force
    assert not any(second.head["changes"]["counts"].values())
    await compiler.close()


async def test_it_gives_way_to_the_workers(folder: Path) -> None:
    compiler = CompilerProcess(RunOptions(paths=(str(folder),)))
    await compiler.compile(REQUEST)
    assert compiler.pid is not None
    assert os.getpriority(os.PRIO_PROCESS, compiler.pid) > os.getpriority(os.PRIO_PROCESS, 0)
    await compiler.close()


async def test_a_compilation_over_the_deadline_fails_and_the_next_one_works(folder: Path) -> None:
    compiler = CompilerProcess(RunOptions(paths=(str(folder),), compile_deadline_s=0.001))
    with pytest.raises(ConfigError, match="longer than"):
        await compiler.compile(REQUEST)
    compiler._options = RunOptions(paths=(str(folder),))
    assert (await compiler.compile(REQUEST)).slices
    await compiler.close()


async def test_a_compilation_over_the_memory_bound_fails_with_the_bound(folder: Path) -> None:
    routes = [http_route(f"r{n}", "s", path=f"/{n}") for n in range(3000)]
    write(folder, *routes, name="routes.json")
    compiler = CompilerProcess(RunOptions(paths=(str(folder),), compile_memory_bytes=80 << 20))
    with pytest.raises(ConfigError, match=r"more than 80 MiB|compiler died"):
        await compiler.compile(REQUEST)
    await compiler.close()


async def test_a_killed_child_is_told_by_its_signal(folder: Path) -> None:
    compiler = CompilerProcess(RunOptions(paths=(str(folder),)))
    await compiler.compile(REQUEST)
    assert compiler.pid is not None
    os.kill(compiler.pid, signal.SIGSTOP)
    os.kill(compiler.pid, signal.SIGKILL)
    with pytest.raises(ConfigError, match="killed by SIGKILL"):
        await compiler.compile(REQUEST)
    assert (await compiler.compile(REQUEST)).slices
    await compiler.close()


async def test_a_new_child_holds_what_served_under_the_old_one(folder: Path) -> None:
    compiler = CompilerProcess(RunOptions(paths=(str(folder),)))
    compiler.adopt(first := await compiler.compile(REQUEST))
    await compiler.close()
    write(folder, gateway("gw", "127.0.0.1", listener("http", 99_999)))
    second = await compiler.compile({**REQUEST, "generation": 2, "serving": 1})
    assert second.head["ports"] == first.head["ports"]
    assert [held["object"] for held in second.head["held_objects"]] == ["Gateway default/gw"]
    await compiler.close()


async def test_sources_that_are_not_there_are_named(tmp_path: Path) -> None:
    compiler = CompilerProcess(RunOptions(paths=(str(tmp_path / "absent"),)))
    with pytest.raises(ConfigError) as caught:
        await compiler.compile(REQUEST)
    assert caught.value.where == str(tmp_path / "absent")
    await compiler.close()


async def test_it_tells_of_documents_between_compilations_and_few_may_wait_for_it(folder: Path) -> None:
    compiler = CompilerProcess(RunOptions(paths=(str(folder),)))
    documents = (await compiler.compile(REQUEST)).memory
    questions = [compiler.tell({"ask": "show"}, [documents]) for _ in range(MAX_TELLING + 1)]
    *told, refused = await asyncio.gather(*questions, return_exceptions=True)
    assert isinstance(refused, ConfigError)
    for answer in told:
        assert isinstance(answer, bytes)
        assert [each["name"] for each in json.loads(answer)["files"]] == [str(folder / "all.yaml")]
    assert (await compiler.compile(REQUEST)).slices
    await compiler.close()


async def test_an_answer_that_nobody_waits_for_is_not_taken_for_another(folder: Path) -> None:
    compiler = CompilerProcess(RunOptions(paths=(str(folder),)))
    documents = (await compiler.compile(REQUEST)).memory
    given_up = asyncio.create_task(compiler.tell({"ask": "show"}, [documents]))
    await asyncio.sleep(0)  # it has asked
    asked = compiler._child
    assert asked is not None
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert (await compiler.compile(REQUEST)).slices
    await compiler.close()
    await asked.end()
