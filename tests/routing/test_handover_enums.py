"""Enums travel by value: how Python itself pickles them changed within 3.11."""

import pytest

from gatewayproxy.routing.handover import Assembler, slices
from gatewayproxy.routing.table import Port, PortKind, RoutingTable


def test_an_enum_is_written_by_value_whatever_python_would_write(monkeypatch: pytest.MonkeyPatch) -> None:
    # What Python 3.11.0 to 3.11.3 do; a reader that admits no builtins refuses it, rightly.
    monkeypatch.setattr(PortKind, "__reduce_ex__", lambda self, _: (getattr, (PortKind, self.name)))
    port = Port(kind=PortKind.TCP, address="", bind_port=1, port=1, listeners=())
    assembler = Assembler()
    for chunk in slices(RoutingTable(generation=1, digest="", ports=(port,), n_entries=0, n_groups=0)):
        assembler.feed(chunk)
    assert assembler.table.ports[0].kind is PortKind.TCP
