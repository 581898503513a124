"""What outlives a compiling child: every byte of the texts, and the objects it held."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewayproxy.model.source import CompileOptions, HeldObject, Source
from gatewayproxy.ops.memory import Memory, pack, unpack
from gatewayproxy.ops.reload import Reloader
from tests.support.manifests import gateway, http_route, listener, write

HELD = HeldObject("folder/gw.yaml", 12, 3, {"kind": "Gateway", "spec": {"listeners": [{"port": 80}, None, "ü"]}})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(bytes(range(256)), id="any byte"),
        pytest.param("ü€😀".encode(), id="UTF-8"),
    ],
)
def test_it_comes_back_as_it_was(text: bytes) -> None:
    memory = Memory(7, (Source("a.yaml", text), Source("odd \udcff name.yaml", b"---")), (HELD,))
    assert unpack(pack(*memory)) == memory


def test_it_is_small() -> None:
    text = b"".join(b"- {name: r%d, backendRefs: [{name: app, port: 80}]}\n" % n for n in range(1000))
    assert len(pack(1, [Source("a.yaml", text)], ())) < len(text) / 5


def test_another_process_holds_what_the_last_one_did(tmp_path: Path) -> None:
    def request(number: int) -> dict[str, object]:
        before = number - 1
        return {
            "number": number, "adopted": before, "generation": number, "serving": before, "digest": "",
            "unbindable": [],
        }  # fmt: skip

    def reloader() -> Reloader:
        return Reloader([str(tmp_path)], CompileOptions())

    def break_gateway(port: int) -> None:
        write(tmp_path, gateway("gw", "127.0.0.1", listener("http", port)), http_route("r", "app"))

    first = reloader()
    break_gateway(8080)
    first.compile(request(1))
    break_gateway(70_000)
    outcome = first.compile(request(2))
    assert outcome.head["held"] == 1
    second = reloader()
    second.recall(outcome.memory)
    break_gateway(80_000)
    head = second.compile(request(3)).head
    assert head["ports"] == outcome.head["ports"]
    assert head["held_objects"] == [
        {"object": "Gateway default/gw", "origin": f"{tmp_path}/all.yaml:1", "generation": 1}
    ]


def test_what_was_compiled_but_not_adopted_is_not_held(tmp_path: Path) -> None:
    request = {"adopted": 0, "generation": 1, "serving": 0, "digest": "", "unbindable": []}
    reloader = Reloader([str(tmp_path)], CompileOptions())
    write(tmp_path, gateway("gw", "127.0.0.1", listener("http", 8080)))
    reloader.compile({**request, "number": 1})
    write(tmp_path, gateway("gw", "127.0.0.1", listener("http", 70_000)))
    head = reloader.compile({**request, "number": 2}).head
    assert (head["held"], head["ports"]) == (0, [])
