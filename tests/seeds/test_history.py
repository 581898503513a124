"""Each folder of config/, out of the history: the same table again, compared as the same, shown without its Secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.history_texts import tell
from gatewayproxy.ops.reload import Outcome, Reloader
from tests.support.certs import certificate
from tests.support.manifests import tls_secret
from tests.support.seeds import copied

FOLDERS = ["quickstart", "shop", "nvcf", "novaedge", "genestack", "runai", "cilium"]
OPTIONS = CompileOptions(address_pool=("127.0.0.1",))


def request(number: int, *, digest: str = "", again: bool = False) -> dict[str, object]:
    before = number - 1
    return {
        "number": number, "adopted": before, "generation": number, "serving": before, "digest": digest,
        "unbindable": [], "again": again,
    }  # fmt: skip


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of one of config/'s folders, with certificates, and a Secret that has its key inside."""
    copy = copied(request.param, tmp_path)
    (copy / "own-key.yaml").write_text(yaml.safe_dump(tls_secret("own-key", certificate("own.test"))))
    return copy


def without(folder: Path, kind: str) -> None:
    """Remove every object of *kind*."""
    for file in sorted(folder.rglob("*.yaml")):
        kept = [each for each in yaml.safe_load_all(file.read_text()) if each is None or each["kind"] != kind]
        file.write_text(yaml.safe_dump_all(kept))


def told(question: Mapping[str, object], *outcomes: Outcome) -> dict[str, object]:
    answer: dict[str, object] = json.loads(tell(question, [each.memory for each in outcomes], OPTIONS))
    return answer


@pytest.mark.parametrize("folder", FOLDERS, indirect=True)
def test_what_served_comes_back_as_it_was(folder: Path) -> None:
    reloader = Reloader([str(folder)], OPTIONS)
    first = reloader.compile(request(1))
    assert first.head["rules"] > 0
    without(folder, "HTTPRoute")
    second = reloader.compile(request(2, digest=first.head["digest"]))
    assert second.head["digest"] != first.head["digest"]
    assert second.head["input"] != first.head["input"]
    third = reloader.compile(request(3, digest=second.head["digest"], again=True), first.memory)
    names = ("digest", "ports", "gateways", "objects", "rules", "errors", "warnings", "input")
    assert {name: third.head[name] for name in names} == {name: first.head[name] for name in names}
    assert _timeless(third.status) == _timeless(first.status)
    assert third.head["touched"]["rules_added"] == second.head["touched"]["rules_removed"]
    assert b"".join(third.slices)


def _timeless(status: bytes) -> bytes:
    return re.sub(rb'"lastTransitionTime": "[^"]*"', b"", status)


@pytest.mark.parametrize("folder", FOLDERS, indirect=True)
def test_generations_are_compared_and_shown_without_secrets(folder: Path) -> None:
    reloader = Reloader([str(folder)], OPTIONS)
    first = reloader.compile(request(1))
    key = certificate("own.test").key_pem.decode()
    without(folder, "HTTPRoute")
    second = reloader.compile(request(2))
    names = {"ask": "diff", "names": ["generation 1", "generation 2"]}
    same, other = told(names, first, first), told(names, first, second)
    assert (same["same"], same["manifests"]) == (True, "")
    assert other["same"] is False
    shown = told({"ask": "show"}, first)
    text = json.dumps([shown, other])
    assert "own-key" in text
    assert not [line for line in key.splitlines() if line in text]
