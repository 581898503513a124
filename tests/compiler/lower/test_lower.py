"""What a plan comes to: ports, owners, entries, shares."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gatewayproxy.model.headops import HeadEdit, Path, Prefix, Redirect, Set
from gatewayproxy.model.plan import Certificate, FilterChain, MirrorTo, Refusal, Rule
from gatewayproxy.model.protocols import Protocol, TlsMode
from gatewayproxy.routing.match import find_host
from gatewayproxy.routing.show import show
from gatewayproxy.routing.table import PortKind, RouteEntry, SniAction, SniIndex
from tests.support.plans import EXACT, Ask, backend, cluster, found, listener, match, route, rule, table_of


def only_entry(*rules: Rule, path: bytes = b"/") -> RouteEntry:
    entry = found(table_of(listener("http", route("r", *rules))).ports[0], Ask(path=path))
    assert entry is not None
    return entry


def test_listeners_on_several_addresses_share_one_index() -> None:
    table = table_of(listener("http", route("r"), addresses=("127.0.0.1", "::1")))
    first, second = table.ports
    assert (first.address, second.address) == ("127.0.0.1", "::1")
    assert first.http is second.http
    assert table.n_entries == 1


def test_the_same_host_on_two_gateways_does_not_leak() -> None:
    table = table_of(
        listener("in", route("in"), hostname="a.example", addresses=("127.0.0.1",)),
        listener("out", route("out"), hostname="a.example", addresses=("127.0.0.2",)),
    )
    winners = [entry.label.route for port in table.ports if (entry := found(port, Ask())) is not None]
    assert winners == ["default/in", "default/out"]


def test_edits_of_a_backend_come_after_those_of_the_rule() -> None:
    inner = FilterChain(request=(Set(b"X", b"backend"),), response=(Set(b"Y", b"backend"),))
    outer = FilterChain(request=(Set(b"X", b"rule"),), response=(Set(b"Z", b"rule"),))
    group = only_entry(rule(filters=outer, backends=[backend("a", filters=inner), backend("b")])).group
    assert group is not None
    first, second = group.choices
    assert first.request == HeadEdit(cut=frozenset({b"x"}), append=b"X: backend\r\n")
    assert first.response == HeadEdit(cut=frozenset({b"y", b"z"}), append=b"Z: rule\r\nY: backend\r\n")
    assert second.request == HeadEdit(cut=frozenset({b"x"}), append=b"X: rule\r\n")


def test_each_prefix_of_a_rule_that_replaces_it_has_its_own_entry() -> None:
    rewriting = rule(match(b"/a"), match(b"/bcd"), filters=FilterChain(request=(Prefix(b"/x"),)))
    port = table_of(listener("http", route("r", rewriting))).ports[0]
    edits = []
    for path in (b"/a", b"/bcd"):
        entry = found(port, Ask(path=path))
        assert entry is not None
        assert entry.group is not None
        assert entry.group.choices[0].request is not None
        edits.append(entry.group.choices[0].request.prefix)
    assert edits == [(2, b"/x"), (4, b"/x")]


def test_matches_of_a_plain_rule_share_their_entry() -> None:
    table = table_of(listener("http", route("r", rule(match(b"/a"), match(b"/b", EXACT)))))
    assert table.n_entries == 1
    assert found(table.ports[0], Ask(path=b"/a")) is found(table.ports[0], Ask(path=b"/b"))


def test_a_redirect_answers_although_there_are_backends() -> None:
    entry = only_entry(rule(filters=FilterChain(redirect=Redirect(host="b.example"), response=(Set(b"A", b"1"),))))
    assert entry.group is None
    assert entry.respond is not None
    assert entry.respond.host == b"b.example"
    assert entry.response is not None


def test_a_redirect_of_a_backend_answers_its_share() -> None:
    redirecting = backend("a", filters=FilterChain(redirect=Redirect(scheme="https")))
    group = only_entry(rule(backends=[redirecting, backend("b")])).group
    assert group is not None
    assert group.choices[0].respond is not None
    assert group.choices[0].cluster is None


def test_refusals_keep_their_share() -> None:
    missing = Refusal(500, "backend_not_found")
    group = only_entry(rule(backends=[backend("a", 3), backend("gone", 1, refusal=missing), backend("off", 0)])).group
    assert group is not None
    assert group.bounds == (3, 4)
    assert group.choices[1].refusal == missing
    assert group.choices[1].cluster is None


def test_without_any_weight_requests_are_refused() -> None:
    entry = only_entry(rule(backends=[backend(weight=0)]))
    assert entry.refusal == Refusal(500, "no_backends")


def test_a_filter_that_cannot_be_honoured_refuses_requests() -> None:
    refusal = Refusal(500, "filter_unsupported", "ExtensionRef")
    assert only_entry(rule(filters=FilterChain(refusal=refusal, redirect=Redirect()))).refusal == refusal


def test_replacing_a_prefix_that_no_match_has_is_refused() -> None:
    entry = only_entry(rule(match(b"/a", EXACT), filters=FilterChain(request=(Prefix(b"/x"),))), path=b"/a")
    assert entry.refusal is not None
    assert entry.refusal.reason == "filter_unsupported"


def test_copies_carry_the_edits_made_so_far() -> None:
    inner = FilterChain(request=(Set(b"B", b"2"),), mirrors=(MirrorTo(cluster=cluster("n"), denominator=2),))
    outer = FilterChain(request=(Set(b"A", b"1"),), mirrors=(MirrorTo(cluster=cluster("m")),))
    group = only_entry(rule(filters=outer, backends=[backend(filters=inner)])).group
    assert group is not None
    by_rule, by_backend = group.choices[0].mirrors
    assert by_rule.request is not None
    assert by_rule.request.append == b"A: 1\r\n"
    assert by_backend.request is not None
    assert by_backend.request.append == b"A: 1\r\nB: 2\r\n"
    assert (by_backend.numerator, by_backend.denominator) == (1, 2)


def certificate(name: str) -> tuple[Certificate, ...]:
    return (Certificate(chain_pem=b"c", key_pem=b"k", digest=name),)


def digests(index: SniIndex | None, name: bytes) -> list[str]:
    assert index is not None
    target = find_host(index, name)
    return [] if target is None else [each.digest for each in target.certificates]


def test_certificates_are_found_by_the_hostname_of_their_listener() -> None:
    table = table_of(
        listener("a", hostname="a.example", protocol=Protocol.HTTPS, port=443, certificates=certificate("a")),
        listener("w", hostname="*.example", protocol=Protocol.HTTPS, port=443, certificates=certificate("w")),
    )
    sni = table.ports[0].sni
    assert table.ports[0].kind is PortKind.HTTPS
    assert [digests(sni, name) for name in (b"a.example", b"b.example", b"example", b"")] == [["a"], ["w"], [], []]


def test_a_listener_without_hostname_serves_unknown_names_and_none() -> None:
    sni = table_of(listener("d", protocol=Protocol.HTTPS, port=443, certificates=certificate("d"))).ports[0].sni
    assert [digests(sni, name) for name in (b"x.example", b"")] == [["d"], ["d"]]


def test_a_server_name_goes_to_the_longest_hostname_of_its_listener() -> None:
    exact = (route("exact", kind="TLSRoute"), ["a.example"])
    wild = (route("wild", kind="TLSRoute"), ["*.example"])
    narrow = listener("narrow", hostname="n.example", protocol=Protocol.TLS, port=8443)
    table = table_of(listener("any", wild, exact, protocol=Protocol.TLS, port=8443), narrow)
    sni = table.ports[0].sni
    assert sni is not None
    routes = []
    for name in (b"a.example", b"b.example", b"n.example", b"example", b""):
        target = find_host(sni, name)
        routes.append(target.entry.label.route if target is not None and target.entry is not None else None)
    assert routes == ["default/exact", "default/wild", None, None, None]


@pytest.mark.parametrize("beside", [Protocol.HTTPS, Protocol.TLS], ids=["HTTPS", "TLS"])
@pytest.mark.parametrize("protocol", [Protocol.HTTPS, Protocol.TLS], ids=["of HTTPS", "of TLS"])
def test_names_of_a_listener_without_a_certificate_lead_to_no_wider_one(protocol: Protocol, beside: Protocol) -> None:
    own = route("r", kind="HTTPRoute" if beside is Protocol.HTTPS else "TLSRoute"), ["deep.a.example", "*.example"]
    wide = listener("wide", own, hostname="*.example", protocol=beside, port=443, certificates=certificate("w"))
    bare = [
        listener(name, hostname=name, protocol=protocol, port=443, tls_mode=TlsMode.TERMINATE)
        for name in ("a.example", "*.a.example")
    ]
    port = table_of(wide, withheld=tuple(bare)).ports[0]
    assert [label.name for label in port.listeners] == ["default/gw/wide"]
    assert port.sni is not None
    names = (b"a.example", b"x.a.example", b"y.x.a.example", b"deep.a.example", b"b.example", b"")
    targets = [find_host(port.sni, name) for name in names]
    led = [(each.listener.name[11:], each.action is SniAction.REFUSE) if each is not None else None for each in targets]
    assert led == [("a.example", True), *[("*.a.example", True)] * 3, ("wide", False), None]
    hosts = [find_host(port.http, name) for name in names[:2]] if port.http is not None else []
    assert [(each.listener.name[11:], each.layers) for each in hosts if each is not None] == (
        [("a.example", ()), ("*.a.example", ())] if beside is Protocol.HTTPS else []
    )


@pytest.mark.parametrize(
    ("protocol", "mode", "beside", "action"),
    [
        pytest.param(Protocol.HTTPS, TlsMode.TERMINATE, Protocol.HTTPS, SniAction.HTTP, id="HTTPS beside HTTPS"),
        pytest.param(Protocol.HTTPS, TlsMode.TERMINATE, Protocol.TLS, SniAction.HTTP, id="HTTPS beside TLS"),
        pytest.param(Protocol.TLS, TlsMode.TERMINATE, Protocol.HTTPS, SniAction.REFUSE, id="Terminate beside HTTPS"),
        pytest.param(Protocol.TLS, TlsMode.TERMINATE, Protocol.TLS, SniAction.STREAM, id="Terminate beside TLS"),
        pytest.param(
            Protocol.TLS, TlsMode.PASSTHROUGH, Protocol.HTTPS, SniAction.REFUSE, id="Passthrough beside HTTPS"
        ),
        pytest.param(
            Protocol.TLS, TlsMode.PASSTHROUGH, Protocol.TLS, SniAction.PASSTHROUGH, id="Passthrough beside TLS"
        ),
    ],
)
def test_names_of_a_listener_that_takes_no_kind_of_route_lead_to_no_entry(
    protocol: Protocol, mode: TlsMode, beside: Protocol, action: SniAction
) -> None:
    own = route("r", kind="HTTPRoute" if beside is Protocol.HTTPS else "TLSRoute"), ["*.example"]
    wide = listener("wide", own, hostname="*.example", protocol=beside, port=443, certificates=certificate("w"))
    idle = listener(
        "idle", hostname="a.example", protocol=protocol, port=443, tls_mode=mode, certificates=certificate("a")
    )
    port = table_of(wide, withheld=(idle,)).ports[0]
    target = find_host(port.sni, b"a.example") if port.sni is not None else None
    assert target is not None
    assert (target.listener.name, target.action, target.entry) == ("default/gw/idle", action, None)
    host = find_host(port.http, b"a.example") if port.http is not None else None
    assert host is not None or action is not SniAction.HTTP
    assert host is None or (host.listener.name, host.layers) == ("default/gw/idle", ())


def test_hosts_of_a_listener_that_takes_no_kind_of_route_have_no_rules() -> None:
    wide = listener("wide", (route("r"), ["a.example", "*.example"]), hostname="*.example")
    http = table_of(wide, withheld=(listener("idle", hostname="a.example"),)).ports[0].http
    assert http is not None
    led = [find_host(http, name) for name in (b"a.example", b"b.example")]
    assert [(each.listener.name, len(each.layers)) for each in led if each is not None] == [
        ("default/gw/idle", 0),
        ("default/gw/wide", 1),
    ]


def test_a_port_that_no_listener_has_a_certificate_for_is_not_there() -> None:
    bare = listener("bare", protocol=Protocol.HTTPS, port=443, tls_mode=TlsMode.TERMINATE)
    assert [port.bind_port for port in table_of(listener("http", route("r")), withheld=(bare,)).ports] == [80]


def test_of_two_passthrough_routes_with_one_name_the_older_serves() -> None:
    young = (route("a-young", created=2.0, kind="TLSRoute"), ["a.example"])
    old = (route("old", created=1.0, kind="TLSRoute"), ["a.example"])
    sni = table_of(listener("tls", young, old, protocol=Protocol.TLS, port=8443)).ports[0].sni
    assert sni is not None
    entry = sni.exact[b"a.example"].entry
    assert entry is not None
    assert entry.label.route == "default/old"


def test_a_tcp_port_runs_its_first_route() -> None:
    tcp = listener(
        "tcp", route("old", kind="TCPRoute"), route("new", kind="TCPRoute"), protocol=Protocol.TCP, port=5432
    )
    bare = listener("bare", protocol=Protocol.TCP, port=5433)
    table = table_of(tcp, bare)
    first = table.ports[0].tcp
    assert first is not None
    assert (first.label.route, first.group is not None) == ("default/old", True)
    assert table.ports[1].tcp is None


def test_indexes_are_dense() -> None:
    routes = [route(f"r{index}", rule(match(b"/%d" % index))) for index in range(5)]
    table = table_of(listener("a", *routes), listener("b", *routes, hostname="b.example"))
    entries = {
        entry.index: entry
        for host in (b"a.example", b"b.example")
        for index in range(5)
        if (entry := found(table.ports[0], Ask(host=host, path=b"/%d" % index))) is not None
    }
    assert sorted(entries) == list(range(table.n_entries)) == list(range(10))
    assert sorted(entry.group.index for entry in entries.values() if entry.group) == list(range(table.n_groups))


def test_a_fingerprint_changes_with_behaviour_and_with_nothing_else() -> None:
    same = only_entry(rule(match(b"/a"), backends=[backend("a")]), path=b"/a").fingerprint
    assert only_entry(rule(match(b"/b"), backends=[backend("a")]), path=b"/b").fingerprint == same
    assert only_entry(rule(backends=[backend("b")])).fingerprint != same
    assert only_entry(rule(backends=[backend("a", 2)])).fingerprint != same
    assert len(same) == 16


SHOWN = """\
port HTTP *:80 as 80
  listener 0 default/gw/http
  host a.example of default/gw/http
    layer 0, depth 1
      = /x GET header x = y query q = 1 -> entry 0
      ^ /api/ -> entry 1
  host (any) of default/gw/http
entry 0: HTTPRoute default/r rule 0 on default/gw/http
  group 0, step 1
    1 x default/web:80
      cluster default/web:80 http: 127.0.0.1:8080
      request path /n
      request cut x-a
      request append X-A: b
entry 1: HTTPRoute default/r rule 1 on default/gw/http
  redirect 302 to https://(host), path as it came
"""


def shown_table_text() -> str:
    edits = FilterChain(request=(Set(b"X-A", b"b"), Path(b"/n")))
    first = rule(match(b"/x", EXACT, method=b"GET", headers=[(b"x", b"y")], query=[(b"q", b"1")]), filters=edits)
    second = rule(match(b"/api"), filters=FilterChain(redirect=Redirect(scheme="https")))
    return show(table_of(listener("http", (route("r", first, second), ["a.example"]))))


def test_a_table_prints_itself() -> None:
    assert shown_table_text() == SHOWN


def test_equal_plans_have_equal_digests_in_any_process() -> None:
    code = (
        "from tests.support.plans import *\n"
        "from gatewayproxy.model.headops import Set\n"
        "ops = FilterChain(request=tuple(Set(b'x-%d' % i, b'1') for i in range(9)))\n"
        "print(table_of(listener('http', route('r', rule(filters=ops)))).digest)\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
