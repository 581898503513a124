"""The server name of a ClientHello, however it is cut, and nothing but a name or a refusal from hostile bytes."""

from __future__ import annotations

import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.client_hello import MESSAGE_BYTES, WIRE_BYTES, server_name
from tests.support.hellos import GREASE, extension, hello, record, records, sni


def openssl_hello(name: str | None) -> bytes:
    """Return what OpenSSL sends first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


OPENSSL = openssl_hello("www.Example.com")
PLAIN = hello(sni(b"a.example"), extension(16, b"\0\3\2h2"))

NAMED = [
    pytest.param(OPENSSL, b"www.example.com", id="OpenSSL, upper case folded"),
    pytest.param(openssl_hello(None), None, id="OpenSSL without SNI"),
    pytest.param(record(PLAIN), b"a.example", id="ours"),
    pytest.param(record(hello(extension(GREASE, b""), sni(b"b.c"), extension(0x1A1A, b"\0"))), b"b.c", id="GREASE"),
    pytest.param(record(hello(extension(0xFE0D, bytes(300)), sni(b"outer.ech"))), b"outer.ech", id="ECH outer name"),
    pytest.param(records(hello(extension(21, bytes(60_000)), sni(b"big.x")), 16_384), b"big.x", id="60 kB"),
    pytest.param(record(hello()), None, id="no extensions at all"),
    pytest.param(record(hello(extension(16, b"\0\3\2h2"))), None, id="extensions, none a name"),
    pytest.param(record(PLAIN) + record(b"\1", kind=20), b"a.example", id="bytes after it"),
    pytest.param(record(PLAIN + b"\x10\0\0\0"), b"a.example", id="another message in its record"),
    pytest.param(record(hello(sni(b"x_y-1.example"))), b"x_y-1.example", id="underscore"),
    pytest.param(record(hello(sni(b"a" * 63 + b".x"))), b"a" * 63 + b".x", id="longest label"),
    pytest.param(record(PLAIN, version=0x0300), b"a.example", id="old record version"),
]


@pytest.mark.parametrize(("data", "name"), NAMED)
def test_the_name_is_read_and_folded(data: bytes, name: bytes | None) -> None:
    assert server_name(data) == name
    assert server_name(memoryview(bytearray(data))) == name


@pytest.mark.parametrize(("data", "name"), NAMED)
def test_every_truncation_says_how_many_bytes_are_missing_at_least(data: bytes, name: bytes | None) -> None:
    whole = next(n for n in range(len(data) + 1) if not isinstance(server_name(data[:n]), int))
    for n in {*range(min(whole, 700)), *range(max(0, whole - 300), whole)}:
        need = server_name(data[:n])
        assert isinstance(need, int)
        assert n < need <= whole


@pytest.mark.parametrize("size", [*range(1, 40), 100, 255, 256, 511])
def test_a_hello_may_be_cut_into_records_of_any_size(size: int) -> None:
    data = records(OPENSSL[5:], size)
    assert server_name(data) == b"www.example.com"
    for n in range(0, len(data), 7):
        need = server_name(data[:n])
        assert isinstance(need, int)
        assert n < need <= len(data)


@pytest.mark.parametrize("size", [1, 7, 1_000, 16_384])
def test_waiting_for_what_is_missing_takes_few_looks(size: int) -> None:
    data = records(hello(sni(b"a.example"), extension(21, bytes(8_000))), size)
    n = looks = 0
    while isinstance(need := server_name(data[:n]), int):
        n = need
        looks += 1
    assert looks < 80


TWO_NAMES = extension(0, struct.pack(">HBH3sBH3s", 12, 0, 3, b"a.x", 0, 3, b"b.x"))
REFUSED = [
    pytest.param(b"GET / HTTP/1.1\r\n", "not_tls", id="HTTP"),
    pytest.param(b"G", "not_tls", id="one byte is enough"),
    pytest.param(b"\x80\x2e\1\3\1", "not_tls", id="SSLv2"),
    pytest.param(b"\x16\x02\0\0\1", "not_tls", id="record version"),
    pytest.param(record(b"\2" + PLAIN[1:]), "not_tls", id="a ServerHello"),
    pytest.param(b"\x15\3\1\0\2\2\x28", "not_tls", id="an alert"),
    pytest.param(b"\x16\3\1\0\0" + bytes(10), "bad_hello", id="empty record"),
    pytest.param(b"\x16\3\1\xff\xff\1", "bad_hello", id="record too long"),
    pytest.param(record(PLAIN[:20]) + b"\x17\3\3\0\1\0", "bad_hello", id="another record amid it"),
    pytest.param(record(b"\1\xff\xff\xff"), "bad_hello", id="16 MiB"),
    pytest.param(records(hello(extension(21, bytes(50_000))), 1)[:WIRE_BYTES], "bad_hello", id="cut too finely"),
    pytest.param(record(hello(sni(b"b.x"), sni(b"a.x"))), "bad_hello", id="two extensions"),
    pytest.param(record(hello(TWO_NAMES)), "bad_hello", id="two names"),
    pytest.param(record(hello(extension(0, b""))), "bad_hello", id="empty extension"),
    pytest.param(record(hello(extension(0, b"\0\4\1\0\1a"))), "bad_hello", id="another name type"),
    pytest.param(record(hello(extension(0, b"\0\6\0\0\2a"))), "bad_hello", id="name longer than its list"),
    pytest.param(record(hello(raw=b"\0\0\xff\xf0\0\x09\0\0\x06a.test")), "bad_hello", id="extension length lies"),
    pytest.param(record(hello(raw=b"\0\1")), "bad_hello", id="half an extension header"),
    pytest.param(record(PLAIN[:38] + b"\xff" + PLAIN[39:]), "bad_hello", id="session id length lies"),
    pytest.param(record(b"\1\0\0\2\3\3"), "bad_hello", id="nothing but a version"),
    *(
        pytest.param(record(hello(sni(name))), "bad_hello", id=f"name {name[:12]!r}")
        for name in (
            b"", b".", b"a.", b".a", b"a..b", b"a\0.b", b"a b", b"\xff", b"a:1", b"*.a", b"a/b", b"a\n",
            b"a" * 64, b"a." * 127 + b"a",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("data", "reason"), REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        server_name(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize("n", [MESSAGE_BYTES, MESSAGE_BYTES + 1])
def test_a_hello_may_be_as_long_as_the_bound(n: int) -> None:
    start = b"\1" + (n - 4).to_bytes(3, "big")
    if n <= MESSAGE_BYTES:
        assert isinstance(server_name(record(start)), int)
    else:
        with pytest.raises(RemoteProtocolError):
            server_name(record(start))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good hello with bytes changed, cut out or doubled."""
    data = bytearray(draw(st.sampled_from([OPENSSL, record(PLAIN), records(OPENSSL[5:], 50)])))
    for _ in range(draw(st.sampled_from([0, 1, 1, 2, 6]))):
        at, n = draw(st.integers(0, len(data) - 1)), draw(st.integers(0, 3))
        data[at : at + n] = draw(st.binary(min_size=n, max_size=n) | st.binary(max_size=3))
    return bytes(data) if draw(st.booleans()) else bytes(data[: draw(st.integers(0, len(data)))])


@given(mutated() | st.binary(max_size=200) | st.binary(max_size=200).map(record))
def test_any_bytes_give_a_name_a_need_or_the_one_error(data: bytes) -> None:
    try:
        found = server_name(data)
    except RemoteProtocolError:
        return
    if isinstance(found, int):
        assert len(data) < found <= WIRE_BYTES
    elif found is not None:
        assert found == found.lower()
        assert found.isascii()
        assert found in data.lower() or data.count(b"\x16") > 1
