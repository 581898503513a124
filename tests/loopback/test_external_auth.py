"""ExternalAuth over real sockets: who may pass, what the backend gets, what a client is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gatewayproxy.model.headops import HeadEdit
from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster, ExternalAuth
from gatewayproxy.routing.table import Auth, BackendChoice, HostIndex, RouteEntry
from tests.support.backend import Backend, backend, client
from tests.support.worker import Served, cluster, entry, serve, vhost

YES = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-User: ada\r\n\r\n"
NO = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\nWWW-Authenticate: Basic\r\n\r\nnope"
GET = b"GET /p?q=1 HTTP/1.1\r\nHost: a.test\r\n%b\r\n"


def auth_cluster(*ports: int) -> Cluster:
    return cluster(*ports, name="default/auth:80")


def guarded(number: int, *servers: ExternalAuth, **rest: Any) -> HostIndex:
    return HostIndex(default=vhost({b"": guarded_entry(number, *servers, **rest)}))


def guarded_entry(number: int, *servers: ExternalAuth, before: HeadEdit | None = None, **rest: Any) -> RouteEntry:
    target = cluster(number)
    auths = tuple(Auth(server=each, before=before) for each in servers)
    return entry(BackendChoice(name=target.name, cluster=target, **rest), auths=auths)


@asynccontextmanager
async def gateway(
    *answers: Any, limits: Limits | None = None, **options: Any
) -> AsyncIterator[tuple[Served, Backend, Backend]]:
    """Run an auth server with *answers*, a backend, and a gateway between."""
    async with backend(*answers, keep=YES) as auth, backend() as app:
        server = ExternalAuth(cluster=auth_cluster(auth.number), **options)
        with serve(guarded(app.number, server), limits=limits) as served:
            yield served, auth, app


async def test_a_request_that_the_server_allows_goes_on_with_what_it_says() -> None:
    async with gateway() as (served, auth, app), client(served.number) as peer:
        status, _, body = await peer.ask(GET % b"X-User: mallory\r\nX_user: mallory\r\nX-Other: 1\r\n")
        assert (status, body) == (200, b"ok")
        head = app.heads[0].lower()
        assert head.count(b"user:") == 1
        assert b"\r\nx-user: ada\r\n" in head
        assert b"\r\nx-other: 1\r\n" in head
        assert auth.heads == [b"GET /p?q=1 HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n"]


async def test_what_the_server_refuses_never_reaches_the_backend() -> None:
    async with gateway(NO) as (served, _, app), client(served.number) as peer:
        status, head, body = await peer.ask(GET % b"")
        assert (status, body) == (401, b"nope")
        assert b"WWW-Authenticate: Basic\r\n" in head
        assert app.heads == []
        assert served.reasons() == {"auth_denied": 1}
        status, _, _ = await peer.ask(GET % b"")  # the connection goes on
        assert status == 200
