"""What the access log says of answers that the gateway makes itself."""

from __future__ import annotations

import pytest

from gatewayproxy.model.headops import Respond
from gatewayproxy.model.plan import Refusal
from gatewayproxy.routing.table import BackendChoice, HostIndex
from tests.support.backend import client, until
from tests.support.h2client import h2_session
from tests.support.pairings import FRONTS
from tests.support.worker import entry, serve, vhost

INDEX = HostIndex(
    exact={
        b"a.test": vhost(
            {
                b"/refused": entry(BackendChoice(name="", refusal=Refusal(500, "no_backends"))),
                b"/moved": entry(respond=Respond(status=301, scheme=b"https", host=None, port=b"")),
            }
        )
    }
)
REFUSED, MISSED = b"500 Internal Server Error: no_backends\n", b"404 Not Found: no_rule\n"


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        pytest.param("GET", "/refused", 500, REFUSED, id="a refusal"),
        pytest.param("HEAD", "/refused", 500, b"", id="a refusal of HEAD"),
        pytest.param("GET", "/else", 404, MISSED, id="no rule"),
        pytest.param("GET", "/moved", 301, b"", id="a redirect"),
    ],
)
async def test_the_bytes_of_its_body_are_told(front: str, method: str, path: str, status: int, body: bytes) -> None:
    with serve(INDEX) as served:
        async with FRONTS[front](served.number) as ask:  # type: ignore[operator]
            await ask.open(method, path, (), length=0)
            assert (await ask.head())[0] == status
            assert await ask.rest() == (body, {})
            await until(lambda: served.records)
            (record,) = served.records
            assert (record.status, record.bytes_out) == (status, len(body))


async def test_the_bytes_of_a_refused_head_are_told() -> None:
    with serve(INDEX) as served:
        async with client(served.number) as raw:
            status, _, body = await raw.ask(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
            assert (status, body) == (400, b"400 Bad Request: bad_host\n")
        async with h2_session(served.number) as session:
            answer = await session.ask("/", method="TRACE")
            assert (answer.status, bytes(answer.body)) == (405, b"")
        await until(lambda: len(served.records) == 2)
        assert [record.bytes_out for record in served.records] == [26, 0]
