"""`gatewayproxy explain` from the command line, over small manifests."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from gatewayproxy.cli import main

MANIFESTS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: gatewayproxy
  addresses: [{type: IPAddress, value: 127.0.0.1}]
  listeners:
    - {name: all, protocol: HTTP, port: 80}
    - {name: wild, protocol: HTTP, port: 80, hostname: "*.a.example"}
    - {name: db, protocol: TCP, port: 5432}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: web, sectionName: wild}]
  hostnames: [shop.a.example]
  rules:
    - name: cart
      matches: [{path: {value: /cart}, method: POST}]
      filters:
        - type: RequestHeaderModifier
          requestHeaderModifier: {set: [{name: x-who, value: "<us> & them"}], remove: [x-secret]}
        - type: URLRewrite
          urlRewrite: {hostname: inner.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /basket}}
      timeouts: {request: 10s}
      backendRefs: [{name: one, port: 80, weight: 3}, {name: two, port: 80, weight: 1}]
    - matches: [{path: {value: /cart}, headers: [{name: x-beta, value: "1"}]}]
      backendRefs: [{name: two, port: 80}]
    - matches: [{path: {type: Exact, value: /old}}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, statusCode: 301}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: tie}
spec:
  parentRefs: [{name: web, sectionName: wild}]
  hostnames: [shop.a.example]
  rules:
    - matches: [{path: {value: /cart}, method: POST}]
      backendRefs: [{name: two, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: db}
spec:
  parentRefs: [{name: web, sectionName: db}]
  rules: [{backendRefs: [{name: one, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: one, annotations: {gatewayproxy.io/endpoints: "127.0.0.1:8001"}}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, annotations: {gatewayproxy.io/endpoints: "127.0.0.1:8002,127.0.0.1:8003"}}
spec: {ports: [{port: 80}]}
"""
CART = ("-XPOST", "-H", "X-Secret: 1", "http://shop.a.example/cart/7")


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "gateway.yaml"
    file.write_text(MANIFESTS)
    return str(file)


@pytest.fixture
def ask(config: str, capsys: pytest.CaptureFixture[str]) -> Any:
    def explain(*request: str, status: int | None = 0) -> dict[str, Any]:
        left = main(["explain", config, "-o", "json", "--", *request])
        assert status in (None, left)
        tree: dict[str, Any] = json.loads(capsys.readouterr().out)
        return tree

    return explain


def test_the_way_of_a_request_is_told_from_listener_to_backends(ask: Any) -> None:
    told = ask(*CART)
    assert (told["listener"], told["route"], told["rule"]) == ("default/web/wild", "default/shop", 0)
    assert told["ruleName"] == "cart"
    assert told["match"] == {"index": 0, "text": "path under /cart, method POST"}
    assert told["filters"] == [
        "request header x-who becomes <us> & them",
        "request header x-secret is removed",
        "host becomes inner.example",
        "the matched prefix becomes /basket",
    ]
    assert told["effects"] == [{"name": "timeouts", "text": "request 10 s"}]
    first, second = told["backends"]
    assert (first["name"], first["share"], second["share"]) == ("default/one:80", 0.75, 0.25)
    assert second["endpoints"] == ["127.0.0.1:8002", "127.0.0.1:8003"]


def test_endpoints_are_written_as_annotations_have_them(
    config: str, ask: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(config)
    file.write_text(file.read_text().replace("127.0.0.1:8002,127.0.0.1:8003", "[::1]:8002,unix:/run/two.sock"))
    assert ask(*CART)["backends"][1]["endpoints"] == ["[::1]:8002", "unix:/run/two.sock"]
    main(["explain", config, "--", *CART])
    assert "[::1]:8002, unix:/run/two.sock" in capsys.readouterr().out


def test_the_request_is_shown_as_it_goes_up(ask: Any) -> None:
    line, *fields = ask(*CART)["backends"][0]["request"]
    assert line == "POST /basket/7 HTTP/1.1"
    assert "host: inner.example" in fields
    assert "x-who: <us> & them" in fields
    assert "x-forwarded-for: <client>" in fields
    assert not [field for field in fields if field.startswith(("X-Secret", "Host"))]


@pytest.mark.parametrize(
    ("request_words", "route", "rule", "match", "failed", "detail"),
    [
        pytest.param(
            CART, "default/tie", 0, 0, "precedence",
            "it fits, but HTTPRoute default/shop rule 0 goes before it: the route whose name sorts first goes first",
            id="the loser of a tie",
        ),
        pytest.param(CART, "default/shop", 1, 0, "header", "header x-beta is absent", id="header"),
        pytest.param(CART, "default/shop", 2, 0, "path", "the path is /cart/7", id="path"),
        pytest.param(
            ("http://shop.a.example/cart",), "default/tie", 0, 0, "method", "the method is GET", id="method"
        ),
        pytest.param(
            ("-H", "X-Beta: 2", "http://shop.a.example/cart"), "default/shop", 1, 0, "header", 'header x-beta is "2"',
            id="another value",
        ),
        pytest.param(
            ("http://b.a.example/cart",), "default/shop", 0, 0, "host", "its hostnames are shop.a.example", id="host"
        ),
        pytest.param(
            ("tcp://:5432",), None, 0, 0, "", "", id="streams have no matches"
        ),
    ],
)  # fmt: skip
def test_every_other_match_has_the_first_predicate_that_failed(
    ask: Any, request_words: tuple[str, ...], route: str | None, rule: int, match: int, failed: str, detail: str
) -> None:
    told = ask(*request_words, status=None)
    missed = {(each["route"], each["rule"], each["match"]): (each["failed"], each["detail"]) for each in told["missed"]}
    if route is None:
        assert missed == {}
    else:
        assert missed[route, rule, match] == (failed, detail)


def test_the_nearest_miss_comes_first(ask: Any) -> None:
    failed = [each["failed"] for each in ask(*CART)["missed"]]
    assert failed == ["precedence", "header", "path"]


def test_listeners_say_why_they_are_not_the_one(ask: Any) -> None:
    why = {each["name"]: (each["chosen"], each["why"]) for each in ask(*CART)["listeners"]}
    assert why == {
        "default/web/all": (False, "default/web/wild has a narrower hostname"),
        "default/web/wild": (True, "*.a.example is the narrowest hostname that has shop.a.example"),
        "default/web/db": (False, "it is on port 5432"),
    }


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (("http://shop.a.example/nothing",), 404, "no_rule"),
        (("http://b.example/",), 404, "no_route"),
        (("http://shop.a.example/a/../cart",), 400, "ambiguous_path"),
        (("-XTRACE", "http://shop.a.example/"), 405, "method_not_allowed"),
        (("http://shop.a.example:81/",), 0, "no_port"),
        (("http://shop.a.example/", "--resolve", "shop.a.example:80:127.0.0.9"), 0, "no_port"),
        (("https://shop.a.example:80/",), 0, "wrong_protocol"),
        (("udp://:5432",), 0, "no_port"),
    ],
)
def test_answers_of_the_gateway_have_the_reason_of_the_access_log(
    ask: Any, words: tuple[str, ...], status: int, reason: str
) -> None:
    answer = ask(*words, status=1)["answer"]
    assert (answer["status"], answer["reason"]) == (status, reason)


def test_a_host_without_a_route_is_told_from_one_without_a_listener(ask: Any) -> None:
    answer = ask("http://b.example/", status=1)["answer"]
    assert (answer["reason"], answer["detail"]) == ("no_route", "no route that the listener has is for this host")


def test_a_redirect_is_told_with_its_location(ask: Any) -> None:
    answer = ask("http://shop.a.example/old?x=1")["backends"][0]["answer"]
    assert (answer["status"], answer["headers"]) == (301, ["location: http://new.example/old?x=1"])


BEHIND_A_PROXY = ("-H", "X-Forwarded-Proto: http", "-H", "X-Forwarded-Host: new.example", "http://shop.a.example/old")


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        ([], 301, "redirect"),
        (["--trusted-hops", "0"], 301, "redirect"),
        (["--trusted-hops", "1"], 508, "redirect_loop"),
    ],
    ids=["no proxy", "none", "one"],
)
def test_a_redirect_to_where_a_trusted_proxy_was_asked_is_told_as_the_loop_that_it_is(
    config: str, capsys: pytest.CaptureFixture[str], options: list[str], status: int, reason: str
) -> None:
    code = main(["explain", config, *options, "-o", "json", "--", *BEHIND_A_PROXY])
    answer = json.loads(capsys.readouterr().out)["backends"][0]["answer"]
    assert (code, answer["status"], answer["reason"]) == (int(status == 508), status, reason)


def test_what_a_trusted_proxy_says_goes_up(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = ("-H", "X-Forwarded-Proto: https", "-H", "X-Forwarded-For: 192.0.2.7", "-H", "X-Request-Id: seven", *CART)
    assert main(["explain", config, "--trusted-hops", "1", "--", *said]) == 0
    trusting = capsys.readouterr().out
    assert main(["explain", config, "--", *said]) == 0
    strict = capsys.readouterr().out
    for line in ("x-forwarded-proto: https", "x-forwarded-for: 192.0.2.7, <client>", "x-request-id: seven"):
        assert (line in trusting, line in strict) == (True, False), line


@pytest.mark.parametrize("words", [["--server", "http://127.0.0.1:1"], []])
def test_a_running_gateway_is_not_told_whom_it_trusts(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *words, "--trusted-hops", "1", "--", "http://a.test/"]) == 2
    assert "a running gateway is asked with its own" in capsys.readouterr().err


def test_text_names_what_json_does(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", config, "--", *CART]) == 0
    text = capsys.readouterr().out
    for part in ("HTTPRoute default/shop rule 0 (cart)", "75 %", "OTHER MATCHES", "header: header x-beta is absent"):
        assert part in text


def test_a_terminal_is_told_nothing_that_it_would_act_on(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = '10.0.0.1 - - [1/Oct/2026:1:1:1 +0] "GET /a HTTP/1.1" 404 23 "\\x1b[31m" "x"'
    assert main(["explain", config, "--", "-H", "Host: shop.a.example", "-H", "X-Who: \x1b[2J", line]) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_the_picture_is_well_formed_whatever_is_in_it(config: str, tmp_path: Path) -> None:
    drawn = tmp_path / "way.svg"
    assert main(["explain", config, "--svg", str(drawn), "--", *CART]) == 0
    texts = [each.text for each in ET.parse(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert "1. request header x-who becomes <us> & them" in texts
    assert "OTHER MATCHES, NEAREST MISS FIRST" in texts


@pytest.mark.parametrize("words", [(), ("--",), ("--", "ftp://a/")])
def test_a_wrong_request_is_a_wrong_command(
    config: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", config, *words]) == 2
    assert "write a URL with options like curl's" in capsys.readouterr().err


def test_only_explain_takes_words_behind_two_dashes(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["check", config, "--", "http://a/"])
    assert left.value.code == 2
    assert "unknown word --" in capsys.readouterr().err
