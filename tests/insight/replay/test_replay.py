"""`gatewayproxy replay` from the command line, over small manifests and logs."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gatewayproxy.cli import main
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.insight import offline
from gatewayproxy.insight.replay import Replay, counts
from gatewayproxy.insight.replay.fixes import fix_for
from gatewayproxy.insight.replay.lines import sketchers
from gatewayproxy.insight.replay.report import shape_of
from gatewayproxy.insight.replay.times import seconds_of, time_text
from gatewayproxy.insight.requests import Kind, Request
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.accesslog import json_line, text_line
from gatewayproxy.ops.sources import read_files, read_paths
from tests.support.calls import counted

SHOP = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: gatewayproxy
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
    - name: cart
      matches: [{path: {value: /cart}}]
      backendRefs: [{name: one, port: 80}]
    - matches: [{path: {type: Exact, value: /login}, method: POST}]
      backendRefs: [{name: one, port: 80}]
    - matches: [{path: {value: /beta}, headers: [{name: X-Beta, value: "1"}]}]
      backendRefs: [{name: one, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shut}
spec:
  parentRefs: [{name: web}]
  hostnames: [shop.example]
  rules:
    - matches: [{path: {value: /cart}}]
      backendRefs: [{name: one, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: one, annotations: {gatewayproxy.io/endpoints: "127.0.0.1:8001"}}
spec: {ports: [{port: 80}]}
"""
RECORD = AccessRecord(
    protocol="http/1.1", listener="default/web/http", client="10.0.0.1", started_at=0.0, generation=1,
    route="HTTPRoute default/shop", rule="0 (cart)", method=b"GET", host=b"shop.example", target=b"/cart", status=200,
)  # fmt: skip


def ours(time: str = "2026-11-20T09:00:00.000Z", **fields: Any) -> bytes:
    return json_line(RECORD._replace(**fields), time).encode()


def nginx(path: str, *, method: str = "GET", status: int = 200, time: str = "20/Nov/2026:09:00:00 +0000") -> bytes:
    return f'10.0.0.7 - - [{time}] "{method} {path} HTTP/1.1" {status} 5 "-" "curl"\n'.encode()


class Shop:
    """Manifests and logs in a folder, and the command."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.config = folder / "shop.yaml"
        self.config.write_text(SHOP)
        self.status = 0

    def log(self, *lines: bytes, name: str = "access.log") -> str:
        file = self.folder / name
        text = b"".join(lines)
        file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        return str(file)

    def against(self, old: str, new: str) -> str:
        assert old in SHOP
        other = self.folder / "other.yaml"
        other.write_text(SHOP.replace(old, new))
        return str(other)

    def text(self, *words: str) -> str:
        self.status = main(["replay", str(self.config), *words])
        return self.capsys.readouterr().out

    def tree(self, *words: str) -> Any:
        return json.loads(self.text(*words, "-o", "json"))


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    return Shop(tmp_path, capsys)


def hits(tree: Any) -> dict[str, int]:
    return {rule["rule"].removeprefix("HTTPRoute default/"): rule["hits"] for rule in tree["rules"]}


def test_hits_and_last_hits_are_told_for_each_rule(shop: Shop) -> None:
    newer = shop.log(ours(), ours("2026-11-20T11:00:00.000Z"), ours(method=b"POST", target=b"/login"), name="new.log")
    older = shop.log(ours("2026-11-19T08:00:00.000Z"), name="old.log.gz")
    tree = shop.tree(newer, older)  # as a shell sorts rotated logs: the last line is not the last hit
    assert shop.status == 0
    assert hits(tree) == {"shop rule 0 (cart)": 3, "shop rule 1": 1, "shop rule 2": 0, "shut rule 0": 0}
    assert tree["rules"][0]["lastHit"] == "2026-11-20T11:00:00Z"
    assert [rule["reachable"] for rule in tree["rules"]] == [True, True, True, False]


def test_a_rule_that_is_never_hit_tells_when_it_was(shop: Shop) -> None:
    gone = ours(target=b"/checkout", route="HTTPRoute default/shop", rule="1")
    text = shop.text(shop.log(gone, gone))
    assert re.search(r"rule 1 +took 2 of these requests when they were logged, the last 2026-11-20T09:00:00Z", text)
    assert re.search(r"shut rule 0 +other rules take all that it could match", text)


CART = "- name: cart\n      matches: [{path: {value: /cart}}]\n      backendRefs: [{name: one, "
FORBIDDEN = CART + "namespace: other, "


def test_rules_that_refuse_are_told_from_rules_that_serve(shop: Shop) -> None:
    refusing = shop.against(CART, FORBIDDEN)
    shop.config.write_text(Path(refusing).read_text())
    lines = shop.text(shop.log(ours(), ours(method=b"POST", target=b"/login", rule="1"))).splitlines()
    assert lines[0] == "2 requests: nothing takes 0 (0 %), 1 (50 %) go to rules that refuse them"
    assert lines[-2].endswith("HTTPRoute default/shop rule 0 (cart): answers 500 ref_not_permitted")
    assert lines[-1].endswith("HTTPRoute default/shop rule 1")


def test_a_rule_that_begins_to_refuse_is_a_change(shop: Shop) -> None:
    refusing = shop.against(CART, FORBIDDEN)
    text = shop.text("--against", refusing, shop.log(ours()))
    assert "to other/one:80, which answers 500 ref_not_permitted" in text
    assert "rule 0 (cart): then answers 500 ref_not_permitted" in text
    shop.config.write_text(Path(refusing).read_text())
    text = shop.text("-H", "Host: shop.example", shop.log(nginx("/cart")))
    assert "answered with 2xx\n      -> HTTPRoute default/shop rule 0 (cart), which answers 500 ref_not" in text


def test_a_route_that_is_there_and_not_attached_is_what_to_mend(shop: Shop) -> None:
    shop.config.write_text(SHOP.replace("parentRefs: [{name: web}]", "parentRefs: [{name: web, sectionName: x}]", 1))
    tree = shop.tree(shop.log(ours(target=b"/login/7"), ours(target=b"/login", method=b"POST")))
    fixes = {each["request"]: each["fix"] for each in tree["missed"]["top"]}
    assert fixes["POST http://shop.example/login"].startswith(
        "HTTPRoute default/shop would take it, but Gateway default/web section x has not got it: NoMatchingParent, "
    )
    assert "has not got it" not in fixes["GET http://shop.example/login/7"]


def test_what_nothing_takes_is_told_with_its_nearest_miss_and_what_to_write(shop: Shop) -> None:
    lines = [nginx(f"/login/{n}", method="POST") for n in range(3)] + [nginx("/Cart/7")] * 2 + [nginx("/login")]
    tree = shop.tree("-H", "Host: shop.example", shop.log(*lines))
    found = [(each["requests"], each["alike"], each["nearest"], each["fix"]) for each in tree["missed"]["top"]]
    assert found[0][:2] == (3, 2)
    assert "make /login a prefix in rule 1 of HTTPRoute default/shop" in found[0][3]
    assert found[1][0] == 2
    assert "capitals" in found[1][3]
    assert found[2][2].endswith("method: the method is GET")
    assert "add a match for GET to rule 1" in found[2][3]


def test_a_stream_that_no_route_takes_is_not_told_of_hosts() -> None:
    assert fix_for(None, Request(kind=Kind.TCP), "no_route") == "attach a route to the listener"
    assert "host" in fix_for(None, Request(), "no_route")


def test_lines_of_no_known_form_are_told_where_the_known_ones_are(shop: Shop) -> None:
    text = shop.text(shop.log(b"\x1b[2J\n", b"?\n"))
    assert text.startswith(
        "0 requests: nothing takes 0 (0 %)\n"
        "2 lines of no form that is known, or without a request; gatewayproxy replay --help"
    )
    assert "\x1b" not in text


def test_lines_that_are_nearly_alike_are_told_apart(shop: Shop) -> None:
    shop.config.write_text(
        SHOP.replace('headers: [{name: X-Beta, value: "1"}]', 'queryParams: [{name: p, value: "1"}]')
    )
    ones = [ours(target=target) for target in (b"/cart", b"/cart/1", b"/beta", b"/beta?p=2", b"/beta?p=1", b"/login")]
    others = [ours(target=b"/cart/%d" % n, host=b"other.example") for n in range(3)]
    posts = [ours(target=target, method=b"POST") for target in (b"/cart", b"/login", b"/login/")]
    tree = shop.tree(shop.log(*ones, *others, *posts))
    assert hits(tree) == {"shop rule 0 (cart)": 3, "shop rule 1": 1, "shop rule 2": 1, "shut rule 0": 0}
    assert tree["missed"]["requests"] == 7


def test_decisions_that_are_not_what_was_logged_are_changes(shop: Shop) -> None:
    tree = shop.tree(shop.log(ours(), ours(route="HTTPRoute default/old", rule="3"), ours(target=b"/nope")))
    assert {(each["from"], each["to"], each["requests"]) for each in tree["changed"]["kinds"]} == {
        ("HTTPRoute default/old rule 3", "HTTPRoute default/shop rule 0 (cart)", 1),
        ("HTTPRoute default/shop rule 0 (cart)", "404 no_rule", 1),
    }
    assert shop.status == 0


def test_of_another_proxys_log_lost_answers_are_changes(shop: Shop) -> None:
    log = shop.log(nginx("/cart"), nginx("/old", status=302), nginx("/old", status=404))
    (change,) = shop.tree("-H", "Host: shop.example", log)["changed"]["kinds"]
    assert (change["from"], change["to"], change["requests"]) == ("answered with 3xx", "404 no_rule", 1)
    assert change["where"].endswith("access.log:2")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param("value: /cart}}]\n      backendRefs: [{name: one, port: 80}]\n    - matches: [{path: {type",
                     "value: /basket}}]\n      backendRefs: [{name: one, port: 80}]\n    - matches: [{path: {type",
                     ("HTTPRoute default/shop rule 0 (cart)", "HTTPRoute default/shut rule 0", True), id="other rule"),
        pytest.param("hostnames: [shop.example]", "hostnames: [shop.test]",
                     ("HTTPRoute default/shop rule 0 (cart)", "404 no_route", False), id="no rule"),
        pytest.param("- name: cart", "- name: cart\n      timeouts: {request: 1s}",
                     ("HTTPRoute default/shop rule 0 (cart)",
                      "the same rule, with other filters, timeouts or endpoints", True), id="other behaviour"),
    ],
)  # fmt: skip
def test_another_configuration_tells_from_what_to_what(
    shop: Shop, old: str, new: str, told: tuple[str, str, bool]
) -> None:
    tree = shop.tree("--against", shop.against(old, new), shop.log(ours(), ours()))
    assert shop.status == 1
    (change,) = tree["changed"]["kinds"]
    assert (change["from"], change["to"], change["sameBackends"]) == told
    assert (change["requests"], change["witness"]) == (2, "GET http://shop.example/cart")


def test_the_same_configuration_changes_nothing(shop: Shop) -> None:
    text = shop.text("--against", str(shop.config), shop.log(ours(), ours(target=b"/nope")))
    assert shop.status == 0
    assert "0 (0 %) of the decisions change" in text


def test_lines_without_a_host_are_decided_where_every_host_is_treated_alike(shop: Shop) -> None:
    shop.config.write_text(SHOP.replace("  hostnames: [shop.example]\n", ""))
    tree = shop.tree(shop.log(nginx("/cart"), nginx("/cart/1"), nginx("/nope")))
    assert hits(tree)["shop rule 0 (cart)"] == 2
    assert [miss["requests"] for miss in tree["missed"]["top"]] == [1]


def test_lines_that_say_too_little_are_counted_and_explained(shop: Shop) -> None:
    text = shop.text(shop.log(nginx("/cart"), b"no log at all\n"))
    assert shop.status == 1
    assert "1 line without a host left out -> -H 'Host: shop.example'" in text
    assert "access.log:2: no log at all" in text
    told = shop.text("-H", "Host: shop.example", shop.log(nginx("/beta")))
    assert "1 request for hosts with rules that ask for x-beta" in told
    tree = shop.tree("-H", "Host: shop.example", "-H", "X-Beta: 1", shop.log(nginx("/beta")))
    assert (hits(tree)["shop rule 2"], tree["unsaidFields"]) == (1, [])


def test_forms_may_change_from_line_to_line_and_processes_count_alike(shop: Shop) -> None:
    lines = [ours(), nginx("/cart"), text_line(RECORD, "2026-11-20T09:00:00.000Z").encode()] * 50 + [b"?\n"]
    log = shop.log(*lines)
    alone = shop.tree("-H", "Host: shop.example", log)
    assert hits(alone)["shop rule 0 (cart)"] == 150
    assert alone["unread"]["lines"] == 1
    assert shop.tree("-H", "Host: shop.example", "-j", "3", log) == alone


def test_markdown_cannot_be_broken_out_of(shop: Shop) -> None:
    text = shop.text("-H", "Host: shop.example", "-o", "markdown", shop.log(nginx("/a|b`<script>")))
    row = next(line for line in text.splitlines() if "script" in line)
    assert "<script>" not in row.replace("`GET http(s)://shop.example/a\\|b%60&lt;script>`", "")
    assert len(re.findall(r"(?<!\\)\|", row)) == 5


def test_counts_of_misses_are_bounded_and_say_how_far_they_may_be_off(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "KEPT_MISSES", 10)
    monkeypatch.setattr("gatewayproxy.insight.replay.deciding.KEPT_MISSES", 10)
    lines = [nginx(f"/x{n}y") for n in range(200)] + [nginx("/often")] * 50
    tree = shop.tree("-H", "Host: shop.example", shop.log(*lines))
    assert tree["missed"]["requests"] == 250
    assert tree["missed"]["top"][0]["requests"] == 50
    assert len(tree["missed"]["top"]) <= 10
    assert tree["missed"]["countsLowBy"] >= 1


@pytest.mark.parametrize("words", [["-j", "0"], ["-H", "nothing"], ["--top", "-1"]], ids=" ".join)
def test_wrong_words_are_told(shop: Shop, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(shop.config), "log", *words])
    assert ended.value.code == 2


def test_a_log_that_is_not_there_is_told(shop: Shop) -> None:
    shop.text("absent.log")
    assert shop.status == 1


USUAL = {
    "json": ours(target=b"/cart?full=1", reason="x", detail="y", request_id=b"1"),
    "text": text_line(RECORD._replace(target=b"/cart?full=1", detail="d", request_id=b"1"), "t").encode(),
    "combined": nginx("/cart?full=1"),
    "envoy": b'[t] "GET /cart?full=1 HTTP/2" 200 - 154 0 226 100 "10.0.0.1" "agent" "id" "a.example" "tcp://10.0.2.1:8"',
    "haproxy": b"Nov 20 09:00:00 lb haproxy[1]: 10.0.0.1:33317 [t] web s/s1 1/0/3/6/9 200 27 - - ---- 1/1/1/1/0 0/0 "
    b'{agent|a.example|id} {} "GET /cart?full=1 HTTP/1.1"',
}


@pytest.mark.parametrize("form", USUAL)
def test_usual_lines_have_a_sketch_which_is_where_the_speed_is(form: str) -> None:
    line = USUAL[form].rstrip(b"\n")
    others = [line.replace(old, new) for old, new in
              ((b"10.0.0.", b"10.7.7."), (b"/cart?", b"/nothing?"), (b"agent", b"curl"), (b'"id"', b'"di"'),
               (b"|id", b"|"), (b"full=1", b"other"), (b"[t]", b"[u]"))]  # fmt: skip
    for queries, target in ((False, b"/cart"), (True, b"/cart?full=1")):
        sketcher = sketchers(frozenset(), queries=queries)[form]
        found = [sketcher.pattern.fullmatch(each) for each in (line, *others)]
        assert found[0] is not None
        assert found[0][sketcher.target] == target
        assert {sketcher.sketch(each) for each in found if each is not None} == {sketcher.sketch(found[0])}
        assert None not in found


@pytest.mark.parametrize("form", USUAL)
def test_a_path_that_is_new_costs_few_calls(shop: Shop, form: str) -> None:
    """What is alike in lines is not looked at again, and no line is read twice. Calls tell it on any machine."""
    compiled = offline.compiled(read_paths([str(shop.config)]).sources, CompileOptions(), read_files)
    replay = Replay(compiled.table, host=b"shop.example")
    lines = [USUAL[form].rstrip(b"\n").replace(b"a.example", b"shop.example").replace(b"/cart", b"/cart/%d" % n)
             for n in range(200)]  # fmt: skip
    replay.feed(lines[:100], "one", 1)
    calls = Counter[str]()
    with counted(calls):
        replay.feed(lines[100:], "one", 101)
    assert calls["find_entry"] == 100
    assert calls.total() <= 10 * 100
    assert [tally.n for tally in replay.take().cases.values()] == [200]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"2026-11-20T09:00:00.123Z", "2026-11-20T09:00:00Z"),
        (b"20/Nov/2026:09:00:00 -0130", "2026-11-20T10:30:00Z"),
        (b"06/Feb/2026:12:14:14.655", "2026-02-06T12:14:14Z"),
        (b"31/Feb/2026:12:14:14", ""),
        (b"06/Xyz/2026:12:14:14", ""),
        (b"yesterday", ""),
        (b"", ""),
    ],
)
def test_times_of_logs_are_read(written: bytes, text: str) -> None:
    assert time_text(seconds_of(written)) == text


def test_paths_that_differ_by_identifiers_have_one_shape() -> None:
    assert shape_of(b"/a/12/b/0123456789abcdef-01/v1") == b"/a/*/b/*/v1"
