"""`gatewayproxy test` from the command line: what it prints, for people, programs and CI systems, and how it exits."""

from __future__ import annotations

import gzip
import json
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewayproxy.cli import main

MANIFESTS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: any
  addresses: [{type: IPAddress, value: 127.0.0.1}]
  listeners: [{name: http, protocol: HTTP, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: web}]
  hostnames: [shop.example]
  rules:
    - name: pages
      backendRefs: [{name: one, port: 80}]
    - name: cart
      matches: [{path: {value: /cart}, headers: [{name: x-beta, value: "1"}]}]
      backendRefs: [{name: one, port: 80, weight: 9}, {name: two, port: 80}]
    - name: sale
      matches: [{path: {value: /sale}, queryParams: [{name: year, value: "7"}]}]
      filters:
        - type: URLRewrite
          urlRewrite: {hostname: inner.example, path: {type: ReplaceFullPath, replaceFullPath: /sales}}
        - type: RequestHeaderModifier
          requestHeaderModifier: {set: [{name: x-who, value: us}]}
        - type: ResponseHeaderModifier
          responseHeaderModifier: {set: [{name: x-by, value: us}], remove: [server]}
      backendRefs: [{name: two, port: 80}]
    - name: old
      matches: [{path: {type: Exact, value: /old}}]
      filters: [{type: RequestRedirect, requestRedirect: {statusCode: 301, hostname: new.example}}]
---
apiVersion: v1
kind: Service
metadata: {name: one, annotations: {gatewayproxy.io/endpoints: "127.0.0.1:8001"}}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, annotations: {gatewayproxy.io/endpoints: "127.0.0.1:8002"}}
spec: {ports: [{port: 80}]}
"""
TESTS = """
apiVersion: gatewayproxy.io/v1alpha1
kind: RouteTest
metadata: {name: shop}
spec:
  tests:
    - name: pages
      request: {url: "http://shop.example/"}
      expect: {rule: pages}
    - name: the "cart" & <more>
      request: {url: "http://shop.example/cart"}
      expect:
        route: shop
        rule: cart
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(MANIFESTS)
    return folder


@pytest.fixture
def tested(config: Path) -> Path:
    (config / "tests.yaml").write_text(TESTS)
    return config


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main(["test", *map(str, words)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_failure_is_told_where_it_is_written_and_how_to_find_out_more(
    tested: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, tested)
    assert (status, err) == (1, "")
    assert out.splitlines() == [
        f'{tested}/tests.yaml:14: error: the "cart" & <more>',
        "    in RouteTest default/shop, spec.tests[1].expect.rule",
        "    request   GET http://shop.example/cart",
        "    expected  cart",
        "    actual    0 (pages)",
        "    -> HTTPRoute default/shop rule 1 (path under /cart, header x-beta = 1): header: header x-beta is absent",
        f"    -> gatewayproxy explain {tested} -- http://shop.example/cart",
        "2 tests, 1 failed",
        "1 of 4 rules tested (25 %)",
        "    untested: HTTPRoute default/shop rule 1 (cart)",
        "    untested: HTTPRoute default/shop rule 2 (sale)",
        "    untested: HTTPRoute default/shop rule 3 (old)",
    ]


def test_the_command_that_tells_more_works(tested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(run(capsys, tested, "-o", "json")[1])["tests"][1]["explain"]
    assert main(shlex.split(told)[1:]) == 0
    assert "rule 0 (pages)" in capsys.readouterr().out


def test_tests_may_be_in_files_of_their_own(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(TESTS.replace("rule: cart", "rule: pages"))
    status, out, _ = run(capsys, config, tmp_path / "mine.yaml", "-v")
    assert status == 0
    assert out.splitlines()[:3] == [
        f"{tmp_path}/mine.yaml:7: ok: pages",
        f'{tmp_path}/mine.yaml:10: ok: the "cart" & <more>',
        "2 tests, none failed",
    ]


def test_json_has_everything(tested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, tested, "-o", "json")
    told = json.loads(out)
    assert (status, told["passed"], told["unread"]) == (1, False, [])
    assert [each["passed"] for each in told["tests"]] == [True, False]
    assert told["tests"][0]["rule"] == "HTTPRoute default/shop rule 0 (pages)"
    (failure,) = told["tests"][1]["failures"]
    assert (failure["field"], failure["line"]) == ("expect.rule", 14)
    assert told["coverage"]["tests"]["HTTPRoute default/shop rule 0 (pages)"] == 1
    assert (told["coverage"]["tested"], told["coverage"]["rules"], told["coverage"]["percent"]) == (1, 4, 25)


def test_junit_is_read_by_a_parser_of_xml(tested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, tested, "-o", "junit", "--require-coverage", "20")
    root = ET.fromstring(out)
    assert (status, root.tag, root.get("tests"), root.get("failures")) == (1, "testsuites", "3", "1")
    first, second = root[0]
    assert (root[0].get("name"), root[0].get("failures")) == ("RouteTest default/shop", "1")
    assert (first.get("name"), first.get("line"), list(first)) == ("pages", "7", [])
    assert (second.get("name"), second.get("classname")) == ('the "cart" & <more>', "RouteTest default/shop")
    assert second[0].get("message") == "expect.rule: expected cart, is 0 (pages)"
    assert f"{tested}/tests.yaml:14: expect.rule" in (second[0].text or "")
    assert [case.get("name") for case in root[1]] == ["20 % of the rules have a test"]


def test_junit_has_no_characters_that_xml_has_not(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config / "tests.yaml").write_text(TESTS.replace("name: pages", 'name: "p\\uFFFFages"'))
    root = ET.fromstring(run(capsys, config, "-o", "junit")[1])
    assert root[0][0].get("name") == "p\ufffdages"


@pytest.mark.parametrize(("percent", "status"), [("25", 0), ("25.1", 1), ("100", 1), ("0", 0)])
def test_coverage_may_be_required(config: Path, capsys: pytest.CaptureFixture[str], percent: str, status: int) -> None:
    (config / "tests.yaml").write_text(TESTS.replace("rule: cart", "rule: pages"))
    found, _, err = run(capsys, config, "--require-coverage", percent)
    assert found == status
    assert err == ("" if not status else f"gatewayproxy: 1 of 4 rules are tested, {percent} % are required\n")
    root = ET.fromstring(run(capsys, config, "--require-coverage", percent, "-o", "junit")[1])
    assert root.get("failures") == str(status)


@pytest.mark.parametrize("text", ["-1", "101", "all", "nan"])
def test_a_percentage_is_a_number_to_100(config: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run(capsys, config, "--require-coverage", text)
    assert ended.value.code == 2
    assert "write a number from 0 to 100" in capsys.readouterr().err


def test_without_tests_it_says_how_to_get_some(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, config)
    assert (status, out) == (1, "")
    assert "no tests found" in err
    assert "--record" in err


def test_tests_without_manifests_are_told_from_tests_that_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tests.yaml").write_text(TESTS)
    status, out, err = run(capsys, tmp_path / "tests.yaml")
    assert (status, out) == (1, "")
    assert "nothing is served" in err
    assert "name the manifests beside the tests" in err


def test_a_test_that_cannot_be_read_is_no_success(tested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tested / "more.yaml").write_text(TESTS.replace("name: shop}", "name: more}").replace("rule: pages", "rulez: a"))
    (tested / "tests.yaml").write_text(TESTS.replace("rule: cart", "rule: pages"))
    status, out, err = run(capsys, tested)
    assert status == 1
    assert "the manifests have errors" in err
    assert out.splitlines()[:3] == [
        f"{tested}/more.yaml:9: error: unknown field",
        "    in RouteTest default/more, spec.tests[0].expect.rulez",
        "    -> did you mean rule?",
    ]
    assert "2 tests, none failed, 1 error in RouteTests" in out
    assert json.loads(run(capsys, tested, "-o", "json")[1])["unread"][0]["line"] == 9
    root = ET.fromstring(run(capsys, tested, "-o", "junit")[1])
    assert (root.get("failures"), root[1].get("name")) == ("1", "RouteTests that cannot be read")


def test_get_shows_route_tests_and_they_change_nothing_that_serves(
    tested: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", "routetests", str(tested)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["shop", "2"]
    assert main(["check", str(tested)]) == 0


# --- recording

LINE = (
    '{{"time":"2026-11-21T10:00:00Z","protocol":"http/1.1","listener":"default/web/http","route":"{route}",'
    '"rule":"{rule}","backend":"","endpoint":"","client":"10.0.0.9","method":"{method}","target":"{target}",'
    '"status":{status},"host":"{host}"{reason},"bytes_in":0,"bytes_out":0}}'
)


def line(
    target: str, rule: str, *, host: str = "shop.example:80", method: str = "GET", status: int = 200, reason: str = ""
) -> str:
    return LINE.format(
        route="HTTPRoute default/shop" if rule else "", rule=rule, method=method, target=target, status=status,
        host=host, reason=f',"reason":"{reason}"' if reason else "",
    )  # fmt: skip


LOG = [
    line("/?token=secret", "0 (pages)"),
    line("/more", "0 (pages)"),
    line("/cart", "1 (cart)"),  # by x-beta, which no log has
    line("/sale?year=7&id=3", "2 (sale)"),
    line("/old", "3 (old)", status=301, reason="redirect"),
    line("/", "", host="other.example", status=404, reason="no_route"),
    '10.0.0.9 - - [21/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5',
    "what is this",
]


def test_tests_are_recorded_from_traffic_one_for_each_rule_and_outcome_and_pass(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "access.log").write_text("\n".join(LOG) + "\n")
    status, out, err = run(capsys, config, "--record", tmp_path / "access.log")
    assert status == 0
    assert err == (
        "gatewayproxy: 8 lines, 4 tests; 1 line of no known form; 1 line that says no host (-H 'Host: ...'); "
        "1 line decided otherwise (by header fields no log has, or by another configuration)\n"
    )
    tests: dict[str, Any] = {each["name"]: each for each in yaml.safe_load(out)["spec"]["tests"]}
    assert list(tests) == [
        "HTTPRoute default/shop rule 0 (pages)",
        "HTTPRoute default/shop rule 2 (sale)",
        "HTTPRoute default/shop rule 3 (old)",
        "404 no_route",
    ]
    assert "secret" not in out
    assert "# 2 lines" in out
    sale = tests["HTTPRoute default/shop rule 2 (sale)"]
    assert sale["request"] == {"url": "http://shop.example/sale?year=7&id=3"}
    assert sale["expect"] == {
        "listener": "default/web/http",
        "route": "HTTPRoute shop",
        "rule": "sale",
        "backends": [{"name": "two", "port": 80}],
        "backendSees": {
            "host": "inner.example", "path": "/sales", "headers": [{"name": "x-who", "value": "us"}],
        },
        "clientSees": {"headers": [{"name": "x-by", "value": "us"}], "absent": ["server"]},
    }  # fmt: skip
    (config / "recorded.yaml").write_text(out)
    status, out, _ = run(capsys, config)
    assert status == 0
    assert "3 of 4 rules tested (75 %)" in out


def test_a_request_that_no_url_can_say_gives_way_to_the_next(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    star = line("*", "", method="OPTIONS", reason="options_answered")
    lines = [star, line(f"/{'a' * 9_000}", "0 (pages)"), line("/b", "0 (pages)")]
    (tmp_path / "a.log").write_text("\n".join(lines))
    status, out, err = run(capsys, config, "--record", tmp_path / "a.log")
    assert (status, err) == (0, "gatewayproxy: 3 lines, 1 test; 1 line whose request no URL can say\n")
    assert [each["request"]["url"] for each in yaml.safe_load(out)["spec"]["tests"]] == ["http://shop.example/b"]


def test_logs_may_be_compressed_or_come_by_standard_input(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with gzip.open(tmp_path / "a.gz", "wb") as stream:
        stream.write(LOG[0].encode() + b"\n")
    status, out, err = run(capsys, config, "--record", tmp_path / "a.gz")
    assert (status, err) == (0, "gatewayproxy: 1 line, 1 test\n")
    assert "rule: pages" in out


def test_what_no_line_says_may_be_said_for_all(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nginx.log").write_text('10.0.0.9 - - [21/Nov/2026:10:00:00 +0000] "GET /cart HTTP/1.1" 200 5\r\n')
    words = (config, "--record", tmp_path / "nginx.log", "-H", "Host: shop.example", "-H")
    status, out, err = run(capsys, *words, "X-Beta: 1")
    assert (status, err) == (0, "gatewayproxy: 1 line, 1 test\n")
    (test,) = yaml.safe_load(out)["spec"]["tests"]
    assert test["request"] == {"url": "http://shop.example/cart", "headers": [{"name": "X-Beta", "value": "1"}]}
    assert [each["weight"] for each in test["expect"]["backends"]] == [9, 1]
    (test,) = yaml.safe_load(run(capsys, *words, "X-Other: 1")[1])["spec"]["tests"]
    assert test["request"] == {"url": "http://shop.example/cart"}


@pytest.mark.parametrize(
    ("name", "content"), [("none.log", None), ("cut.gz", gzip.compress(b"a" * 999)[:-9])], ids=["absent", "cut gzip"]
)
def test_a_log_that_cannot_be_read_is_told(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    status, _, err = run(capsys, config, "--record", tmp_path / name)
    assert status == 1
    assert f"{tmp_path / name}: cannot be read: " in err


def test_a_recorded_test_of_a_rule_that_refuses_is_marked(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config / "gateway.yaml").write_text(MANIFESTS.replace("[{name: one, port: 80}]", "[{name: gone, port: 80}]", 1))
    (tmp_path / "a.log").write_text(line("/", "0 (pages)") + "\n")
    status, out, _ = run(capsys, config, "--record", tmp_path / "a.log")
    assert status == 0
    assert "# 1 line, answered 500 backend_not_found: keep this test only if that is meant\n" in out


def test_a_log_without_anything_to_record_says_so(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.log").write_text("x\n" * 3)
    status, out, err = run(capsys, config, "--record", tmp_path / "a.log")
    assert (status, out, err) == (1, "", "gatewayproxy: 3 lines, 0 tests; 3 lines of no known form\n")
