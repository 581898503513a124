"""A table crosses to another process in slices, and an old one goes in steps."""

from __future__ import annotations

import pickle

import pytest

from gatewayproxy.errors import LocalProtocolError
from gatewayproxy.model.headops import Prefix, Redirect, Set
from gatewayproxy.model.plan import FilterChain, MirrorTo, Refusal
from gatewayproxy.model.protocols import Protocol
from gatewayproxy.routing.handover import SLICE_BYTES, Assembler, dismantle, slices
from gatewayproxy.routing.show import show
from gatewayproxy.routing.table import RoutingTable
from tests.support.plans import (
    EXACT,
    REGEX,
    Ask,
    backend,
    cluster,
    found,
    listener,
    match,
    route,
    rule,
    table_of,
)


def assembled(table: RoutingTable) -> RoutingTable:
    assembler = Assembler()
    for chunk in slices(table):
        assert not assembler.complete
        assembler.feed(chunk)
    return assembler.table


def everything() -> RoutingTable:
    chain = FilterChain(request=(Set(b"X-A", b"b"), Prefix(b"/x")), mirrors=(MirrorTo(cluster=cluster("m")),))
    web = route(
        "web",
        rule(match(b"/p", headers=[(b"x", b"y")], query=[(b"q", b"1")]), filters=chain),
        rule(match(b"/e", EXACT), backends=[backend("x", refusal=Refusal(500, "backend_not_found")), backend()]),
        rule(match(b"/r.*", REGEX), filters=FilterChain(redirect=Redirect(scheme="https"))),
    )
    return table_of(
        listener("http", (web, ["a.example", "*.example", ""])),
        listener("https", web, protocol=Protocol.HTTPS, port=443, hostname="a.example"),
        listener("tls", (route("t", kind="TLSRoute"), ["t.example"]), protocol=Protocol.TLS, port=8443),
        listener("tcp", route("db", kind="TCPRoute"), protocol=Protocol.TCP, port=5432),
    )


def many(n: int = 600) -> RoutingTable:
    by_host = [(route(f"h{index}"), [f"h{index}.example"]) for index in range(n)]
    by_path = [(route(f"p{index}", rule(match(b"/p%d" % index))), ["paths.example"]) for index in range(n)]
    regexes = [(route(f"r{index}", rule(match(b"/r%d/.*" % index, REGEX))), [""]) for index in range(n)]
    return table_of(listener("http", *by_host, *by_path, *regexes))


@pytest.mark.parametrize("make", [everything, many, lambda: table_of()], ids=["every kind", "many", "empty"])
def test_what_arrives_is_what_was_sent(make: object) -> None:
    assert callable(make)
    table = make()
    copy = assembled(table)
    assert show(copy) == show(table)
    assert (copy.generation, copy.digest) == (table.generation, table.digest)
    assert (copy.n_entries, copy.n_groups) == (table.n_entries, table.n_groups)


def test_what_was_shared_is_shared() -> None:
    copy = assembled(everything())
    http = copy.ports[0].http
    assert http is not None
    assert http.default is not None
    layers = {id(layer) for host in (http.default, *http.exact.values()) for layer in host.layers}
    assert len(layers) == 1


def test_slices_are_small_whatever_the_table_holds() -> None:
    chunks = list(slices(many()))
    assert len(chunks) > 10
    assert max(map(len, chunks)) < 2 * SLICE_BYTES


def test_a_table_is_not_there_before_its_last_slice() -> None:
    assembler = Assembler()
    *most, last = slices(many())
    for chunk in most:
        assembler.feed(chunk)
    with pytest.raises(LocalProtocolError, match="feed all"):
        _ = assembler.table
    assembler.feed(last)
    assert assembler.complete


def test_no_class_but_ours_is_made() -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"no builtins\.eval"):
        Assembler().feed(pickle.dumps(eval, 5))


def test_dismantling_goes_in_steps_and_leaves_nothing() -> None:
    table = many()
    steps = sum(1 for _ in dismantle(table))
    assert steps >= 8
    assert found(table.ports[0], Ask(host=b"paths.example", path=b"/p1")) is None
    http = table.ports[0].http
    assert http is not None
    assert not http.exact
