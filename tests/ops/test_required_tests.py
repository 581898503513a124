"""What a reload makes of RouteTests where they are required: compiled in memory, no process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.reload import Reloader
from tests.support.manifests import Tree, gateway, http_route, listener, service, write

HOST = "127.0.0.1"


def route_test(*expected: Tree, name: str = "t") -> Tree:
    tests = [
        {"name": f"test {index}", "request": {"url": "http://a.test:8080/"}, "expect": each}
        for index, each in enumerate(expected)
    ]
    metadata = {"name": name}
    return {
        "apiVersion": "gatewayproxy.io/v1alpha1", "kind": "RouteTest", "metadata": metadata, "spec": {"tests": tests},
    }  # fmt: skip


def request(number: int, **more: object) -> dict[str, Any]:
    base = {"adopted": number - 1, "generation": number, "serving": number - 1, "digest": "", "unbindable": []}
    return {**base, "number": number, **more}


def served(folder: Path, *more: Tree) -> None:
    write(folder, gateway("gw", HOST, listener("http", 8080)), http_route("r", "app"), service("app", "127.0.0.1:9"))
    write(folder, *more, name="tests.yaml")


def reloader(folder: Path) -> Reloader:
    return Reloader([str(folder)], CompileOptions(), require_tests=True)


def line_at(where: str) -> str:
    """Return the line that *where* names, "" for none."""
    file, _, number = where.rpartition(":")
    return Path(file).read_text().splitlines()[int(number) - 1] if file else ""


GOOD: Tree = {"route": "r", "backends": [{"name": "app"}]}


def test_what_passes_its_tests_is_handed_over(tmp_path: Path) -> None:
    served(tmp_path, route_test(GOOD, {"refused": False}))
    outcome = reloader(tmp_path).compile(request(1))
    assert outcome.head["ok"]
    assert list(outcome.slices)


@pytest.mark.parametrize(
    ("tests", "error", "word", "hint"),
    [
        pytest.param(
            [route_test(GOOD, {"backends": [{"name": "other"}]})],
            "1 of 2 tests fails: test 'test 1' fails: expected default/other, is default/app:80 100 %",
            "backends",
            "gatewayproxy test",
            id="one fails",
        ),
        pytest.param([], "no RouteTest among the manifests", "", "--require-tests", id="there is none"),
        pytest.param(
            [route_test(GOOD), route_test({"stats": 404}, name="u")],
            "a RouteTest cannot be read",
            "stats",
            "gatewayproxy check",
            id="one cannot be read",
        ),
    ],
)
def test_what_does_not_is_refused_whether_or_not_something_serves(
    tmp_path: Path, tests: list[Tree], error: str, word: str, hint: str
) -> None:
    filler = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    served(tmp_path, *(tests or [filler]))
    for serving in (0, 3):
        outcome = reloader(tmp_path).compile(request(4, serving=serving))
        head = outcome.head
        assert (head["ok"], head["error"]) == (False, error)
        assert word in line_at(head["where"])
        assert hint in head["hint"]
        assert len(head["problems"]) == len(tests[:1])
        assert list(outcome.slices) == []


def test_a_test_that_turns_unreadable_is_not_replaced_by_its_last_good_version(tmp_path: Path) -> None:
    served(tmp_path, route_test(GOOD))
    ours = reloader(tmp_path)
    assert ours.compile(request(1)).head["ok"]
    served(tmp_path, route_test({"stats": 404}))
    assert ours.compile(request(2)).head["error"] == "a RouteTest cannot be read"


def test_a_port_that_is_busy_fails_no_test(tmp_path: Path) -> None:
    served(tmp_path, route_test(GOOD))
    unbindable = [[(HOST, 8080, False), "Address already in use"]]
    assert reloader(tmp_path).compile(request(1, unbindable=unbindable)).head["ok"]


def test_documents_that_served_before_come_back_untested(tmp_path: Path) -> None:
    served(tmp_path, route_test(GOOD))
    ours = reloader(tmp_path)
    first = ours.compile(request(1))
    served(tmp_path, route_test({"status": 404}))
    assert not ours.compile(request(2)).head["ok"]
    assert ours.compile(request(3, adopted=1, serving=1), first.memory).head["ok"]


def test_nothing_is_asked_where_tests_are_not_required(tmp_path: Path) -> None:
    served(tmp_path, route_test({"status": 404}))
    assert Reloader([str(tmp_path)], CompileOptions()).compile(request(1)).head["ok"]
