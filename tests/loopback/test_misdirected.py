"""421 for requests that a connection's listener is not for: every row of the Gateway API's rule, over HTTP/2 in TLS.

GatewayHTTPSListenerDetectMisdirectedRequests: the server name chose a listener. Where another one on the port fits the
request's host better, or fits it alone: 421. Where none fits: 404. Else the listener's routes decide.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from gatewayproxy.model.protocols import Protocol
from gatewayproxy.routing.table import Port
from tests.support.backend import Backend, backend
from tests.support.certs import certificate, client_context
from tests.support.h2client import h2_session
from tests.support.plans import backend as backend_ref
from tests.support.plans import cluster, listener, route, rule, table_of
from tests.support.worker import Served, serve_port

EXACT, WILDCARD, SECOND, ANY = "a.example.org", "*.example.org", "second-example.org", ""
"""The hostnames of the port's listeners; ANY has none."""


def port(number: int, upstream: int, *hostnames: str) -> Port:
    """Return a port with an HTTPS listener for each of *hostnames*, as the compiler makes it."""
    to = replace(backend_ref("default/app:80"), cluster=cluster("default/app:80", upstream))
    cert = certificate("a.example.org", "*.example.org", "second-example.org", "unknown.test")
    listeners = [
        listener(
            f"l{i}", route(f"r{i}", rule(backends=(to,))),
            hostname=hostname, protocol=Protocol.HTTPS, port=443, certificates=(cert,),
        )
        for i, hostname in enumerate(hostnames)
    ]  # fmt: skip
    (made,) = table_of(*listeners).ports
    return replace(made, address="127.0.0.1", bind_port=number)


@contextmanager
def gateway(upstream: int, *hostnames: str) -> Iterator[Served]:
    with serve_port(lambda number: port(number, upstream, *hostnames)) as served:
        yield served


@pytest.fixture
async def app() -> AsyncIterator[Backend]:
    async with backend() as upstream:
        yield upstream


ALL = (EXACT, WILDCARD, SECOND, ANY)
NAMED = (EXACT, WILDCARD, SECOND)


@pytest.mark.parametrize(
    ("hostnames", "name", "host", "status"),
    [
        pytest.param(ALL, "a.example.org", "a.example.org", 200, id="the exact listener's own host"),
        pytest.param(ALL, "a.example.org", "A.Example.ORG", 200, id="in other letters"),
        pytest.param(ALL, "a.example.org", "a.example.org:8443", 200, id="with a port"),
        pytest.param(ALL, "b.example.org", "b.example.org", 200, id="the wildcard listener's own host"),
        pytest.param(ALL, "b.example.org", "c.example.org", 200, id="another host of the same wildcard"),
        pytest.param(ALL, "b.example.org", "x.y.example.org", 200, id="a deeper one"),
        pytest.param(ALL, "second-example.org", "second-example.org", 200, id="the second listener's own host"),
        pytest.param(ALL, "unknown.test", "other.test", 200, id="unknown name and host, a listener for any"),
        pytest.param(ALL, None, "other.test", 200, id="no name, a host for any listener"),
        pytest.param(ALL, "b.example.org", "a.example.org", 421, id="an exact listener fits better than the wildcard"),
        pytest.param(ALL, None, "a.example.org", 421, id="an exact listener fits better than that for any"),
        pytest.param(ALL, "unknown.test", "b.example.org", 421, id="a wildcard fits better than that for any"),
        pytest.param(ALL, "a.example.org", "b.example.org", 421, id="a wildcard alone fits"),
        pytest.param(ALL, "second-example.org", "a.example.org", 421, id="another exact listener alone fits"),
        pytest.param(ALL, "second-example.org", "unknown-example.org", 421, id="the listener for any alone fits"),
        pytest.param(ALL, "b.example.org", "example.org", 421, id="the bare domain is not the wildcard's"),
        pytest.param(NAMED, "a.example.org", "unknown.test", 404, id="nobody's host at an exact listener"),
        pytest.param(NAMED, "b.example.org", "unknown.test", 404, id="nobody's host at a wildcard listener"),
        pytest.param(NAMED, "b.example.org", "example.org", 404, id="the bare domain, nobody's"),
        pytest.param(NAMED, "b.example.org", "a.example.org", 421, id="the exact one fits better, no listener for any"),
        pytest.param((ANY,), "a.example.org", "b.example.org", 200, id="one listener for all"),
        pytest.param((ANY,), None, "b.example.org", 200, id="one listener for all, no name"),
        pytest.param((WILDCARD, ANY), "a.example.org", "unknown.test", 421, id="two listeners, the other fits alone"),
    ],
)
async def test_the_listener_of_the_server_name_is_held_against_the_host(
    app: Backend, hostnames: tuple[str, ...], name: str | None, host: str, status: int
) -> None:
    with gateway(app.number, *hostnames) as served:
        tls = client_context(alpn=("h2",))
        tls.check_hostname = False
        async with h2_session(served.number, tls=tls, name=name or "") as session:
            for _ in range(2):  # the second request of a connection finds what it remembers
                assert (await session.ask("/", scheme="https", host=host)).status == status
            own = name or "other.test"
            assert (await session.ask("/", scheme="https", host=own)).status == 200  # the connection goes on
    assert len(app.heads) == (3 if status == 200 else 1)


async def test_many_hosts_of_one_connection_are_judged_each_by_itself(app: Backend) -> None:
    with gateway(app.number, *ALL) as served:
        async with h2_session(served.number, tls=client_context(alpn=("h2",)), name="b.example.org") as session:
            hosts = {"c.example.org": 200, "a.example.org": 421, "d.example.org": 200, "second-example.org": 421}
            ids = [(session.request("/", scheme="https", host=host), status) for host, status in hosts.items()]
            for stream_id, status in ids:
                assert (await session.answer(stream_id)).status == status
    refused = served.context.stats.reasons.items()
    assert {reason: n for (_, reason), n in refused} == {"misdirected": 1}
    assert sorted(listener for (listener, _), _ in refused) == [
        "default/gw/l0",
        "default/gw/l2",
    ]  # whose hosts they are


async def test_a_route_of_a_wider_listener_does_not_take_the_host_of_a_narrower_one(app: Backend) -> None:
    to = replace(backend_ref("default/app:80"), cluster=cluster("default/app:80", app.number))
    cert = certificate("a.example.org")
    rest = {"protocol": Protocol.HTTPS, "port": 443, "certificates": (cert,)}
    wide = (route("r", rule(backends=(to,))), ["a.example.org", "b.example.org"])
    table = table_of(listener("narrow", hostname="a.example.org", **rest), listener("wide", wide, **rest))  # type: ignore[arg-type]

    def made(number: int) -> Port:
        return replace(table.ports[0], address="127.0.0.1", bind_port=number)

    with serve_port(made) as served:
        for name, host, status in (
            ("a.example.org", "a.example.org", 404),
            ("b.example.org", "a.example.org", 421),
            ("b.example.org", "b.example.org", 200),
            ("a.example.org", "b.example.org", 421),
        ):
            tls = client_context(alpn=("h2",))
            tls.check_hostname = False
            async with h2_session(served.number, tls=tls, name=name) as session:
                assert (await session.ask("/", scheme="https", host=host)).status == status
