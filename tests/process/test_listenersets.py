"""ListenerSets on the real process: traffic, what logs and metrics call their listeners, texts that go bad."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.manifests import Tree, gateway, http_route, listener, service, write
from tests.support.process import http_get, loopback_address, running
from tests.support.threaded_backend import backend

_API = "gateway.networking.k8s.io/v1"


def _open_gateway(host: str, *listeners: Tree) -> Tree:
    tree = gateway("web", host, *listeners)
    spec = tree["spec"]
    assert isinstance(spec, dict)
    return {**tree, "spec": {**spec, "allowedListeners": {"namespaces": {"from": "All"}}}}


def _listener_set(name: str, *listeners: Tree, created: str = "2026-01-01T00:00:00Z") -> Tree:
    metadata = {"name": name, "creationTimestamp": created}
    spec = {"parentRef": {"name": "web"}, "listeners": list(listeners)}
    return {"apiVersion": _API, "kind": "ListenerSet", "metadata": metadata, "spec": spec}


def _to_set(route: Tree, name: str) -> Tree:
    spec = route["spec"]
    assert isinstance(spec, dict)
    return {**route, "spec": {**spec, "parentRefs": [{"kind": "ListenerSet", "name": name}]}}


def test_listeners_of_a_set_serve_at_their_gateways_address_under_names_of_their_own(tmp_path: Path) -> None:
    host = loopback_address()
    with backend("own") as own, backend("added") as added:
        write(
            tmp_path,
            _open_gateway(host, listener("http", 8080, hostname="own.test")),
            _listener_set("web", listener("http", 8080, hostname="added.test"), listener("alone", 8081)),
            http_route("own", "own", parent="web"),
            _to_set(http_route("added", "added"), "web"),
            service("own", own.endpoint),
            service("added", added.endpoint),
        )
        with running(tmp_path, "--access-log", "-", workers=1) as gw:
            assert http_get(host, 8080, headers={"host": "own.test"}).json["backend"] == "own"
            assert http_get(host, 8080, headers={"host": "added.test"}).json["backend"] == "added"
            assert http_get(host, 8081, headers={"host": "any.test"}).json["backend"] == "added"
            gw.wait_until(lambda: len(gw.output) == 3, "three lines")
            assert [json.loads(line)["listener"] for line in gw.output] == [
                "default/web/http", "ListenerSet/default/web/http", "ListenerSet/default/web/alone",
            ]  # fmt: skip
            metrics = gw.get("/metrics").body.decode()
            assert 'listener="ListenerSet/default/web/alone"' in metrics
            assert gw.objects()["Gateway", "web"]["status"]["attachedListenerSets"] == 1


def test_a_set_whose_text_goes_bad_serves_on_as_it_was_accepted(tmp_path: Path) -> None:
    host = loopback_address()
    with backend("app") as app:
        write(tmp_path, _open_gateway(host, listener("http", 8080)), service("app", app.endpoint))
        write(tmp_path, _to_set(http_route("r", "app"), "set"), name="route.yaml")
        write(tmp_path, _listener_set("set", listener("added", 8081)), name="set.yaml")
        with running(tmp_path, workers=1) as gw:
            assert http_get(host, 8081).status == 200
            write(tmp_path, _listener_set("set", listener("added", 99_999)), name="set.yaml")
            report = gw.reload()
            assert (report["result"], report["held"]) == ("unchanged", 1)
            assert report["held_objects"][0]["object"] == "ListenerSet default/set"
            assert http_get(host, 8081).status == 200
            (tmp_path / "set.yaml").unlink()
            report = gw.reload()
            assert report["changes"]["listeners_removed"] == [f"ListenerSet/default/set/added on {host}:8081"]


def test_a_conflict_ends_with_the_set_that_had_the_place_and_routes_move_in(tmp_path: Path) -> None:
    host = loopback_address()
    with backend("old") as old, backend("new") as new:
        write(
            tmp_path,
            _open_gateway(host, listener("http", 8080)),
            _listener_set("new", listener("http", 8081), created="2026-01-02T00:00:00Z"),
            _to_set(http_route("old", "old"), "old"),
            _to_set(http_route("new", "new"), "new"),
            service("old", old.endpoint),
            service("new", new.endpoint),
        )
        write(tmp_path, _listener_set("old", listener("http", 8081)), name="old.yaml")
        with running(tmp_path, workers=1) as gw:
            assert http_get(host, 8081).json["backend"] == "old"
            (tmp_path / "old.yaml").unlink()
            gw.reload()
            assert http_get(host, 8081).json["backend"] == "new"


def test_a_gateway_that_leaves_its_address_to_us_binds_one_of_the_pool(tmp_path: Path) -> None:
    taken, free = loopback_address(), loopback_address()
    with backend("app") as app:
        left_to_us = _open_gateway("", listener("http", 8080))
        spec = left_to_us["spec"]
        assert isinstance(spec, dict)
        write(
            tmp_path,
            gateway("other", taken, listener("http", 8080)),
            {**left_to_us, "spec": {**spec, "addresses": [{"type": "IPAddress"}]}},
            http_route("r", "app", parent="web"),
            service("app", app.endpoint),
        )
        pool = ("--address-pool", taken, "--address-pool", free)
        with running(tmp_path, *pool, workers=1) as gw:
            assert gw.objects()["Gateway", "web"]["status"]["addresses"] == [{"type": "IPAddress", "value": free}]
            assert http_get(free, 8080).json["backend"] == "app"
            assert http_get(taken, 8080).status == 404
