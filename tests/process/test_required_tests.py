"""`run --require-tests`: what fails its RouteTests never comes to serve; the table in force stays, and all are told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.support.manifests import Tree, gateway, http_route, listener, service, write
from tests.support.process import Gateway, http_get, loopback_address, running
from tests.support.threaded_backend import backend


def _write(folder: Path, host: str, endpoint: str, path: str, *, expected: str = "r") -> None:
    """Write a configuration that serves *path*, and a test of /cart that expects route *expected*."""
    test: Tree = {
        "apiVersion": "gatewayproxy.io/v1alpha1",
        "kind": "RouteTest",
        "metadata": {"name": "cart"},
        "spec": {
            "tests": [
                {
                    "name": "the cart is served",
                    "request": {"url": "http://shop.test:8080/cart"},
                    "expect": {"route": expected},
                }
            ]
        },
    }
    write(folder, gateway("gw", host, listener("http", 8080)), http_route("r", "app", path=path), test)
    write(folder, service("app", endpoint), name="app.yaml")


def _failed_reloads(gw: Gateway) -> float:
    found = re.search(
        r'^gatewayproxy_config_reloads_total\{result="failed"\} (\S+)$', gw.get("/metrics").body.decode(), re.M
    )
    assert found is not None
    return float(found[1])


def test_a_reload_that_fails_a_test_keeps_what_serves_until_it_is_mended(tmp_path: Path) -> None:
    host = loopback_address()
    with backend("one") as one, backend("two") as two:
        _write(tmp_path, host, one.endpoint, "/")
        with running(tmp_path, workers=1, arguments=["--require-tests"]) as gw:
            assert http_get(host, 8080, "/cart").json["backend"] == "one"
            _write(tmp_path, host, two.endpoint, "/basket")
            report = gw.reload()
            assert (report["result"], report["generation"]) == ("failed", 1)
            assert report["error"] == (
                "1 of 1 tests fails: test 'the cart is served' fails: expected default/r, is none (404 no_rule)"
            )
            file, line = report["where"].rsplit(":", 1)
            assert "route" in Path(file).read_text().splitlines()[int(line) - 1]
            assert [problem["object"] for problem in report["problems"]] == ["RouteTest default/cart"]
            gw.wait_log(r"manifest_problem .*object=.RouteTest default/cart. field=spec\.tests\[0\]\.expect\.route ")
            gw.wait_log(r"reload_failed .*1 of 1 tests fails.* generation=1")
            assert _failed_reloads(gw) == 1
            assert http_get(host, 8080, "/cart").json["backend"] == "one"
            assert http_get(host, 8080, "/basket").json["backend"] == "one"
            _write(tmp_path, host, two.endpoint, "/cart")
            assert gw.reload()["result"] == "applied"
            assert http_get(host, 8080, "/cart").json["backend"] == "two"


def test_a_reload_without_its_tests_is_refused_too(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        _write(tmp_path, host, app.endpoint, "/")
        with running(tmp_path, workers=1, arguments=["--require-tests"]) as gw:
            write(tmp_path, gateway("gw", host, listener("http", 8080)), http_route("r", "app", path="/"))
            assert gw.reload()["error"] == "no RouteTest among the manifests"
            assert http_get(host, 8080, "/cart").status == 200


def test_a_start_whose_tests_fail_ends_and_says_why(tmp_path: Path) -> None:
    host = loopback_address()
    _write(tmp_path, host, "127.0.0.1:9", "/", expected="other")
    with started(tmp_path, "--require-tests") as gw:
        assert gw.wait_exit() == 1
        gw.wait_log(
            r"reload_failed .*expected default/other, is HTTPRoute default/r.*hint=.gatewayproxy test tells all"
        )


def test_tests_are_not_asked_unless_they_are_required(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        _write(tmp_path, host, app.endpoint, "/", expected="other")
        with running(tmp_path, workers=1) as gw:
            assert http_get(host, 8080, "/cart").status == 200
            assert gw.state()["reload"]["errors"] == 0
            assert ("RouteTest", "cart") in gw.objects()


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[Gateway]:
    with closing(Gateway([str(folder), "--workers", "1", *arguments])) as gw:
        yield gw
