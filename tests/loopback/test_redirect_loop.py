"""A redirect behind a proxy that ends TLS: it must not send a client to where the client is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gatewayproxy.model.headops import Respond
from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.table import BackendChoice, HostIndex
from tests.support.backend import client
from tests.support.h2client import h2_session
from tests.support.worker import Served, entry, serve, vhost

UP = Respond(status=301, scheme=b"https", host=None, port=b"")
UP_8443 = Respond(status=301, scheme=b"https", host=None, port=b":8443")
SHOP = Respond(status=302, scheme=b"https", host=b"shop.test", port=b"", path=b"/new")
HTTPS = "X-Forwarded-Proto: https"


@contextmanager
def redirecting(to: Respond, trusted_hops: int = 1) -> Iterator[Served]:
    index = HostIndex(default=vhost({b"": entry(BackendChoice(name="to", respond=to))}))
    with serve(index, limits=Limits(trusted_hops=trusted_hops)) as gateway:
        yield gateway


async def asked(gateway: Served, target: str, *lines: str) -> tuple[int, bytes]:
    text = "\r\n".join((f"GET {target} HTTP/1.1", *lines, "", ""))
    async with client(gateway.number) as c:
        status, head, _ = await c.ask(text.encode())
        return status, head


@pytest.mark.parametrize(
    ("to", "target", "lines"),
    [
        pytest.param(UP, "/a?b", ("Host: a.test", HTTPS), id="the same URL"),
        pytest.param(UP, "/", ("Host: A.Test", "x-forwarded-proto: HTTPS"), id="whatever the case"),
        pytest.param(UP, "/", ("Host: a.test:443", HTTPS), id="its port in Host"),
        pytest.param(UP, "/", ("Host: a.test:8080", HTTPS, "X-Forwarded-Port: 443"), id="the proxy's own port"),
        pytest.param(UP_8443, "/", ("Host: [::1]:8443", HTTPS), id="an address, another port"),
        pytest.param(SHOP, "/new", ("Host: in.test", HTTPS, "X-Forwarded-Host: shop.test"), id="the proxy's own host"),
    ],
)
async def test_a_redirect_to_the_url_that_was_asked_for_is_refused(to: Respond, target: str, lines: tuple[str]) -> None:
    with redirecting(to) as gateway:
        status, head = await asked(gateway, target, *lines)
        assert (status, b"location:" in head) == (508, False)
        assert gateway.reasons() == {"redirect_loop": 1}


@pytest.mark.parametrize(
    ("to", "target", "lines", "location"),
    [
        pytest.param(UP, "/a", ("Host: a.test",), b"https://a.test/a", id="no word of a proxy"),
        pytest.param(UP, "/a", ("Host: a.test", "X-Forwarded-Proto: http"), b"https://a.test/a", id="clear text"),
        pytest.param(UP, "/a", ("Host: a.test:8443", HTTPS), b"https://a.test/a", id="another port"),
        pytest.param(UP, "/a", ("Host: a.test", HTTPS, "X-Forwarded-Port: 8443"), b"https://a.test/a", id="its port"),
        pytest.param(SHOP, "/old", ("Host: shop.test", HTTPS), b"https://shop.test/new", id="another path"),
        pytest.param(SHOP, "/new", ("Host: a.test", HTTPS), b"https://shop.test/new", id="another host"),
        pytest.param(UP, "/a", ("Host: a.test", f"{HTTPS}, http"), b"https://a.test/a", id="two proxies, two words"),
    ],
)
async def test_any_other_redirect_goes_out(to: Respond, target: str, lines: tuple[str], location: bytes) -> None:
    with redirecting(to) as gateway:
        _, head = await asked(gateway, target, *lines)
        assert b"location: %b\r\n" % location in head
        assert gateway.reasons() == {"redirect": 1}


async def test_a_proxy_that_is_not_trusted_says_nothing() -> None:
    with redirecting(UP, trusted_hops=0) as gateway:
        assert (await asked(gateway, "/", "Host: a.test", HTTPS))[0] == 301


async def test_streams_of_http2_are_guarded_as_well() -> None:
    with redirecting(UP) as gateway:
        async with h2_session(gateway.number) as session:
            assert (await session.ask("/", fields=[("x-forwarded-proto", "https")])).status == 508
            assert (await session.ask("/")).status == 301
