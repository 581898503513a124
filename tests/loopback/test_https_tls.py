"""TLS termination over real sockets: names and certificates, resumption, bounds, flow control, ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import TypeVar

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Certificate
from gatewayproxy.routing.table import Port
from tests.support.certs import certificate, client_context
from tests.support.https import Running, echo_listener, https_port
from tests.support.peers import require
from tests.support.tls_client import Split, TlsClient, bytewise, records_of, whole

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = [pytest.param(TLS12, id="TLS 1.2"), pytest.param(TLS13, id="TLS 1.3")]
MIB = 1 << 20
T = TypeVar("T")


def one_name(number: int) -> Port:
    return https_port(number, exact={b"a.test": (certificate("a.test"),)})


@pytest.fixture
async def echo() -> Iterator[Running]:
    with echo_listener(one_name) as running:
        yield running


async def thread(work: Callable[[], T]) -> T:
    """Do blocking client work beside the loop."""
    return await asyncio.wait_for(asyncio.to_thread(work), 60)


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for *condition*, checked at every turn of the loop."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


def connect(
    running: Running,
    name: str | None = "a.test",
    *,
    context: ssl.SSLContext | None = None,
    session: ssl.SSLSession | None = None,
) -> ssl.SSLSocket:
    context = context or client_context()
    if name is None:
        context.check_hostname = False
    raw = socket.create_connection(("127.0.0.1", running.number), timeout=60)
    try:
        return context.wrap_socket(raw, server_hostname=name, session=session, suppress_ragged_eofs=False)
    except BaseException:
        raw.close()
        raise


def names_shown(running: Running, name: str | None) -> set[str]:
    """Return the names in the certificate that a client asking for *name* is shown."""
    context = client_context()
    context.check_hostname = False
    with connect(running, name, context=context) as client:
        shown = client.getpeercert()
        assert shown is not None
        return {value for _, value in shown["subjectAltName"]}


def roundtrip(client: ssl.SSLSocket, data: bytes = b"hello") -> None:
    """Send *data* and take it back; a session ticket comes in with it."""
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = client.recv(65_536)
        assert piece, "closed early"
        got += piece
    assert got == data


# Versions, names, certificates


@pytest.mark.parametrize("version", VERSIONS)
async def test_bytes_pass_both_ways(echo: Running, version: ssl.TLSVersion) -> None:
    def client() -> None:
        with connect(echo, context=client_context(version=version)) as tls:
            roundtrip(tls)
            assert tls.selected_alpn_protocol() == "http/1.1"
            roundtrip(tls, bytes(range(256)) * 400)

    await thread(client)
    assert [inner.got for inner in echo.inner] == [5 + 102_400]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["TLS 1.0", "TLS 1.1"])
async def test_old_versions_are_refused(echo: Running, version: ssl.TLSVersion) -> None:
    context = client_context(version=version, ciphers="ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        await thread(lambda: connect(echo, context=context))
    await until(lambda: echo.reasons() == ["handshake_failed"])


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        pytest.param("a.test", "a.test", id="exact"),
        pytest.param("x.a.test", "*.a.test", id="wildcard"),
        pytest.param("x.y.a.test", "*.a.test", id="wildcard spans labels"),
        pytest.param("x.deep.a.test", "*.deep.a.test", id="longest wildcard"),
        pytest.param("A.TEST", "a.test", id="case does not matter"),
        pytest.param("other.test", "default.test", id="unknown name: listener without hostname"),
        pytest.param(None, "default.test", id="no name: listener without hostname"),
    ],
)
async def test_the_server_name_chooses_the_certificate(asked: str | None, shown: str) -> None:
    def port(number: int) -> Port:
        return https_port(
            number,
            exact={b"a.test": (certificate("a.test"),)},
            wildcard={b".a.test": (certificate("*.a.test"),), b".deep.a.test": (certificate("*.deep.a.test"),)},
            default=(certificate("default.test"),),
        )

    with echo_listener(port) as running:
        assert await thread(lambda: names_shown(running, asked)) == {shown}
        expected = {"default.test": "default"}.get(shown, shown)
        assert [inner.label.name for inner in running.inner] == [expected]


@pytest.mark.parametrize("name", ["b.test", None], ids=["unknown name", "no name"])
async def test_a_name_without_listener_gets_the_alert_and_no_certificate(echo: Running, name: str | None) -> None:
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        await thread(lambda: connect(echo, name))
    reason = "unknown_sni" if name else "no_sni"
    await until(lambda: echo.reasons() == [reason])
    (record,) = echo.records
    assert (record.protocol, record.reason, record.host) == ("tls", reason, (name or "").encode())
    assert record.client == "127.0.0.1"
    assert not echo.inner


@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
async def test_a_listener_with_two_kinds_of_key_serves_both(kind: str) -> None:
    both = (certificate("a.test"), certificate("a.test", rsa=True))
    with echo_listener(lambda number: https_port(number, exact={b"a.test": both})) as running:
        context = client_context(version=TLS12, ciphers=f"ECDHE-{kind}-AES128-GCM-SHA256")

        def cipher() -> str:
            with connect(running, context=context) as client:
                return client.cipher()[0]

        assert kind in await thread(cipher)


async def test_among_certificates_of_one_listener_the_one_with_the_name_is_shown() -> None:
    several = (certificate("x.test"), certificate("*.b.test"), certificate("c.test"))
    with echo_listener(lambda number: https_port(number, default=several)) as running:
        shown = [
            await thread(lambda name=name: names_shown(running, name)) for name in ("q.b.test", "c.test", "z.test")
        ]
    assert shown == [{"*.b.test"}, {"c.test"}, {"x.test"}]


async def test_an_unusable_certificate_fails_its_listener_only() -> None:
    good, other = certificate("a.test"), certificate("b.test")
    bad = Certificate(chain_pem=good.chain_pem, key_pem=other.key_pem, digest="mismatch", names=("b.test",))
    names = {b"a.test": (good,), b"b.test": (bad,)}
    with echo_listener(lambda number: https_port(number, exact=names)) as running:
        with pytest.raises(ssl.SSLError, match="INTERNAL_ERROR"):
            await thread(lambda: connect(running, "b.test"))
        assert await thread(lambda: names_shown(running, "a.test")) == {"a.test"}
        await until(lambda: running.reasons() == ["bad_certificate"])


async def test_a_client_of_other_protocols_only_gets_the_alert(echo: Running) -> None:
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        await thread(lambda: connect(echo, context=client_context(alpn=("foo/9",))))
    await until(lambda: echo.reasons() == ["no_application_protocol"])


async def test_a_client_without_alpn_is_served(echo: Running) -> None:
    def client() -> str | None:
        with connect(echo, context=client_context(alpn=())) as tls:
            roundtrip(tls)
            return tls.selected_alpn_protocol()

    assert await thread(client) is None


# Resumption


def session_of(running: Running, context: ssl.SSLContext, name: str = "a.test") -> ssl.SSLSession:
    with connect(running, name, context=context) as client:
        roundtrip(client)
        assert client.session is not None
        return client.session


def resumes(running: Running, context: ssl.SSLContext, session: ssl.SSLSession, name: str = "a.test") -> bool:
    with connect(running, name, context=context, session=session) as client:
        roundtrip(client)
        return bool(client.session_reused)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_session_resumes_at_this_worker_after_a_reload_and_at_another_worker(version: ssl.TLSVersion) -> None:
    context = client_context(version=version)
    with echo_listener(one_name, secret=b"s" * 32) as one, echo_listener(one_name, secret=b"s" * 32) as two:
        assert await thread(lambda: resumes(one, context, session_of(one, context)))
        session = await thread(lambda: session_of(one, context))
        one.listener.update(one_name(one.number))
        assert await thread(lambda: resumes(one, context, session))
        session = await thread(lambda: session_of(one, context))
        assert await thread(lambda: resumes(two, context, session))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shared", [False, True], ids=["own certificates", "one certificate"])
async def test_a_session_does_not_resume_at_another_listener(version: ssl.TLSVersion, shared: bool) -> None:
    both = certificate("a.test", "b.test")
    names = {
        b"a.test": (both if shared else certificate("a.test"),),
        b"b.test": (both if shared else certificate("b.test"),),
    }
    context = client_context(version=version)
    with echo_listener(lambda number: https_port(number, exact=names), secret=b"s" * 32) as running:
        session = await thread(lambda: session_of(running, context))
        assert not await thread(lambda: resumes(running, context, session, "b.test"))


async def test_a_session_of_a_stranger_with_another_secret_does_not_resume() -> None:
    context = client_context()
    with echo_listener(one_name, secret=b"1" * 32) as one, echo_listener(one_name, secret=b"2" * 32) as two:
        session = await thread(lambda: session_of(one, context))
        assert not await thread(lambda: resumes(two, context, session))


async def test_openssl_resumes_its_saved_session(echo: Running, tmp_path: Path) -> None:
    openssl = require("openssl")

    async def s_client(*options: str) -> str:
        process = await asyncio.create_subprocess_exec(
            openssl, "s_client", "-connect", f"127.0.0.1:{echo.number}", "-servername", "a.test", "-tls1_2", *options,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(b""), 60)
        return output.decode()

    saved = str(tmp_path / "session")
    assert "New, TLSv1.2" in await s_client("-sess_out", saved)
    assert "Reused, TLSv1.2" in await s_client("-sess_in", saved)


# Reload


async def test_a_replaced_certificate_serves_new_connections_and_leaves_live_ones(echo: Running) -> None:
    old, new = certificate("a.test"), certificate("a.test", serial=1)
    client = await thread(lambda: connect(echo))
    with client:
        echo.listener.update(https_port(echo.number, exact={b"a.test": (new,)}))

        def look() -> tuple[bytes, bytes]:
            roundtrip(client)
            with connect(echo) as later:
                return client.getpeercert(True), later.getpeercert(True)

        shown = await thread(look)
    assert [ssl.DER_cert_to_PEM_cert(der) for der in shown] == [
        ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(c.chain_pem.decode())) for c in (old, new)
    ]


async def test_a_name_taken_away_is_refused_and_its_connections_live_on(echo: Running) -> None:
    client = await thread(lambda: connect(echo))
    with client:
        echo.listener.update(https_port(echo.number, exact={b"b.test": (certificate("b.test"),)}))
        await thread(lambda: roundtrip(client))
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            await thread(lambda: connect(echo))


async def test_drain_closes_cleanly_and_stop_takes_what_the_queue_holds(echo: Running) -> None:
    client = await thread(lambda: connect(echo))
    with client:
        await thread(lambda: roundtrip(client))
        queued = socket.create_connection(("127.0.0.1", echo.number), timeout=60)  # the loop has not seen it yet
        echo.listener.stop()
        assert echo.listener.connections == 2  # at once: whoever waits for none must not take us for idle
        echo.listener.drain()
        assert await thread(lambda: client.recv(1)) == b""  # close_notify: no ragged end
        queued.close()
        await until(lambda: echo.listener.connections == 0)
    assert (echo.context.connections.count, echo.context.handshakes.count) == (0, 0)


# Hostile and unlucky peers


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("hello", "rest"),
    [
        pytest.param(bytewise, bytewise, id="one byte a segment"),
        pytest.param(records_of(32), whole, id="ClientHello in records of 32 bytes"),
        pytest.param(records_of(200), bytewise, id="ClientHello in two records"),
    ],
)
async def test_segments_and_records_may_be_cut_anywhere(
    echo: Running, version: ssl.TLSVersion, hello: Split, rest: Split
) -> None:
    def client() -> bytes:
        with TlsClient(echo.number, client_context(version=version), "a.test", split=rest) as tls:
            tls.handshake(split_hello=hello)
            tls.send(b"x" * 3_000)
            tls.tls.write(b"several ")
            tls.tls.write(b"records")
            tls.flush()
            return tls.receive(3_015)

    assert await thread(client) == b"x" * 3_000 + b"several records"


async def test_plain_http_is_told_to_use_https(echo: Running) -> None:
    def client() -> bytes:
        with socket.create_connection(("127.0.0.1", echo.number), timeout=60) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            return b"".join(iter(lambda: sock.recv(4096), b""))

    answer = await thread(client)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"Content-Length: %d" % len(body) in head
    await until(lambda: echo.reasons() == ["not_tls"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"\x00\x01\x02", "not_tls", id="garbage"),
        pytest.param(b"\x80\x2e\x01\x03\x01", "not_tls", id="SSLv2"),
        pytest.param(b"\x16\x03\x01\xff\xff\x01", "bad_hello", id="impossible record"),
        pytest.param(b"\x16\x03\x01\x00\x04\x01\xff\xff\xff", "bad_hello", id="endless ClientHello"),
    ],
)
async def test_what_is_no_client_hello_is_closed_at_once(echo: Running, data: bytes, reason: str) -> None:
    def client() -> bytes:
        with socket.create_connection(("127.0.0.1", echo.number), timeout=60) as sock:
            sock.sendall(data)
            return b"".join(iter(lambda: sock.recv(4096), b""))

    answer = await thread(client)
    assert answer in (b"", b"\x15\x03\x03\x00\x02\x02\x32")  # nothing, or the alert decode_error
    await until(lambda: echo.reasons() == [reason])


async def test_a_connection_without_a_word_is_not_counted_as_a_failure(echo: Running) -> None:
    socket.create_connection(("127.0.0.1", echo.number), timeout=60).close()
    await thread(lambda: names_shown(echo, "a.test"))
    await until(lambda: echo.listener.connections == 0)
    assert echo.reasons() == []


@pytest.mark.parametrize("sent", [0, 40, 10_000], ids=["nothing", "half a ClientHello", "a ClientHello, then silence"])
async def test_a_handshake_has_a_deadline(sent: int) -> None:
    with echo_listener(one_name, limits=Limits(handshake_timeout_s=0.1)) as running:
        client = TlsClient(running.number, client_context(), "a.test")
        with client, pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        client = TlsClient(running.number, client_context(), "a.test")
        with client:
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.do_handshake()
            client.sock.sendall(client.outgoing.read()[:sent])
            with pytest.raises(ConnectionError):
                await thread(lambda: [client.fill() for _ in range(9)])
        await until(lambda: running.reasons() == ["handshake_timeout"])
        assert running.listener.connections == 0


async def test_handshakes_beyond_the_bound_wait_in_the_accept_queue() -> None:
    with echo_listener(one_name, limits=Limits(handshakes=3, handshake_timeout_s=1.5)) as running:
        stalled = [socket.create_connection(("127.0.0.1", running.number), timeout=60) for _ in range(8)]
        most = 0
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            honest = group.create_task(asyncio.to_thread(names_shown, running, "a.test"))
            while not honest.done():
                most = max(most, running.context.handshakes.count)
                await asyncio.sleep(0.001)
        assert honest.result() == {"a.test"}
        assert most == 3
        for sock in stalled:
            sock.close()
        await until(lambda: running.listener.connections == 0)


def stalled_client(number: int, sent: int) -> socket.socket:
    """Return a connection on which *sent* bytes of a ClientHello have come, and nothing follows."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(TlsClient(number, client_context(), "a.test"))
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        client.sock.sendall(client.outgoing.read()[:sent])
        stack.pop_all()
    return client.sock


@pytest.mark.parametrize("sent", [0, 40, 10_000], ids=["nothing", "half a ClientHello", "a ClientHello, then silence"])
async def test_handshakes_that_do_not_go_on_give_way_to_new_ones(sent: int) -> None:
    with echo_listener(one_name, limits=Limits(handshakes=10, handshake_timeout_s=60)) as running:
        stalled = [stalled_client(running.number, sent) for _ in range(10)]
        await until(lambda: running.context.handshakes.full)
        began_at = monotonic()
        for _ in range(3):
            assert await thread(lambda: names_shown(running, "a.test")) == {"a.test"}
            await until(lambda: running.context.handshakes.count == 9)
        assert monotonic() - began_at < 40
        assert [(record.reason, record.client) for record in running.records] == [("handshake_evicted", "127.0.0.1")]
        assert running.context.handshakes.count == 9
        for sock in stalled:
            sock.close()


async def test_connections_beyond_the_bound_wait_in_the_accept_queue() -> None:
    with echo_listener(one_name, limits=Limits(connections=1)) as running:
        first = await thread(lambda: connect(running))
        async with asyncio.TaskGroup() as group:
            second = group.create_task(asyncio.to_thread(names_shown, running, "a.test"))
            await thread(lambda: roundtrip(first))
            assert not second.done()
            assert running.listener.connections == 1
            first.close()
            assert await second == {"a.test"}


async def test_a_forged_record_ends_the_connection_with_an_alert(echo: Running) -> None:
    def client() -> None:
        with TlsClient(echo.number, client_context(), "a.test").handshake() as tls:
            tls.send(b"fine")
            assert tls.receive(4) == b"fine"
            tls.sock.sendall(b"\x17\x03\x03\x00\x20" + b"forged".ljust(32, b"!"))
            tls.end()

    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        await thread(client)
    assert isinstance(await echo.inner[0].lost, ssl.SSLError)


async def test_renegotiation_is_refused(echo: Running) -> None:
    openssl = require("openssl")
    process = await asyncio.create_subprocess_exec(
        openssl, "s_client", "-connect", f"127.0.0.1:{echo.number}", "-servername", "a.test", "-tls1_2",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(b"R\n"), 60)
    assert b"no renegotiation" in output


async def test_a_key_update_is_answered_and_the_connection_goes_on(echo: Running) -> None:
    openssl = require("openssl")
    process = await asyncio.create_subprocess_exec(
        openssl, "s_client", "-connect", f"127.0.0.1:{echo.number}", "-servername", "a.test", "-tls1_3", "-msg",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    await until(lambda: len(echo.inner) == 1)
    output = b""
    for command, answers in (
        (b"K\n", [b"KEYUPDATE\n"]),
        (b"still here\n", [b"<<< TLS 1.3, Handshake [length 0005], KeyUpdate", b"still here\n"]),
    ):
        process.stdin.write(command)
        async with asyncio.timeout(60):
            while not all(answer in output for answer in answers):
                piece = await process.stdout.read(65_536)
                assert piece, output
                output += piece
    process.stdin.close()
    await asyncio.wait_for(process.wait(), 60)


# Flow control


@pytest.mark.parametrize("version", VERSIONS)
async def test_64_mib_pass_both_ways_through_backpressure(echo: Running, version: ssl.TLSVersion) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", echo.number, ssl=client_context(version=version), server_hostname="a.test"
    )
    piece = bytes(range(256)) * 1024

    async def send() -> None:
        for _ in range(64 * MIB // len(piece)):
            writer.write(piece)
            await writer.drain()

    async with asyncio.timeout(250), asyncio.TaskGroup() as group:
        group.create_task(send())
        for _ in range(64 * MIB // len(piece)):
            assert await reader.readexactly(len(piece)) == piece
    writer.close()
    await writer.wait_closed()


def send_until_blocked(client: ssl.SSLSocket) -> int:
    """Send until the peer has stopped reading; return how much went."""
    sent = 0
    try:
        while sent < 512 * MIB:
            sent += client.send(b"z" * 65_536)
    except TimeoutError:
        pass
    return sent


async def test_a_reader_that_stops_holds_a_bounded_buffer(echo: Running) -> None:
    with await thread(lambda: connect(echo)) as client:
        client.settimeout(0.5)
        sent = await thread(lambda: send_until_blocked(client))
        inner = echo.inner[0]
        await until(lambda: inner.paused >= 1)
        assert inner.transport.get_write_buffer_size() < 2 * MIB
        assert sent < 64 * MIB


# Ends


@pytest.mark.parametrize("version", VERSIONS)
async def test_our_close_says_close_notify(echo: Running, version: ssl.TLSVersion) -> None:
    loop = asyncio.get_running_loop()

    def client() -> str:
        with TlsClient(echo.number, client_context(version=version), "a.test").handshake() as tls:
            tls.send(b"bye")
            assert tls.receive(3) == b"bye"
            loop.call_soon_threadsafe(echo.inner[0].transport.close)
            return tls.end()

    assert await thread(client) == "close_notify"


async def test_a_tcp_end_without_close_notify_is_a_lost_connection(echo: Running) -> None:
    def client() -> None:
        with TlsClient(echo.number, client_context(), "a.test").handshake() as tls:
            tls.send(b"half a request")
            tls.receive(14)
            tls.sock.shutdown(socket.SHUT_WR)
            assert tls.end() in ("fin", "reset")

    await thread(client)
    assert isinstance(await echo.inner[0].lost, ConnectionAbortedError)


@pytest.mark.parametrize("version", VERSIONS)
async def test_after_the_peers_close_notify_our_direction_may_go_on(echo: Running, version: ssl.TLSVersion) -> None:
    with await thread(TlsClient(echo.number, client_context(version=version), "a.test").handshake) as client:
        await until(lambda: len(echo.inner) == 1)
        inner = echo.inner[0]
        inner.half_close = True
        client.close_notify()
        client.sock.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0)
        inner.transport.write(b"late answer")
        inner.transport.close()

        def rest() -> bytes:
            data = b""
            while True:
                piece = client.sock.recv(65_536)
                if not piece:
                    return data
                data += piece

        wire = await thread(rest)
    assert wire
    assert await inner.lost is None


async def test_write_eof_ends_our_direction_only(echo: Running) -> None:
    with await thread(TlsClient(echo.number, client_context(), "a.test").handshake) as client:
        await until(lambda: len(echo.inner) == 1)
        inner = echo.inner[0]
        inner.transport.write(b"last")
        inner.transport.write_eof()
        inner.transport.write(b"too late")

        def use() -> str:
            assert client.receive(4) == b"last"
            end = client.end()
            client.send(b"still heard")
            return end

        assert await thread(use) == "close_notify"
        await until(lambda: inner.got == len(b"still heard"))
        client.close_notify()
        assert await inner.lost is None


async def test_data_after_close_notify_is_ignored(echo: Running) -> None:
    with await thread(TlsClient(echo.number, client_context(), "a.test").handshake) as client:
        await until(lambda: len(echo.inner) == 1)
        echo.inner[0].half_close = True
        client.send(b"first")
        client.close_notify()
        client.sock.sendall(b"\x17\x03\x03\x00\x10" + b"anything at all!")
        await until(lambda: echo.inner[0].got == 5)
        echo.inner[0].transport.close()
        assert await thread(client.end) == "close_notify"
        assert await echo.inner[0].lost is None
