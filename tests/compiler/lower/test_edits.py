"""Head ops fold into one edit; redirects are bound to their listener."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gatewayproxy.compiler.lower.edits import bind_redirect, fold
from gatewayproxy.model.headops import Add, HeadEdit, HeadOp, Host, Path, Prefix, Redirect, Remove, Set
from gatewayproxy.model.protocols import Protocol
from tests.support.plans import listener


@pytest.mark.parametrize(
    ("ops", "edit"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param([Set(b"X-A", b"1")], HeadEdit(cut=frozenset({b"x-a"}), append=b"X-A: 1\r\n"), id="set"),
        pytest.param([Add(b"X-A", b"1")], HeadEdit(append=b"X-A: 1\r\n"), id="add leaves lines"),
        pytest.param([Remove(b"X-A")], HeadEdit(cut=frozenset({b"x-a"})), id="remove"),
        pytest.param([Add(b"X-A", b"1"), Add(b"X-A", b"2")], HeadEdit(append=b"X-A: 1\r\nX-A: 2\r\n"), id="add twice"),
        pytest.param(
            [Set(b"X-A", b"1"), Set(b"x-a", b"2")],
            HeadEdit(cut=frozenset({b"x-a"}), append=b"x-a: 2\r\n"),
            id="the later set",
        ),
        pytest.param([Add(b"X-A", b"1"), Remove(b"x-a")], HeadEdit(cut=frozenset({b"x-a"})), id="remove after add"),
        pytest.param(
            [Remove(b"X-A"), Add(b"X-A", b"1")],
            HeadEdit(cut=frozenset({b"x-a"}), append=b"X-A: 1\r\n"),
            id="add after remove",
        ),
        pytest.param([Host(b"a"), Host(b"b")], HeadEdit(host=b"b"), id="the later host"),
        pytest.param([Path(b"/new"), Prefix(b"/x")], HeadEdit(prefix=(4, b"/x")), id="prefix after path"),
        pytest.param([Prefix(b"/x"), Path(b"/new")], HeadEdit(path=b"/new"), id="path after prefix"),
    ],
)
def test_ops_act_in_order(ops: Sequence[HeadOp], edit: HeadEdit | None) -> None:
    assert fold(ops, b"/old") == edit


def replaced(path: bytes, edit: HeadEdit | None) -> bytes:
    """Apply a prefix edit as HeadEdit.prefix defines it."""
    assert edit is not None
    assert edit.prefix is not None
    cut, replacement = edit.prefix
    return replacement + path[cut:] or b"/"


@pytest.mark.parametrize(  # the table of HTTPPathModifier.replacePrefixMatch
    ("path", "prefix", "replacement", "expected"),
    [
        (b"/foo/bar", b"/foo", b"/xyz", b"/xyz/bar"),
        (b"/foo/bar", b"/foo", b"/xyz/", b"/xyz/bar"),
        (b"/foo/bar", b"/foo/", b"/xyz", b"/xyz/bar"),
        (b"/foo/bar", b"/foo/", b"/xyz/", b"/xyz/bar"),
        (b"/foo", b"/foo", b"/xyz", b"/xyz"),
        (b"/foo/", b"/foo", b"/xyz", b"/xyz/"),
        (b"/foo/bar", b"/foo", b"", b"/bar"),
        (b"/foo/", b"/foo", b"", b"/"),
        (b"/foo", b"/foo", b"", b"/"),
        (b"/foo/", b"/foo", b"/", b"/"),
        (b"/foo", b"/foo", b"/", b"/"),
        (b"/bar", b"/", b"/xyz", b"/xyz/bar"),
        (b"/", b"/", b"/xyz", b"/xyz/"),
    ],
)
def test_a_prefix_is_replaced_by_elements(path: bytes, prefix: bytes, replacement: bytes, expected: bytes) -> None:
    assert replaced(path, fold([Prefix(replacement)], prefix)) == expected


@pytest.mark.parametrize(
    ("protocol", "listener_port", "redirect", "scheme", "port"),
    [
        pytest.param(Protocol.HTTP, 80, Redirect(), b"http", b"", id="its own"),
        pytest.param(Protocol.HTTP, 8080, Redirect(), b"http", b":8080", id="the listener's port"),
        pytest.param(Protocol.HTTPS, 443, Redirect(), b"https", b"", id="https"),
        pytest.param(Protocol.HTTPS, 8443, Redirect(), b"https", b":8443", id="https on another port"),
        pytest.param(Protocol.HTTP, 8080, Redirect(scheme="https"), b"https", b"", id="a scheme brings its port"),
        pytest.param(Protocol.HTTP, 80, Redirect(scheme="https", port=8443), b"https", b":8443", id="a port as given"),
        pytest.param(Protocol.HTTP, 80, Redirect(port=443), b"http", b":443", id="443 is not http's"),
        pytest.param(Protocol.HTTPS, 443, Redirect(scheme="http"), b"http", b"", id="back to http"),
    ],
)
def test_a_redirect_knows_its_listener(
    protocol: Protocol, listener_port: int, redirect: Redirect, scheme: bytes, port: bytes
) -> None:
    respond = bind_redirect(redirect, listener(protocol=protocol, port=listener_port), b"/")
    assert (respond.scheme, respond.port, respond.host, respond.status) == (scheme, port, None, 302)
