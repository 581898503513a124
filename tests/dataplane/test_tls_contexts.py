"""Which certificate, which context, which ticket keys."""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest

from gatewayproxy.dataplane.protocols import tls_contexts
from gatewayproxy.dataplane.protocols.openssl import TICKET_KEYS_BYTES, set_ticket_keys
from gatewayproxy.dataplane.protocols.tls_contexts import ServerContexts
from gatewayproxy.model.plan import Certificate
from gatewayproxy.routing.server_names import certificates_for
from gatewayproxy.routing.table import ListenerLabel, SniTarget
from tests.support.certs import certificate

DAY_S = 86_400.0


def named(*names: str) -> Certificate:
    """Return a certificate that is never loaded."""
    return Certificate(chain_pem=b"", key_pem=b"", digest=",".join(names), names=names)


def target(name: str, *certificates: Certificate) -> SniTarget:
    return SniTarget(listener=ListenerLabel(0, name), certificates=certificates or (certificate("a.test"),))


A, WILD, OTHER = named("a.test"), named("*.a.test"), named("other.test")


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        pytest.param(b"a.test", (A,), id="exact"),
        pytest.param(b"x.a.test", (WILD,), id="wildcard covers one label"),
        pytest.param(b"x.y.a.test", (A, WILD, OTHER), id="a certificate's wildcard does not cover two"),
        pytest.param(b"unknown", (A, WILD, OTHER), id="none covers: all, the first preferred"),
        pytest.param(None, (A, WILD, OTHER), id="no name: all, the first preferred"),
    ],
)
def test_the_certificates_that_cover_the_name_are_chosen(name: bytes | None, chosen: tuple[Certificate, ...]) -> None:
    assert certificates_for((A, WILD, OTHER), name) == chosen


def test_two_kinds_of_key_for_one_name_are_both_chosen() -> None:
    twin = replace(A, digest="rsa")
    assert certificates_for((A, OTHER, twin), b"a.test") == (A, twin)


def test_a_context_is_kept_by_value_over_reloads() -> None:
    contexts = ServerContexts(b"")
    context = contexts.get(target("l"), b"a.test", 0.0)
    contexts.renew()
    assert contexts.get(target("l"), b"a.test", 0.0) is context  # an equal target of the next table
    contexts.renew()
    contexts.renew()
    assert contexts.get(target("l"), b"a.test", 0.0) is not context  # nobody asked for it in between


def test_listeners_and_certificates_have_contexts_of_their_own() -> None:
    contexts = ServerContexts(b"")
    found = {
        id(contexts.get(target(name, cert), b"a.test", 0.0))
        for name in ("one", "two")
        for cert in (certificate("a.test"), certificate("a.test", serial=1))
    }
    assert len(found) == 4


def test_the_number_of_contexts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_contexts, "_KEPT", 3)
    contexts = ServerContexts(b"")
    for i in range(20):
        contexts.get(target(f"l{i}"), b"a.test", 0.0)
        assert len(contexts._young) + len(contexts._old) <= 6


def test_old_protocols_and_weak_ciphers_are_off() -> None:
    context = ServerContexts(b"").get(target("l"), b"a.test", 0.0)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    names = [cipher["name"] for cipher in context.get_ciphers()]
    assert names
    assert all(name.startswith("TLS_") or ("ECDHE" in name and ("GCM" in name or "POLY1305" in name)) for name in names)
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION


@pytest.mark.parametrize(
    ("chain", "key"),
    [
        pytest.param(b"nonsense", b"nonsense", id="no PEM"),
        pytest.param(certificate("a.test").chain_pem, certificate("b.test").key_pem, id="another certificate's key"),
        pytest.param(b"", b"", id="empty"),
    ],
)
def test_an_unusable_certificate_raises_ssl_error(chain: bytes, key: bytes) -> None:
    bad = Certificate(chain_pem=chain, key_pem=key, digest="bad")
    with pytest.raises(ssl.SSLError):
        ServerContexts(b"").get(target("l", bad), b"a.test", 0.0)


def test_an_encrypted_key_is_refused_without_asking_for_a_password() -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    good = certificate("a.test")
    key = load_pem_private_key(good.key_pem, None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    with pytest.raises(ssl.SSLError, match="encrypted"):
        ServerContexts(b"").get(target("l", replace(good, key_pem=locked, digest="locked")), b"a.test", 0.0)


KEY = tls_contexts._Key("ns/gw/l", True, ("digest",))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((b"other", KEY, 1), id="secret"),
        pytest.param((b"secret", KEY._replace(scope="ns/gw/m"), 1), id="listener"),
        pytest.param((b"secret", KEY._replace(digests=("new",)), 1), id="certificate"),
        pytest.param((b"secret", KEY, 2), id="day"),
    ],
)
def test_ticket_keys_differ_by_secret_listener_certificate_and_day(other: tuple[bytes, tls_contexts._Key, int]) -> None:
    keys = tls_contexts._ticket_keys(b"secret", KEY, 1)
    assert len(keys) == TICKET_KEYS_BYTES
    assert keys == tls_contexts._ticket_keys(b"secret", KEY, 1)
    assert keys != tls_contexts._ticket_keys(*other)


def test_ticket_keys_are_renewed_daily_in_a_context_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bytes] = []
    monkeypatch.setattr(tls_contexts, "set_ticket_keys", lambda _, keys: given.append(keys))
    contexts = ServerContexts(b"secret")
    one = contexts.get(target("l"), b"a.test", 1.0)
    contexts.get(target("l"), b"a.test", DAY_S - 1)
    assert len(given) == 1
    assert contexts.get(target("l"), b"a.test", DAY_S + 1) is one
    assert len(set(given)) == 2


@pytest.mark.skipif(ssl.OPENSSL_VERSION_INFO < (3, 0), reason="ticket keys are set for OpenSSL 3.0 and later")
def test_openssl_takes_ticket_keys_of_the_right_size_only() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert set_ticket_keys(context, bytes(TICKET_KEYS_BYTES))
    assert not set_ticket_keys(context, bytes(TICKET_KEYS_BYTES - 1))
