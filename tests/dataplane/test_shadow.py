"""A shadow table in one worker: what it counts and keeps, and that nothing it does reaches a request."""

from __future__ import annotations

import pytest

from gatewayproxy.dataplane.context import Context
from gatewayproxy.dataplane.protocols.http1 import Http1Connection
from gatewayproxy.dataplane.protocols.site import Site
from gatewayproxy.dataplane.shadow import MAX_PAIRS, MAX_SAMPLES, Came, Shadow
from gatewayproxy.dataplane.upstream.connection import UpstreamConnection
from gatewayproxy.dataplane.upstream.registry import Registry
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.names import BindKey
from gatewayproxy.routing.table import (
    BackendChoice,
    HostIndex,
    ListenerLabel,
    Port,
    PortKind,
    RouteEntry,
    SniIndex,
    SniTarget,
)
from tests.support.memory import MemoryTransport
from tests.support.worker import cluster, entry, forward, http_port, table, vhost

HOST = b"a.example"
CAME = Came(BindKey("127.0.0.1", 80, False), b"http", None, "default/gw/web")


def routed(number: int = 0) -> RouteEntry:
    return entry(BackendChoice(name="default/app:80", cluster=cluster(1)), route=f"default/r{number}")


def port(*prefixes: bytes) -> Port:
    index = HostIndex(exact={HOST: vhost({prefix: routed() for prefix in prefixes})}) if prefixes else HostIndex()
    return http_port(80, index)


def request(path: bytes = b"/a") -> Request:
    return Request(authority=HOST).with_target(path)


def came(to: Port) -> Came:
    return CAME._replace(bound=to.bound)


def test_a_candidate_without_the_port_would_refuse_the_connection() -> None:
    elsewhere = http_port(81, HostIndex())
    shadow = Shadow(table(elsewhere))
    shadow.compare(came(port(b"/a")), request(), HOST, forward(cluster(1)), "")
    (pair,) = shadow.told()["pairs"]
    assert pair[2] == "no_port"


def test_a_port_that_would_speak_another_protocol_is_told() -> None:
    here = port(b"/a")
    shadow = Shadow(table(here))
    shadow.compare(came(here)._replace(scheme=b"https"), request(), HOST, None, "no_rule")
    (pair,) = shadow.told()["pairs"]
    assert pair[1:3] == ["no_rule", "wrong_protocol"]


def test_pairs_and_samples_are_bounded_and_nothing_is_lost_from_the_sums() -> None:
    here = port()
    shadow = Shadow(table(here))
    for number in range(MAX_PAIRS + 20):
        took = routed(number)
        for _ in range(MAX_SAMPLES + 2):
            shadow.compare(came(here), request(b"/" + b"x" * 9_999), HOST, took, "")
    told = shadow.told()
    assert len(told["pairs"]) == MAX_PAIRS + 1
    assert sum(pair[3] for pair in told["pairs"]) == told["different"] == (MAX_PAIRS + 20) * (MAX_SAMPLES + 2)
    assert told["pairs"][-1][:4] == ["(other)", "(other)", "(other)", 20 * (MAX_SAMPLES + 2)]
    assert max(len(pair[4]) for pair in told["pairs"]) == MAX_SAMPLES
    assert max(len(sample[2]) for pair in told["pairs"] for sample in pair[4]) == 512


def test_an_error_of_the_candidate_is_counted_and_goes_no_further() -> None:
    here = port(b"/a")

    class Odd(Request):
        """A request that cannot be looked at."""

        @property
        def odd(self) -> bool:
            raise RuntimeError

    shadow = Shadow(table(here))
    shadow.compare(came(here), Odd(authority=HOST), HOST, None, "no_rule")
    assert (shadow.told()["failed"], shadow.told()["different"]) == (1, 0)


@pytest.mark.parametrize(
    ("name", "would"),
    [("default/gw/one", "no_rule"), ("default/gw/gone", "no_rule"), ("default/gw/two", "misdirected")],
)
def test_a_tls_connection_is_that_of_the_listener_of_its_name_or_of_the_host(name: str, would: str) -> None:
    one, two = ListenerLabel(0, "default/gw/one"), ListenerLabel(1, "default/gw/two")
    here = Port(
        kind=PortKind.HTTPS, address="", bind_port=443, port=443, listeners=(one, two),
        http=HostIndex(exact={HOST: vhost({b"/x": forward(cluster(1))}, one)}),
        sni=SniIndex(exact={HOST: SniTarget(listener=one)}, default=SniTarget(listener=two)),
    )  # fmt: skip
    shadow = Shadow(table(here))
    asked = Came(here.bound, b"https", ListenerLabel(5, name), name)
    shadow.compare(asked, request(), HOST, forward(cluster(1)), "")
    (pair,) = shadow.told()["pairs"]
    assert pair[2] == would


async def test_a_request_is_sent_and_answered_as_without_a_shadow() -> None:
    context = Context(registry=Registry())
    target = cluster(1)
    site = Site(http_port(1, HostIndex(exact={HOST: vhost({b"": forward(target)})})), context, scheme=b"http")
    context.shadow = Shadow(table(http_port(2, HostIndex())))
    pool = context.registry.cluster(target).pools[0]
    upstream, backend = UpstreamConnection(pool), MemoryTransport()
    upstream.connection_made(backend)
    pool.connections.add(upstream)
    pool.put(upstream)
    downstream, client = Http1Connection(site), MemoryTransport()
    downstream.connection_made(client)
    for _ in range(2):
        downstream.data_received(b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n")
        assert backend.take().startswith(b"GET /x HTTP/1.1\r\n")
        upstream.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert client.take().endswith(b"\r\n\r\nok")
    told = context.shadow.told()
    assert (told["requests"], told["different"]) == (2, 2)
    downstream.connection_lost(None)
    context.registry.close()
