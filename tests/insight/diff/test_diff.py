"""`gatewayproxy diff`: on the configurations of config/, changed; on values; by the command."""

from __future__ import annotations

import gzip
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gatewayproxy.compiler.pipeline import Compiled
from gatewayproxy.insight.command_line import parse_words
from gatewayproxy.insight.diff import Diff, cells, compare, compare_tables, rules, samples
from gatewayproxy.insight.diff.differences import Tables, differences, hosts_text, pairs
from gatewayproxy.insight.diff.outcomes import outcome_of_entry
from gatewayproxy.insight.diff.report import to_json, to_markdown, to_text, words_for
from gatewayproxy.insight.diff.rules import RuleName
from gatewayproxy.insight.diff.traffic import Traffic
from gatewayproxy.insight.offline import compiled
from gatewayproxy.insight.requests import Kind
from gatewayproxy.model.headops import HeadEdit, Prefix, Respond
from gatewayproxy.model.plan import BackendTls, Cluster, Endpoint, ExternalAuth, FilterChain, HeaderTest, Refusal
from gatewayproxy.model.protocols import AppProtocol, Protocol
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.model.traffic import Cors, Retry, RetryBudget, Session
from gatewayproxy.ops.sources import read_files, read_paths
from gatewayproxy.routing.table import Auth, BackendChoice, BackendGroup, Mirror, RouteEntry, RuleLabel
from tests.support.plans import EXACT, REGEX, backend, listener, match, route, rule, table_of
from tests.support.seeds import ENDPOINTS, NAMES, ROOT, Seed

SEEDS = ["nvcf", "novaedge", "genestack", "runai", "cilium"]
NOW = 1_790_000_000.0


def compiled_seed(seed: Seed) -> Compiled:
    seed.save()
    read = read_paths([str(seed.folder)])
    return compiled(read.sources, CompileOptions(now=NOW), read_files)


@pytest.fixture(params=SEEDS)
def seed(request: pytest.FixtureRequest, tmp_path: Path) -> Seed:
    made = Seed(request.param, tmp_path)
    made.issue_certificates()
    return made


def differing(diff: Diff) -> None:
    """Check that each witness, as the words that are printed, is in its region and is decided otherwise."""
    assert diff.differences
    for each in diff.differences:
        assert each.witness is not None, each.region.text
        request = parse_words(shlex.split(words_for(each.witness)))
        old, new = diff.tables.ask(request._replace(address=each.witness.address))
        outcomes = [diff.tables.outcome(routed, each.witness) for routed in (old, new)]
        assert outcomes[0].facts != outcomes[1].facts


def without_its_first_route(seed: Seed) -> None:
    tree = seed.trees("HTTPRoute")[0]
    for trees in seed.files.values():
        trees[:] = [each for each in trees if each is not tree]


def with_another_endpoint(seed: Seed) -> None:
    for tree in seed.trees("Service"):
        annotations = tree["metadata"].get("annotations", {})
        if ENDPOINTS in annotations:
            annotations[ENDPOINTS] = "127.0.0.9:1"


def with_an_exception(seed: Seed) -> None:
    for tree in seed.trees("HTTPRoute"):
        filters = [{"type": "RequestRedirect", "requestRedirect": {"hostname": "gone.example", "statusCode": 302}}]
        path = {"type": "Exact", "value": "/exception"}
        headers = [{"name": "x-beta", "value": "1"}]
        exception = {"matches": [{"path": path, "method": "PUT", "headers": headers}], "filters": filters}
        tree["spec"]["rules"].append(exception)


@pytest.mark.parametrize(
    "change",
    [without_its_first_route, with_another_endpoint, with_an_exception],
    ids=lambda change: change.__name__.replace("_", " "),
)
def test_what_is_changed_in_a_configuration_is_found_with_witnesses(seed: Seed, change: Callable[[Seed], None]) -> None:
    old = compiled_seed(seed)
    change(seed)
    diff = compare(old, compiled_seed(seed))
    differing(diff)
    if change is with_an_exception:
        assert {each.new.brief[:3] for each in diff.differences} == {"302"}
        for each in diff.differences:
            assert each.region.text == "path = /exception, method = PUT, header x-beta = 1"
    if change is with_another_endpoint:
        assert {fact.what.partition(" of ")[0] for each in diff.changes for fact in each.facts} == {"endpoints"}
        assert any(each.ends and each.what.startswith("endpoint ") for each in diff.effects)
    assert to_text(diff)
    assert to_markdown(diff)
    assert json.loads(to_json(diff))["same"] is False


def test_a_configuration_is_the_same_as_itself(seed: Seed) -> None:
    old = compiled_seed(seed)
    diff = compare(old, compiled_seed(seed))
    assert diff.same
    assert to_text(diff).startswith("the same")
    assert json.loads(to_json(diff))["changes"] == []


@pytest.mark.parametrize("name", ["nvcf", "genestack", "runai"])
def test_a_certificate_that_is_renewed_is_a_change_of_tls_alone(name: str, tmp_path: Path) -> None:
    seed = Seed(name, tmp_path)
    seed.issue_certificates()
    old = compiled_seed(seed)
    secret = next(tree for tree in seed.trees("Secret") if NAMES in tree["metadata"].get("annotations", {}))
    names = [each.strip() for each in secret["metadata"]["annotations"][NAMES].split(",")]
    seed.issue(secret, *names, serial=1)
    diff = compare(old, compiled_seed(seed))
    assert {each.kind for each in diff.differences} == {Kind.TLS}
    assert len(diff.certificates.gained) == len(diff.certificates.lost) == 1
    assert any("not resumed" in each.text for each in diff.effects)
    differing(diff)


def test_a_listener_on_another_port_drains_and_opens(tmp_path: Path) -> None:
    seed = Seed("nvcf", tmp_path)
    seed.issue_certificates()
    old = compiled_seed(seed)
    nats = next(
        each
        for each in seed.tree("Gateway", "envoy-gateway/nvcf-gateway")["spec"]["listeners"]
        if each["name"] == "nats"
    )
    nats["port"] = 4223
    diff = compare(old, compiled_seed(seed))
    differing(diff)
    told = {each.what.rpartition(":")[2]: each for each in diff.effects}
    assert told["4222"].ends
    assert told["4222"].text.startswith("closes")
    assert told["4223"].text == "opens"


# --- values


def diff_of(old: Sequence[Any], new: Sequence[Any]) -> Diff:
    return compare_tables(table_of(*old), table_of(*new))


def test_what_is_written_otherwise_and_does_the_same_is_the_same() -> None:
    one = listener("a", route("a/x", rule(match(b"/a")), rule(match(b"/b"))))
    other = listener("a", route("a/other", rule(match(b"/b")), rule(match(b"/a/"))))
    assert diff_of([one], [other]).same


@pytest.mark.parametrize(
    ("old", "new", "regions"),
    [
        pytest.param(
            [rule(match(b"/a"))], [rule(match(b"/a"), backends=[backend("a/two:80")])],
            {"path under /a"}, id="a backend of a prefix",
        ),
        pytest.param(
            [rule(match(b"/a")), rule(match(b"/a/b", EXACT), backends=[backend("a/two:80")])],
            [rule(match(b"/a")), rule(match(b"/a/b"), backends=[backend("a/two:80")])],
            {"path under /a/b but not /a/b"}, id="an exact path that becomes a prefix",
        ),
        pytest.param(
            [rule(match(method=b"GET")), rule(match(), backends=[backend("a/two:80")])],
            [rule(match(), backends=[backend("a/two:80")])],
            {"path under /, method = GET"}, id="a method",
        ),
        pytest.param(
            [rule(match(headers=[(b"x", b"1")])), rule(backends=[backend("a/two:80")])],
            [rule(match(headers=[(b"x", b"2")])), rule(backends=[backend("a/two:80")])],
            {"path under /, header x = 1", "path under /, header x = 2"}, id="the value of a header",
        ),
        pytest.param(
            [rule(match(query=[(b"a b", b"1")]))], [],
            {"path under /, query parameter a b = 1"}, id="a query parameter",
        ),
        pytest.param(
            [rule(match(b"/a[0-9]+", REGEX))], [rule(match(b"/a[0-8]+", REGEX))],
            {"path ~ /a[0-9]+ but not ~ /a[0-8]+"}, id="patterns, as languages",
        ),
        pytest.param(
            [rule(match(b"/a[0-9]+", REGEX))], [rule(match(b"/a\\d\\d*", REGEX))], set(), id="patterns that are one",
        ),
        pytest.param(
            [rule(match(headers=[HeaderTest(b"x", b"a.*", True)]))],
            [rule(match(headers=[HeaderTest(b"x", b"ab", True)]))],
            {"path under /, header x ~ a.* but not ~ ab"}, id="a pattern of a header",
        ),
    ],
)  # fmt: skip
def test_regions_are_the_requests_that_differ(old: list[Any], new: list[Any], regions: set[str]) -> None:
    routes = [[route("a/x", *rules)] if rules else [] for rules in (old, new)]
    diff = diff_of([listener("a", *routes[0])], [listener("a", *routes[1])])
    assert {each.region.text for each in diff.differences} == regions
    for each in diff.differences:
        assert each.witness is not None
        assert each.has(each.witness)


def test_a_region_that_patterns_hide_is_told_to_have_no_witness() -> None:
    unread = rule(match(b"/(a\\b-|b)\\bq", REGEX))
    diff = diff_of([listener("a", route("a/x", unread))], [listener("a", route("a/x", rule(match(b"/c", EXACT))))])
    hidden = [each for each in diff.differences if each.witness is None]
    assert [each.region.text for each in hidden] == ["path ~ /(a\\b-|b)\\bq"]
    assert "no witness was found: there may be no such request" in to_text(diff)


# --- large ones: what takes too much is sampled, and said to be


def moved(rules: Sequence[Any]) -> list[Any]:
    return [replace(each, backends=(backend("a/two:80"),)) for each in rules]


def by_field(n: int) -> list[Any]:
    return [rule(match(headers=[(b"x", b"%d" % number)])) for number in range(n)]


def by_pattern(n: int) -> list[Any]:
    return [rule(match(b"/p%d/[0-9]+" % number, REGEX)) for number in range(n)]


@pytest.mark.parametrize("rules", [by_field, by_pattern], ids=["fields", "patterns"])
def test_hundreds_of_rules_of_one_host_that_all_differ_are_told_apart(rules: Callable[[int], list[Any]]) -> None:
    old = rules(400)
    diff = diff_of([listener("a", route("a/x", *old))], [listener("a", route("a/x", *moved(old)))])
    assert len(diff.differences) == 400
    assert all(each.examined and each.witness is not None for each in diff.differences)


def test_one_rule_of_thousands_with_patterns_is_told_exactly() -> None:
    old = by_pattern(2_000)
    new = [*old[:-1], *moved(old[-1:])]
    (difference,) = diff_of([listener("a", route("a/x", *old))], [listener("a", route("a/x", *new))]).differences
    assert difference.region.text == "path ~ /p1999/[0-9]+"  # others begin otherwise, and are no exceptions of it
    assert difference.witness is not None


@pytest.mark.parametrize("rules", [by_field, by_pattern], ids=["fields", "patterns"])
def test_the_work_of_a_comparison_grows_with_the_square_of_the_rules_at_most(
    rules: Callable[[int], list[Any]],
) -> None:
    spent = []
    for n in (40, 80):
        old, new = (table_of(listener("a", route("a/x", *each))) for each in (rules(n), moved(rules(n))))
        tables = Tables(old, new)
        assert sum(len(differences(pair, tables)) for pair in pairs(old, new)) == n
        spent.append(cells.MAX_STEPS - tables.work.left)
    assert 0 < spent[1] <= 4.5 * spent[0]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Diff:
    """Return the diff of a host whose rules are more than may be looked at, and of one with a single rule."""
    monkeypatch.setattr(cells, "MAX_STEPS", 40)
    rules = by_field(30)
    small, taken = route("a/y"), route("a/y", *moved([rule()]))
    return diff_of(
        [listener("a", (route("a/x", *rules), ["large.example"]), (small, ["small.example"]))],
        [listener("a", (route("a/x", *rules[:20], *moved(rules[20:])), ["large.example"]), (taken, ["small.example"]))],
    )


def test_what_is_too_large_is_sampled_and_costs_others_nothing(large: Diff) -> None:
    small, whole = sorted(large.differences, key=lambda each: not each.examined)
    assert (small.examined, hosts_text(small.hosts)) == (True, "small.example")
    assert (whole.examined, hosts_text(whole.hosts)) == (False, "large.example")
    assert whole.sample is not None
    assert (whole.sample.n_matches, whole.sample.n_asked, whole.sample.n_moved) == (30, 30, 10)
    differing(large)


def test_a_sample_asks_first_what_one_side_alone_does(large: Diff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MAX_ASKED", 10)
    rules = by_field(30)
    tables = [table_of(listener("a", route("a/x", *each))) for each in (rules, [*rules[:20], *moved(rules[20:])])]
    (difference,) = compare_tables(*tables).differences
    assert difference.sample is not None
    assert (difference.sample.n_asked, difference.sample.n_moved) == (10, 10)


def test_the_report_says_what_was_sampled_and_what_was_not_looked_at(large: Diff) -> None:
    text = to_text(large)
    assert "2 changes, 2 regions of requests, 1 of them not compared to the end" in text
    assert "too large to be compared to the end" in text
    assert "sampled: 30 requests that a match takes, 10 of them treated otherwise" in text
    assert "not looked at: 0 of 30 matches, and what lies between" in text
    assert "10: default/web:80 -> a/two:80, e.g. -H 'x: 20' http://large.example/" in text
    assert "sampled: 30 requests" in to_markdown(large)
    regions = [region for change in json.loads(to_json(large))["changes"] for region in change["regions"]]
    (sample,) = (region["sample"] for region in regions if not region["examined"])
    assert (sample["matches"], sample["asked"], sample["differ"]) == (30, 30, 10)
    assert sample["moves"][0]["witness"] == "-H 'x: 20' http://large.example/"


def test_what_is_too_large_and_treated_alike_wherever_it_is_asked_is_not_said_to_be_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cells, "MAX_STEPS", 40)
    rules = by_field(30)
    tables = [table_of(listener("a", route("a/x", *each))) for each in (rules, [*rules, rule(match(b"/", EXACT))])]
    diff = compare_tables(*tables)
    assert not diff.same
    assert (
        "30 requests that a match takes, all of them treated as before" in to_text(diff) or diff.differences[0].witness
    )


def test_a_log_weighs_what_was_sampled(large: Diff) -> None:
    traffic = Traffic(large.tables, large.differences)
    traffic.feed(logged("large.example", "/"))
    assert traffic.n_requests == 1


def test_rules_that_were_not_looked_at_are_counted_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_STEPS", 3)
    diff = compare(compiled_rules(*by_field(5)), compiled_rules(*by_field(6)))
    assert "? 6 rules, HTTPRoute a/x rule 0 first: not looked at whether anything comes to them" in to_text(diff)
    assert len(json.loads(to_json(diff))["rules"]["notLookedAt"]) == 6


def test_the_progress_of_a_comparison_is_told_by_hosts() -> None:
    told: list[tuple[int, int]] = []
    hosts = [(route(f"a/x{number}"), [f"h{number}.example"]) for number in range(5)]
    others = [(route(f"a/x{number}", *moved([rule()])), [f"h{number}.example"]) for number in range(5)]
    tables = table_of(listener("a", *hosts)), table_of(listener("a", *others))
    compare_tables(*tables, progress=lambda n, of: told.append((n, of)))
    assert told == [(number, 6) for number in range(6)]


def test_what_markdown_would_act_on_is_escaped() -> None:
    old = listener("a", route("a/x", rule(match(b"/a|b`c<d", EXACT))))
    new = listener("a", route("a/x", rule(match(b"/c", EXACT))))
    table = next(line for line in to_markdown(diff_of([old], [new])).splitlines() if "/a" in line)
    assert "&lt;d" in table
    assert "a\\|b" in table
    assert "b`c" not in table


def test_hosts_that_differ_alike_are_one_region() -> None:
    hosts = [f"h{number}.example" for number in range(50)]
    old = listener("a", (route("a/x"), [*hosts, "same.example"]))
    moved = route("a/x", rule(backends=[backend("a/two:80")]))
    new = listener("a", (moved, hosts), (route("a/y"), ["same.example"]))
    (difference,) = diff_of([old], [new]).differences
    assert len(difference.hosts) == 50


def test_a_wildcard_differs_but_for_the_host_that_does_not() -> None:
    moved = rule(backends=[backend("a/two:80")])
    old = listener("a", (route("a/x"), ["*.example", "a.example"]))
    new = listener("a", (route("a/x", moved), ["*.example"]), (route("a/y"), ["a.example"]))
    text = to_text(diff_of([old], [new]))
    assert "below *.example but not a.example" in text


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
def test_a_stream_to_another_backend_is_one_difference(protocol: Protocol) -> None:
    kind = f"{protocol.value}Route"
    old = listener("a", route("a/x", kind=kind), protocol=protocol, port=53)
    new = listener("a", route("a/x", rule(backends=[backend("a/two:80")]), kind=kind), protocol=protocol, port=53)
    diff = diff_of([old], [new])
    (difference,) = diff.differences
    assert difference.kind is Kind[protocol.value]
    assert difference.witness is not None
    assert words_for(difference.witness) == f"{protocol.value.lower()}://:53"
    assert any("go" in each.text or "move" in each.text for each in diff.effects)


def compiled_rules(*rules: Any) -> Compiled:
    from gatewayproxy.compiler.lower import lower
    from gatewayproxy.model.plan import Plan
    from gatewayproxy.model.status import StatusReport

    plan = Plan(listeners=(listener("a", route("a/x", *rules)),))
    return Compiled(plan=plan, table=lower(plan, CompileOptions()), status=StatusReport())


def test_rules_that_nothing_comes_to_any_more_are_dead_and_come_back_to_life() -> None:
    narrow = rule(match(b"/a", method=b"GET", headers=[(b"x", b"1")]))
    half = [rule(match(b"/a", method=b"GET", headers=[(b"x", b"1")])), narrow]
    lived = compiled_rules(rule(match(b"/b")), narrow)
    dead = compiled_rules(half[0], narrow)
    name = RuleName("HTTPRoute", "a/x", "1")
    assert compare(lived, dead).rules.dead == (name,)
    assert compare(dead, lived).rules.alive == (name,)


def test_of_rules_that_were_not_looked_at_to_the_end_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = rule(match(b"/[ab]", REGEX))
    lived = compiled_rules(rule(match(b"/a", EXACT)), pattern)
    dead = compiled_rules(rule(match(b"/a", EXACT), match(b"/b", EXACT)), pattern)
    assert compare(lived, dead).rules.dead
    assert compare(dead, lived).rules.alive
    monkeypatch.setattr(rules, "MAX_STEPS", 3)
    assert not compare(lived, dead).rules.dead
    assert not compare(dead, lived).rules.alive


def test_a_pattern_that_exact_paths_leave_nothing_of_is_dead() -> None:
    pattern = rule(match(b"/[ab]", REGEX))
    lived = compiled_rules(rule(match(b"/a", EXACT)), pattern)
    dead = compiled_rules(rule(match(b"/a", EXACT), match(b"/b", EXACT)), pattern)
    assert compare(lived, dead).rules.dead == (RuleName("HTTPRoute", "a/x", "1"),)


# --- what counts as the same

ENTRY = RouteEntry(
    index=0, label=RuleLabel("l", "HTTPRoute", "a/x", 0), fingerprint=b"",
    group=BackendGroup(
        index=0, bounds=(1,), step=1,
        choices=(
            BackendChoice(
                name="a/one:80",
                cluster=Cluster(
                    name="a/one:80", endpoints=(Endpoint("127.0.0.1", 80),),
                    tls=BackendTls(server_name="one", names=("one",), uris=("spiffe://one",)),
                    retry_budget=RetryBudget(service="a/one"),
                ),
                request=HeadEdit(cut=frozenset((b"x",)), append=b"x: 1\r\n", host=b"h", path=b"/p"),
                response=HeadEdit(append=b"y: 1\r\n"),
                mirrors=(Mirror(cluster=Cluster(name="a/copy:80"), numerator=1, denominator=2),),
            ),
        ),
    ),
    auths=(
        Auth(server=ExternalAuth(cluster=Cluster(name="a/auth:80"), request_headers=(b"x",), response_headers=(b"y",))),
    ),
    cors=Cors(origins=(b"*",), methods=(b"GET",), headers=(b"x",), expose=(b"y",)),
    retry=Retry(codes=(503,)),
    session=Session(rule="a/x/0", name=b"s"),
)  # fmt: skip
REDIRECT = RouteEntry(
    index=0, label=RuleLabel("l", "HTTPRoute", "a/x", 0), fingerprint=b"", response=HeadEdit(append=b"x: 1\r\n"),
    respond=Respond(status=302, scheme=b"https", host=b"h", port=b":1", path=b"/p"),
)  # fmt: skip
# Names and numbers of a rule; what is read of the plan alone; what `changed_values` has no other value for.
NOT_COMPARED = {
    "RouteEntry": {"index", "label", "fingerprint", "resting"}, "BackendGroup": {"index", "step", "bounds"},
    "ExternalAuth": {"before"},
}  # fmt: skip
OTHERS: dict[type, Callable[[Any], Any]] = {
    bool: lambda value: not value, int: lambda value: value + 1, float: lambda value: value + 1.5,
    str: lambda value: value + "2", bytes: lambda value: b"z: 2\r\n" + value, frozenset: lambda value: value | {b"z"},
    AppProtocol: lambda _: AppProtocol.H2C,
}  # fmt: skip


def variants(value: Any) -> list[tuple[str, Any]]:
    """Return (what was changed, copy of *value* with it) for every field that has a value, however deep."""
    made: list[tuple[str, Any]] = []
    kind = type(value).__name__
    for name in (field.name for field in fields(value) if field.name not in NOT_COMPARED.get(kind, ())):
        for label, changed in changed_values(getattr(value, name)):
            made.append((f"{kind}.{name} {label}".strip(), replace(value, **{name: changed})))
    return made


def changed_values(value: Any) -> list[tuple[str, Any]]:
    if is_dataclass(value):
        return variants(value)
    if isinstance(value, tuple) and value:
        items = [(label, (changed, *value[1:])) for label, changed in changed_values(value[0])]
        return [(label, type(value)(*each) if hasattr(value, "_fields") else each) for label, each in items]
    return [("", OTHERS[type(value)](value))] if type(value) in OTHERS else []


@pytest.mark.parametrize(
    ("entry", "changed"),
    [pytest.param(entry, changed, id=label) for entry in (ENTRY, REDIRECT) for label, changed in variants(entry)],
)
def test_every_field_of_an_entry_counts(entry: RouteEntry, changed: RouteEntry) -> None:
    assert outcome_of_entry(entry).facts != outcome_of_entry(changed).facts


def test_a_prefix_that_nothing_is_cut_off_for_is_told_to_be_put_before_the_path() -> None:
    rewrites = (Prefix(b"/rest"),)
    new = rule(match(), filters=FilterChain(request=rewrites))
    text = to_text(diff_of([listener("a", route("a/x"))], [listener("a", route("a/x", new))]))
    assert "/rest is put before the path" in text


def test_a_refusal_counts() -> None:
    refused = replace(ENTRY, group=None, refusal=Refusal(500, "no_backends"))
    assert outcome_of_entry(refused).brief == "500 no_backends"
    assert outcome_of_entry(refused).facts != outcome_of_entry(ENTRY).facts


# --- logs


def logged(host: str, target: str, *, method: str = "GET", listener: str = "default/gw/a") -> bytes:
    tree = {
        "time": "2026-01-01T00:00:00Z", "protocol": "http/1.1", "listener": listener, "route": "", "rule": "",
        "backend": "", "endpoint": "", "client": "10.0.0.1", "method": method, "target": target, "status": 200,
        "host": host, "bytes_in": 0,
    }  # fmt: skip
    return json.dumps(tree, separators=(",", ":")).encode()


def test_a_log_weighs_the_regions_with_its_requests() -> None:
    old = listener("a", route("a/x", rule(match(b"/a")), rule(match(b"/b"))))
    new = listener("renamed", route("a/x", rule(match(b"/a"), backends=[backend("a/two:80")])))
    diff = diff_of([old], [new])
    traffic = Traffic(diff.tables, diff.differences)
    lines = [logged("h", "/a/1"), logged("h", "/a/2"), logged("h", "/b?x"), logged("h", "/c"), b"no line of a log"]
    for line in lines * 5:
        traffic.feed(line)
    assert (traffic.n_requests, traffic.n_changed, traffic.n_unread, traffic.n_unplaced) == (20, 15, 5, 0)
    assert traffic.moves == {("default/web:80", "a/two:80"): 10, ("default/web:80", "404"): 5}
    assert sorted(traffic.counts.values()) == [5, 10]
    text = to_text(diff, traffic)
    assert "75 % of 20 requests" in text
    assert "25 % move from default/web:80 to 404" in text


def test_lines_that_say_no_host_are_left_out_and_told() -> None:
    diff = diff_of([listener("a", route("a/x", rule(match(b"/a"))))], [listener("a")])
    traffic = Traffic(diff.tables, diff.differences)
    traffic.feed(b'10.0.0.7 - - [20/Nov/2026:09:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl"')
    assert (traffic.n_requests, traffic.n_unread, traffic.n_hostless) == (0, 0, 1)
    assert "1 line without a host left out; replay --against decides them" in to_text(diff, traffic)


# --- the command


def ran(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gatewayproxy", "diff", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    seed = Seed("nvcf", tmp_path)
    seed.issue_certificates()
    seed.save()
    other = tmp_path / "other"
    other.mkdir()
    seed.folder.rename(tmp_path / "old")
    old = tmp_path / "old"
    for file in old.rglob("*"):
        if file.is_file():
            copy = other / file.relative_to(old)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(file.read_bytes().replace(b"api.nvcf.localhost", b"api2.nvcf.localhost"))
    return str(old), str(other)


def test_the_command_exits_as_diff_does(folders: tuple[str, str]) -> None:
    old, new = folders
    assert ran(old, old).returncode == 0
    differs = ran(old, new)
    assert (differs.returncode, differs.stderr) == (1, "")
    assert "e.g. http://api.nvcf.localhost/" in differs.stdout
    missing = ran(old, f"{new}/missing")
    assert missing.returncode == 2
    assert "missing" in missing.stderr
    assert ran(old, new, "--log", f"{new}/missing").returncode == 2
    assert ran(old).returncode == 2


def test_the_command_reads_logs_that_are_compressed(folders: tuple[str, str], tmp_path: Path) -> None:
    log = tmp_path / "access.log.gz"
    lines = [logged("api.nvcf.localhost", "/x", listener="envoy-gateway/nvcf-gateway/http")] * 3
    log.write_bytes(
        gzip.compress(b"\n".join([*lines, logged("h", "/", listener="envoy-gateway/nvcf-gateway/http"), b""]))
    )
    tree = json.loads(ran(*folders, "--log", str(log), "-o", "json").stdout)
    assert tree["traffic"]["requests"] == 4
    assert tree["traffic"]["moves"] == [{"from": "nvcf/api:8080", "to": "404", "requests": 3}]
    assert "75 % of 4 requests" in ran(*folders, "--log", str(log)).stdout
    assert "| 75 % |" in ran(*folders, "--log", str(log), "-o", "markdown").stdout
