"""Whose certificate it is, name by name."""

from __future__ import annotations

import pytest

from gatewayproxy.dataplane.upstream.tls_names import has_wanted_name
from gatewayproxy.model.plan import BackendTls

SPIFFE = "spiffe://example.com/ns/a/sa/b"


@pytest.mark.parametrize(
    ("wanted", "presented"),
    [
        pytest.param("a.example.com", "a.example.com", id="the name itself"),
        pytest.param("a.example.com", "A.Example.COM", id="in capitals"),
        pytest.param("a.example.com", "*.example.com", id="a wildcard of the certificate"),
        pytest.param("a-b.example.com", "*.example.com", id="a label with a hyphen"),
        pytest.param("*.example.com", "a.example.com", id="our wildcard, one label"),
        pytest.param("*.example.com", "a.b.example.com", id="our wildcard, two labels"),
        pytest.param("*.example.com", "*.example.com", id="the same wildcard"),
        pytest.param("*.example.com", "*.a.example.com", id="a narrower wildcard"),
    ],
)
def test_a_dns_name_is_the_one_asked_for(wanted: str, presented: str) -> None:
    tls = BackendTls(server_name="x", names=("other.test", wanted))
    assert has_wanted_name([("DNS", "else.test"), ("DNS", presented)], tls)


@pytest.mark.parametrize(
    ("wanted", "presented"),
    [
        pytest.param("a.example.com", "b.example.com", id="another name"),
        pytest.param("a.example.com", "example.com", id="the parent"),
        pytest.param("example.com", "*.example.com", id="a wildcard is no parent"),
        pytest.param("b.a.example.com", "*.example.com", id="a wildcard is one label"),
        pytest.param("a.example.com", "a*.example.com", id="a part of a label"),
        pytest.param("a.example.com", "*a.example.com", id="another part of a label"),
        pytest.param("a.example.com", "a.*.com", id="a wildcard further on"),
        pytest.param("a.example.com", "*.*.com", id="two wildcards"),
        pytest.param("a.example.com", "*", id="a bare wildcard"),
        pytest.param("example.com", "*.com", id="a name nobody owns"),
        pytest.param("a.example.com", "a.example.com\x00.evil.test", id="a NUL inside"),
        pytest.param("a.example.com", "a.example.com.", id="a dot behind"),
        pytest.param("a.example.com", "", id="no name"),
        pytest.param("*.example.com", "example.com", id="our wildcard is no parent"),
        pytest.param("*.example.com", "*.com", id="a wider wildcard"),
        pytest.param("*.example.com", ".example.com", id="an empty label"),
        pytest.param("*.example.com", "evil\x00.example.com", id="a NUL under our wildcard"),
        pytest.param("*.example.com", "a/b.example.com", id="what is no name under our wildcard"),
    ],
)
def test_a_dns_name_is_not_the_one_asked_for(wanted: str, presented: str) -> None:
    assert not has_wanted_name([("DNS", presented)], BackendTls(server_name="x", names=(wanted,)))


@pytest.mark.parametrize(
    ("kind", "name", "believed"),
    [
        ("URI", SPIFFE, True),
        ("URI", SPIFFE + "/c", False),
        ("URI", SPIFFE.upper(), False),
        ("DNS", SPIFFE, False),
        ("email", SPIFFE, False),
        ("URI", "a.example.com", False),
        ("IP Address", "a.example.com", False),
    ],
)
def test_names_count_only_for_their_own_type(kind: str, name: str, believed: bool) -> None:
    tls = BackendTls(server_name="x", names=("a.example.com",), uris=(SPIFFE,))
    assert has_wanted_name([(kind, name)], tls) is believed
