"""Why an exchange is answered by the gateway, in the detail of its record."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gatewayproxy.dataplane import misses as misses_module
from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.misses import MAX_PATH_BYTES
from gatewayproxy.dataplane.protocols import trail
from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.dataplane.stats import AccessRecord
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.model.plan import HeaderTest
from gatewayproxy.routing.table import Candidate, HostIndex, ListenerLabel, PathIndex, VirtualHost
from tests.support.memory import MemoryTransport
from tests.support.worker import LABEL, entry, http_port, vhost

OTHER = ListenerLabel(1, "default/gw/other")
NEAR = entry(route="default/near")
TESTED = Candidate(entry=NEAR, headers=(HeaderTest(b"x-beta", b"1"),))
INDEX = HostIndex(
    exact={
        b"shop.test": VirtualHost(
            listener=LABEL, layers=(PathIndex(exact={b"/cart": (TESTED,)}, prefix={b"/api": (TESTED,)}, depth=1),)
        ),
        b"odd.test": vhost({b"/a": NEAR, b"/b": entry()}),
        b"shops.test": VirtualHost(listener=LABEL),
    }
)

Ask = Callable[..., AccessRecord]


@pytest.fixture
def context() -> Iterator[Context]:
    made = Context(registry=Registry())
    yield made
    made.registry.close()


@pytest.fixture
async def ask(context: Context) -> Ask:
    records: list[AccessRecord] = []
    context.access = records.append
    site = Site(http_port(1, INDEX), context, scheme=b"http")

    def send(path: bytes, *, host: bytes = b"shop.test", fields: bytes = b"", listener: ListenerLabel | None = None):
        connection = Http1Connection(site, listener)
        connection.connection_made(MemoryTransport())
        connection.data_received(b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (path, host, fields))
        connection.connection_lost(None)
        return records.pop()

    return send


NAME = f"{NEAR.label.route}#{NEAR.label.rule}"


@pytest.mark.parametrize(
    ("path", "host", "listener", "status", "reason", "detail"),
    [
        pytest.param(
            b"/cart", b"shop.test", None, 404, "no_rule",
            f"host ok, 1 rule, closest {NAME} failed header x-beta (absent)", id="no rule",
        ),
        pytest.param(
            b"/", b"shop.tost", None, 404, "no_route", "no listener has host shop.tost; closest is shop.test",
            id="no host",
        ),
        pytest.param(
            b"/", b"shops.test:80", None, 404, "no_route",
            "no route on listener default/gw/http has host shops.test; closest is shop.test", id="no route",
        ),
        pytest.param(
            b"/a", b"odd.test", OTHER, 421, "misdirected",
            "the connection asked for a name of listener default/gw/other, the request for a host of default/gw/http",
            id="another listener's host",
        ),
        pytest.param(
            b"/%62", b"odd.test", None, 400, "ambiguous_path", "also reads as /b, which leads elsewhere",
            id="two readings",
        ),
        pytest.param(
            b"https://odd.test/a", b"odd.test", None, 421, "misdirected",
            "the target's scheme is not that of the connection", id="another scheme",
        ),
    ],
)  # fmt: skip
async def test_what_nothing_takes_has_its_cause(
    ask: Ask, path: bytes, host: bytes, listener: ListenerLabel | None, status: int, reason: str, detail: str
) -> None:
    record = ask(path, host=host, listener=listener)
    assert (record.status, record.reason, record.detail) == (status, reason, detail)


async def test_what_depends_on_fields_is_told_of_each_request(ask: Ask) -> None:
    assert ask(b"/cart").detail.endswith("(absent)")
    assert ask(b"/cart", fields=b"X-Beta: 2\r\n").detail.endswith("(another value)")
    assert ask(b"/cart").detail.endswith("(absent)")


async def test_what_does_not_is_looked_for_once(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ask(b"/carts").detail
    monkeypatch.setattr(trail, "_cause", None)  # to call it would fail
    assert ask(b"/carts", fields=b"X-Beta: 2\r\n").detail == first


async def test_a_path_that_is_cut_stands_for_others_only_in_the_list(ask: Ask, context: Context) -> None:
    long = b"/cart" + b"x" * MAX_PATH_BYTES
    assert ask(long).detail == ask(long + b"/y").detail
    assert [(miss.n, len(miss.asked.path)) for miss in context.misses] == [(2, MAX_PATH_BYTES)]


async def test_beyond_the_bounds_of_a_second_nothing_is_looked_for(
    ask: Ask, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misses_module, "COUNTED_PER_S", 3)
    monkeypatch.setattr(misses_module, "EXPLAINED_PER_S", 2)
    context.misses.may_count(1e12)  # one second that does not end
    told = [ask(b"/%d" % n).detail for n in range(4)]
    assert [each == trail.UNEXAMINED for each in told] == [False, False, True, True]
    assert sum(miss.n for miss in context.misses) == 2
    assert context.stats.reasons == {(LABEL.name, "no_rule"): 4}


async def test_what_rules_take_meets_nothing_of_it(ask: Ask, context: Context) -> None:
    ask(b"/a", host=b"odd.test")
    assert list(context.misses) == []
