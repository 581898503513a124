"""Bodies where an endpoint may send none: the next answer on its connection would begin with them."""

from __future__ import annotations

import pytest

from gatewayproxy.routing.table import HostIndex
from tests.support.backend import backend, client
from tests.support.worker import cluster, forward, serve, vhost

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "n_connections"),
    [
        pytest.param(b"", 1, id="nothing told"),
        pytest.param(b"Content-Length: 0\r\n", 1, id="no bytes told"),
        pytest.param(b"Content-Length: 9\r\n", 2, id="a length told"),
        pytest.param(b"Transfer-Encoding: chunked\r\n", 2, id="chunks told"),
    ],
)
async def test_no_request_follows_a_204_that_tells_of_a_body(fields: bytes, n_connections: int) -> None:
    async with backend(b"HTTP/1.1 204 No Content\r\n%b\r\n" % fields) as app:
        with serve(HostIndex(default=vhost({b"": forward(cluster(app.number))}))) as served:
            async with client(served.number) as c:
                status, head, _ = await c.ask(GET)
                assert status == 204
                assert b"content-length" not in head.lower()
                assert b"transfer-encoding" not in head.lower()
                assert (await c.ask(GET))[0] == 200
        assert app.n_connections == n_connections
