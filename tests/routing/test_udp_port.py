"""A UDP port in a table: printed, handed over, and bound beside TCP."""

from __future__ import annotations

from gatewayproxy.model.names import BindKey
from gatewayproxy.routing.handover import Assembler, slices
from gatewayproxy.routing.show import digest, show
from gatewayproxy.routing.table import PortKind, RoutingTable
from tests.support.l4 import choice, entry
from tests.support.udp import udp_port


def _table() -> RoutingTable:
    ports = (udp_port(entry(choice("dns", ("10.0.0.1", 53)), kind="UDPRoute")), udp_port(None, "127.0.0.2"))
    return RoutingTable(generation=1, digest=digest(ports), ports=ports, n_entries=1, n_groups=1)


def test_it_is_printed_with_its_transport() -> None:
    text = show(_table())
    assert "port UDP 127.0.0.1:0/udp as 0" in text
    assert "udp -> entry 0" in text
    assert "entry 0: UDPRoute default/route-0 rule 0" in text


def test_it_arrives_as_it_was_sent() -> None:
    table = _table()
    assembler = Assembler()
    for part in slices(table):
        assembler.feed(part)
    arrived = assembler.table
    assert (show(arrived), digest(arrived.ports)) == (show(table), table.digest)
    assert [port.kind for port in arrived.ports] == [PortKind.UDP] * 2
    assert arrived.ports[0].bound == BindKey("127.0.0.1", 0, udp=True)
    assert BindKey("127.0.0.1", 0) != arrived.ports[0].bound
