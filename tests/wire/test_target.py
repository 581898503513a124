"""Paths with more than one reading, and authorities."""

from __future__ import annotations

import pytest

from gatewayproxy.errors import RemoteProtocolError
from gatewayproxy.wire.target import check_authority, odd_path, readings


@pytest.mark.parametrize("path", [b"/", b"/a/b.c", b"/a%20b", b"/.well-known/x", b"/a..b", b"/x/...", b"/%C3%A9"])
def test_a_plain_path_has_one_reading(path: bytes) -> None:
    assert not odd_path(path)


@pytest.mark.parametrize(
    ("path", "reading"),
    [
        pytest.param(b"//admin/x", b"/admin/x", id="merged slashes"),
        pytest.param(b"/%61dmin/x", b"/admin/x", id="encoded letter"),
        pytest.param(b"/a%2fb", b"/a/b", id="encoded slash"),
        pytest.param(b"/a%5cb", b"/a/b", id="encoded backslash"),
        pytest.param(b"/;/admin", b"/admin", id="path parameter"),
        pytest.param(b"/admin;v=1/x", b"/admin/x", id="parameter within"),
        pytest.param(b"/%2fadmin", b"/admin", id="encoded slash, then merged"),
        pytest.param(b"/%40fs/x", b"/@fs/x", id="encoded at sign"),
        pytest.param(b"/a%2Bb%3ac", b"/a+b:c", id="encoded delimiters"),
        pytest.param(b"/admin%3bx/y", b"/admin/y", id="encoded semicolon, then a parameter"),
        pytest.param(b"/a%20b%2Fc", b"/a%20b/c", id="what must be encoded stays so"),
    ],
)
def test_an_odd_path_has_the_readings_of_common_backends(path: bytes, reading: bytes) -> None:
    assert odd_path(path)
    assert reading in readings(path)
    assert path not in readings(path)


@pytest.mark.parametrize(
    ("path", "spelled", "others"),
    [
        pytest.param(b"/%40fs", 6, (), id="all of it"),
        pytest.param(b"/%40fs/x", 6, (), id="all that is odd"),
        pytest.param(b"/%40fs/%78", 6, (b"/%40fs/x",), id="the rest is odd"),
        pytest.param(b"/%40fs//x", 6, (b"/%40fs/x",), id="slashes doubled after it"),
        pytest.param(b"/a;v/b;w", 4, (b"/a;v/b",), id="a parameter after it"),
    ],
)
def test_what_is_spelled_out_has_no_other_readings(path: bytes, spelled: int, others: tuple[bytes, ...]) -> None:
    assert readings(path, spelled) == others


@pytest.mark.parametrize(
    "path",
    [
        b"/a/../b",
        b"/./a",
        b"/a/..",
        b"/%2e%2E/a",
        b"/.%2e/a",
        b"/a/..;x/b",
        b"/a/..%3bx/b",
        b"/a/..%2fb",
        b"/a/..%5Cb",
        b"/%zz",
        b"/a%",
        b"/%00",
    ],
)
def test_dot_segments_and_broken_encodings_are_refused(path: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        odd_path(path)


@pytest.mark.parametrize(
    "authority", [b"a.test", b"A.test:8080", b"[::1]:80", b"10.0.0.1", b"my_app.local", b"a.test."]
)
def test_a_host_with_a_port_is_an_authority(authority: bytes) -> None:
    check_authority(authority)


@pytest.mark.parametrize(
    "authority", [b"", b":80", b"a:b", b"a,b", b"u@a", b"a/b", b"[::1", b"[gg::1]", b"a:65536", b"\xc3\xa9"]
)
def test_anything_else_is_not(authority: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        check_authority(authority)
