"""Patches in a folder: which files, which object, in which order, and what becomes of one that fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from gatewayproxy.compiler.manifests.patch import Pattern
from gatewayproxy.compiler.manifests.reader import read_source
from gatewayproxy.compiler.patches import apply_patches
from gatewayproxy.compiler.pipeline import Compiled, Compiler
from gatewayproxy.model.source import CompileOptions, Source

GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: gw
  namespace: infra
spec:
  gatewayClassName: gatewayproxy
  listeners:
    - &base {name: http, port: 80, protocol: HTTP}
"""


def patch(*files: str, called: str = "p", **target: str) -> str:
    spec = {"target": {"kind": "Gateway", "name": "gw", **target}, "files": list(files)}
    metadata = {"name": called, "namespace": "infra"}
    return yaml.safe_dump(
        {"apiVersion": "gatewayproxy.io/v1alpha1", "kind": "Patch", "metadata": metadata, "spec": spec}
    )


def append(name: str, port: object = 8080) -> str:
    value = {"name": name, "port": port, "protocol": "HTTP"}
    return json.dumps([{"op": "add", "path": "/spec/listeners/-", "value": value}], indent=1)


def compiled(texts: dict[str, str]) -> Compiled:
    return Compiler().compile([Source(file, text.encode()) for file, text in texts.items()], CompileOptions(), {})


def listeners(result: Compiled) -> list[Any]:
    (gateway,) = (each.manifest for each in result.status.objects if each.key.kind == "Gateway")
    return [(each["name"], each["port"]) for each in gateway["spec"]["listeners"]]


def problems(result: Compiled) -> list[str]:
    return [f"{p.origin} {p.field}: {p.message}" for p in result.status.problems]


def test_files_apply_in_the_order_of_patches_then_files_then_names() -> None:
    result = compiled(
        {
            "base/gw.yaml": GATEWAY,
            "base/p.yaml": patch("z.json", "listeners/*.json") + "---\n" + patch("last.yaml", called="q"),
            "base/listeners/a.json": append("a", 1),
            "base/listeners/b.json": append("b", 2),
            "base/listeners/deeper/c.json": "[]",
            "base/last.yaml": append("last", 4),
            "base/z.json": append("z", 3),
        }
    )
    assert listeners(result) == [("http", 80), ("z", 3), ("a", 1), ("b", 2), ("last", 4)]
    assert problems(result) == ["base/listeners/deeper/c.json:1 : is not an object, but a list or a word"]


def test_a_merge_patch_that_looks_like_the_object_is_none() -> None:
    merge = GATEWAY.partition("spec:")[0].replace("  name: gw\n", '  name: gw\n  annotations: {a: "1"}\n')
    result = compiled({"0.yaml": merge, "gw.yaml": GATEWAY, "p.yaml": patch("0.yaml")})
    (gateway,) = (each for each in result.status.objects if each.key.kind == "Gateway")
    assert gateway.manifest["metadata"]["annotations"] == {"a": "1"}
    assert str(gateway.origin) == "gw.yaml:1"
    assert listeners(result) == [("http", 80)]
    assert problems(result) == []


def test_applying_patches_twice_changes_nothing() -> None:
    once = compiled({"gw.yaml": GATEWAY, "p.yaml": patch("a.json"), "a.json": append("a")})
    twice = compiled(
        {"gw.yaml": GATEWAY, "p.yaml": patch("a.json", "*.json"), "q.yaml": patch("b.json", called="q")}
        | {"a.json": append("a"), "b.json": append("a")}
    )
    assert listeners(once) == listeners(twice) == [("http", 80), ("a", 8080)]
    assert once.table.digest == twice.table.digest
    assert problems(twice) == []


def test_what_is_wrong_in_a_patched_value_is_told_where_it_is_written() -> None:
    result = compiled({"gw.yaml": GATEWAY, "p.yaml": patch("a.json"), "a.json": append("a", 99_999)})
    assert problems(result) == ["a.json:5 spec.listeners[1].port: 99999 is out of range"]
    edit = json.dumps([{"op": "replace", "path": "/spec/listeners/0/port", "value": 99_999}])
    result = compiled({"gw.yaml": GATEWAY, "p.yaml": patch("a.json"), "a.json": edit})
    assert problems(result) == ["gw.yaml:9 spec.listeners[0].port: 99999 is out of range"]


def test_what_is_wrong_with_a_patched_value_among_others_is_told_where_it_is_written() -> None:
    value = {"name": "tls", "port": 8443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "gone"}]}}
    edit = json.dumps([{"op": "add", "path": "/spec/listeners/-", "value": value}], indent=1)
    (told,) = problems(compiled({"gw.yaml": GATEWAY, "p.yaml": patch("a.json"), "a.json": edit}))
    assert told.startswith("a.json:5 spec.listeners[1]: InvalidCertificateRef: Secret infra/gone")


def test_an_object_that_needs_its_patches_to_be_sound_is_judged_after_them() -> None:
    base = GATEWAY.replace("port: 80,", "")
    edit = json.dumps([{"op": "add", "path": "/spec/listeners/0/port", "value": 80}])
    result = compiled({"gw.yaml": base, "p.yaml": patch("a.json"), "a.json": edit})
    assert problems(result) == []
    assert listeners(result) == [("http", 80)]


def test_a_target_without_a_namespace_is_found() -> None:
    klass = {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "c"},
        "spec": {"controllerName": "gatewayproxy.io/controller"},
    }  # fmt: skip
    edit = json.dumps({"spec": {"description": "patched"}})
    texts = {"c.yaml": yaml.safe_dump(klass), "p.yaml": patch("a.json", kind="GatewayClass", name="c"), "a.json": edit}
    result = compiled(texts)
    assert problems(result) == []
    (found,) = (each.manifest for each in result.status.objects if each.key.kind == "GatewayClass")
    assert found["spec"]["description"] == "patched"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        pytest.param(
            {"p.yaml": patch("a.json"), "a.json": append("a")[:-1] + ', {"op": "remove", "path": "/x"}]'},
            'a.json:11 [1].path: "x" is not there; nothing of this file', id="whole or not at all",
        ),
        pytest.param(
            {"p.yaml": patch("a.json"), "a.json": append("http")},
            'a.json:2 [0].value: another item is named "http"', id="another listener of the name",
        ),
        pytest.param({"p.yaml": patch("a.json"), "a.json": "[{,"}, "a.json:1 : is not valid YAML", id="broken file"),
        pytest.param({"p.yaml": patch("a.json"), "a.json": '["x"]'}, "a.json:1 [0]: is no mapping", id="no operation"),
        pytest.param({"p.yaml": patch("a.json"), "a.json": "word"}, "a.json:1 : is no mapping", id="no patch"),
        pytest.param(
            {"p.yaml": patch("a.json"), "a.json": '{"metadata": {"name": "other"}}'},
            "a.json:1 : changes kind, name or namespace", id="another name",
        ),
        pytest.param(
            {"p.yaml": patch("a.json"), "a.json": '[{"op": "add", "path": "", "value": 1}]'},
            "a.json:1 [0]: changes kind, name or namespace", id="no object any more",
        ),
        pytest.param(
            {"p.yaml": patch("b.json", "*.yml")},
            "p.yaml:1 spec.files: b.json of Patch infra/p names no file", id="no file",
        ),
        pytest.param(
            {"p.yaml": patch("*.yaml")}, "p.yaml:1 spec.files: *.yaml names the manifest of", id="itself"
        ),
        pytest.param(
            {"p.yaml": patch("a.json", called="gw2"), "a.json": append("a")}, "", id="other names are no error"
        ),
        pytest.param(
            {"p.yaml": patch("a.json", namespace="elsewhere"), "a.json": append("a")},
            "p.yaml:1 spec.target: there is no Gateway elsewhere/gw", id="no target",
        ),
        pytest.param(
            {"p.yaml": patch("a.json", kind="Patch", name="p"), "a.json": append("a")},
            "p.yaml:1 : Patch infra/p is not applied: it has errors", id="a Patch is no target",
        ),
        pytest.param(
            {"p.yaml": patch("a.json").replace("files:", "fils:"), "a.json": append("a")},
            "p.yaml:1 : Patch infra/p is not applied: it has errors", id="a Patch with errors",
        ),
    ],
)  # fmt: skip
def test_a_patch_that_fails_leaves_the_object_and_is_an_error_that_holds_a_reload(
    files: dict[str, str], told: str
) -> None:
    result = compiled({"gw.yaml": GATEWAY, **files})
    held = [each for each in problems(result) if told and each.startswith(told)]
    assert len(held) == bool(told), problems(result)
    unread = [problem for problem in result.status.problems if problem.key is None]
    assert bool(unread) == bool(told)
    assert all(problem.hint for problem in unread)
    if told:
        assert listeners(result) == [("http", 80)]


def test_of_two_patches_with_one_name_the_first_counts() -> None:
    texts = {"gw.yaml": GATEWAY, "p.yaml": patch("a.json"), "q.yaml": patch("b.json")}
    result = compiled(texts | {"a.json": append("a"), "b.json": append("b")})
    assert listeners(result) == [("http", 80), ("a", 8080)]
    assert any("Patch infra/p is already declared at p.yaml:1" in each for each in problems(result))


def test_a_json_patch_that_nothing_names_is_explained() -> None:
    result = compiled({"gw.yaml": GATEWAY, "a.json": append("a")})
    (problem,) = result.status.problems
    assert "name the file in a Patch" in problem.hint


def test_without_patches_files_are_as_they_were_read() -> None:
    read = [read_source(Source("gw.yaml", GATEWAY.encode()))]
    assert apply_patches(read, ()) == read
    assert apply_patches(read, ())[0] is read[0]


@pytest.mark.parametrize(
    ("manifest", "pattern", "file", "expected"),
    [
        ("a/p.yaml", "x.json", "a/x.json", True),
        ("a/p.yaml", "./x.json", "./a/x.json", True),
        ("a/p.yaml", "../b/*.json", "b/x.json", True),
        ("/etc/p.yaml", "l/*", "/etc/l/x.json", True),
        ("p.yaml", "l/*-http.json", "l/loki-http.json", True),
        ("p.yaml", "l/*-http.json", "l/-http.json", True),
        ("p.yaml", "l/aa*aa.json", "l/aaa.json", False),
        ("p.yaml", "l/*.json", "l/deeper/x.json", False),
        ("p.yaml", "l/*.json", "other/x.json", False),
        ("p.yaml", "l/*.json", "l/x.yaml", False),
        ("a/p.yaml", "x.json", "x.json", False),
        ("p.yaml", "l.json/", "l/json", False),
    ],
)
def test_a_star_stands_for_a_part_of_one_files_name(manifest: str, pattern: str, file: str, expected: bool) -> None:
    assert Pattern.of(manifest, pattern).matches(file) is expected


@pytest.mark.parametrize("text", ["", "*/x.json", "l/*x*.json"])
def test_other_patterns_are_refused(text: str) -> None:
    result = compiled({"gw.yaml": GATEWAY, "p.yaml": patch(text)})
    assert any("spec.files[0]" in each for each in problems(result))
