"""/status, and `get` in all its forms: one report, whoever asks for it and however it is printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.manifests import Tree, gateway, http_route, listener, service, write
from tests.support.process import Gateway, loopback_address, running
from tests.support.threaded_backend import backend


def _get(*arguments: str) -> str:
    command = [sys.executable, "-m", "gatewayproxy", "get", "all", "-A", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def _server(gw: Gateway) -> str:
    return "http://{}:{}".format(*gw.admin)


def _by_name(found: Any) -> dict[tuple[str, str], Any]:
    """Return the objects of a List: /status has them in the order of the files, `get` by kind and name."""
    assert (found["apiVersion"], found["kind"]) == ("v1", "List")
    return {(each["kind"], each["metadata"]["name"]): each for each in found["items"]}


def _undated(tree: Any) -> Any:
    """Return *tree* without the times at which its conditions were written."""
    if isinstance(tree, list):
        return [_undated(item) for item in tree]
    if isinstance(tree, dict):
        return {key: _undated(value) for key, value in tree.items() if key != "lastTransitionTime"}
    return tree


def _objects(host: str, endpoint: str) -> list[Tree]:
    web = gateway("gw", host, listener("http", 8080), listener("odd", 8081, "SCTP"))
    web["metadata"] = {"name": "gw", "generation": 7, "labels": {"team": "a"}}
    lost = http_route("lost", "nowhere", section="missing")
    namespace: Tree = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
    secret: Tree = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
    return [web, http_route("r", "app"), lost, service("app", endpoint), namespace, secret]


def test_one_report_is_served_and_printed_by_server_and_from_files(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(tmp_path, *_objects(host, app.endpoint))
        with running(tmp_path, workers=1) as gw:
            served = _by_name(gw.get("/status").json)
            assert len(served) == 6
            assert _by_name(json.loads(_get("-o", "json", "--server", _server(gw)))) == served
            assert _by_name(yaml.safe_load(_get("-o", "yaml", "--server", _server(gw)))) == served
            assert _undated(_by_name(json.loads(_get("-o", "json", str(tmp_path))))) == _undated(served)


def test_an_object_is_shown_as_it_was_written_with_its_status_beside_it(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        written = _objects(host, app.endpoint)
        write(tmp_path, *written)
        with running(tmp_path, workers=1) as gw:
            shown = gw.objects()
            for tree in written[:4]:
                metadata = tree["metadata"]
                assert isinstance(metadata, dict)
                found = shown[str(tree["kind"]), metadata["name"]]
                assert found["spec"] == tree["spec"]
                assert found["metadata"].items() >= metadata.items()
            status = shown["Gateway", "gw"]["status"]
            conditions = [*status["conditions"], *(c for each in status["listeners"] for c in each["conditions"])]
            assert {each["observedGeneration"] for each in conditions} == {7}
            [parent] = shown["HTTPRoute", "lost"]["status"]["parents"]
            assert parent["parentRef"] == {
                "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "default", "name": "gw",
                "sectionName": "missing",
            }  # fmt: skip
            assert _get("-o", "wide", "--server", _server(gw)).count("NoMatchingParent") == 1
