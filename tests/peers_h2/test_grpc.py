"""gRPC through the real process: clients and servers of grpcio and grpclib, every kind of call, by h2c and inside TLS.

The ids are the table: client, the way to the gateway, server, what the call is.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.support.certs import certificate
from tests.support.grpc_peers import CLIENTS, ENDED_IN_TIME, MESSAGE, SERVICE, Client, serving
from tests.support.manifests import gateway, listener, service, tls_secret, write
from tests.support.process import Gateway, loopback_address, running

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("grpc")]

API = "gateway.networking.k8s.io"
NAME = "grpc.example.com"
SERVERS = ("grpcio", "grpclib")
PORTS = {("h2c", "grpcio"): 8080, ("h2c", "grpclib"): 8081, ("tls", "grpcio"): 8443, ("tls", "grpclib"): 8444}
BIG = bytes(range(256)) * (4 << 12)  # 4 MiB

numbers = itertools.count()


@dataclass
class Served:
    host: str
    gateway: Gateway


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    host, folder = loopback_address(), tmp_path_factory.mktemp("grpc")
    tls = {"mode": "Terminate", "certificateRefs": [{"name": "cert"}]}
    with ExitStack() as stack:
        listeners, objects = [], [tls_secret("cert", certificate(NAME))]
        for name in SERVERS:
            port = stack.enter_context(serving(name))
            objects += [service(name, f"127.0.0.1:{port}"), grpc_route(name)]
        for (way, name), port in PORTS.items():
            rest = {"tls": tls} if way == "tls" else {}
            listeners.append(listener(f"{way}-{name}", port, "HTTPS" if way == "tls" else "HTTP", **rest))
        write(folder, gateway("gw", host, *listeners), *objects)
        arguments = ["--access-log", "-"]
        yield Served(host, stack.enter_context(running(folder, workers=2, arguments=arguments)))


def grpc_route(server: str) -> dict[str, object]:
    """A GRPCRoute that leads every call on the listeners of *server* to it."""
    parents = [{"name": "gw", "sectionName": f"{way}-{server}"} for way in ("h2c", "tls")]
    rule = {"matches": [{"method": {"service": SERVICE}}], "backendRefs": [{"name": server, "port": 80}]}
    spec = {"parentRefs": parents, "rules": [rule]}
    return {"apiVersion": f"{API}/v1", "kind": "GRPCRoute", "metadata": {"name": server}, "spec": spec}


@pytest_asyncio.fixture(
    loop_scope="module", params=[(c, w, s) for c in CLIENTS for w in ("h2c", "tls") for s in SERVERS], ids="-".join
)
async def client(request: pytest.FixtureRequest, served: Served) -> AsyncIterator[Client]:
    name, way, server = request.param
    async with CLIENTS[name]((served.host, PORTS[way, server]), NAME if way == "tls" else "") as opened:
        yield opened


async def unary(client: Client) -> None:
    outcome = await client.call("Unary", b"hello")
    assert (outcome.status, outcome.messages) == (0, [b"hello"])


async def empty(client: Client) -> None:
    outcome = await client.call("Unary", b"")
    assert (outcome.status, outcome.messages) == (0, [b""])


async def client_streaming(client: Client) -> None:
    outcome = await client.call("Collect", *(b"%d" % n for n in range(100)))
    assert (outcome.status, outcome.messages) == (0, [b",".join(b"%d" % n for n in range(100))])


async def server_streaming(client: Client) -> None:
    outcome = await client.call("Count", b"100")
    assert (outcome.status, outcome.messages) == (0, [b"%d" % (n + 1) for n in range(100)])


async def bidi_streaming(client: Client) -> None:
    async with client.talk("Chat") as talk:
        for n in range(10):  # each answer comes before the next question
            await talk.send(b"%d" % n)
            assert await talk.receive() == b"%d" % n


async def four_bidi_streams_at_once(client: Client) -> None:
    async def chat(name: int) -> None:
        async with client.talk("Chat") as talk:
            for n in range(20):
                message = b"%d %d " % (name, n) + b"x" * 20_000
                await talk.send(message)
                assert await talk.receive() == message

    async with asyncio.TaskGroup() as group:
        for name in range(4):
            group.create_task(chat(name))


async def four_megabytes(client: Client) -> None:
    outcome = await client.call("Unary", BIG)
    assert (outcome.status, outcome.message) == (0, "")
    assert outcome.messages == [BIG]


async def metadata(client: Client) -> None:
    value = bytes(range(256))
    outcome = await client.call("Unary", b"", metadata=[("x-ask", "a, b"), ("x-ask-bin", value)])
    assert outcome.status == 0
    assert (outcome.initial["x-initial"], outcome.initial["x-initial-bin"]) == ("a, b", value)
    assert (outcome.trailing["x-trailing"], outcome.trailing["x-trailing-bin"]) == ("a, b", value)


async def an_error_after_a_message(client: Client) -> None:
    outcome = await client.call("Fail", b"first")
    assert (outcome.status, outcome.message, outcome.messages) == (10, MESSAGE, [b"first"])
    assert (outcome.trailing["x-why"], outcome.trailing["x-why-bin"]) == ("told", b"\0\xff")


async def trailers_only(client: Client) -> None:
    outcome = await client.call("Refuse", b"")
    assert (outcome.status, outcome.message, outcome.messages) == (9, MESSAGE, [])


async def a_service_that_no_route_has(client: Client) -> None:
    outcome = await client.call("/peers.Other/Any", b"")
    assert (outcome.status, outcome.messages) == (12, [])


async def a_deadline(client: Client) -> None:
    name = b"deadline %d" % next(numbers)
    outcome = await client.call("Hang", name, timeout=3.0)
    assert outcome.status in ENDED_IN_TIME
    (left,) = outcome.messages
    assert 0 < float(left) < 3.1
    assert (await client.call("Gone", name)).messages == [b"yes"]


async def a_cancellation(client: Client) -> None:
    name = b"cancel %d" % next(numbers)
    async with client.talk("Hang") as talk:
        await talk.send(name)
        assert await talk.receive() == b""
        await talk.cancel()
    assert (await client.call("Gone", name)).messages == [b"yes"]


CALLS: list[Callable[[Client], Awaitable[None]]] = [
    unary, empty, client_streaming, server_streaming, bidi_streaming, four_bidi_streams_at_once, four_megabytes,
    metadata, an_error_after_a_message, trailers_only, a_service_that_no_route_has, a_deadline, a_cancellation,
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
async def test_a_call_is_as_if_nobody_were_between(client: Client, call: Callable[[Client], Awaitable[None]]) -> None:
    async with asyncio.timeout(60):
        await call(client)
