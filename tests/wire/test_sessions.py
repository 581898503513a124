"""Marks of persistent sessions: made and read back, forged, cut, repeated, and where fields hide them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayproxy.model.traffic import Session
from gatewayproxy.wire.sessions import (
    MARK_BYTES,
    MAX_MARKS,
    Mark,
    endpoint_digest,
    make_mark,
    marks_of,
    read_mark,
    session_line,
)

KEY = bytes(32)
COOKIE = Session(rule="r", name=b"a.b")
HEADER = Session(rule="r", name=b"X-Session", header=True)
MARK = Mark(1_700_000_000, endpoint_digest(KEY, "r", "default/app:80", "10.0.0.1:80"))
TEXT = make_mark(KEY, "r", MARK)


def test_a_mark_is_read_back_by_its_rule_and_key_only() -> None:
    assert len(TEXT) == MARK_BYTES
    assert read_mark(KEY, "r", TEXT) == MARK
    assert read_mark(KEY, "other", TEXT) is None
    assert read_mark(b"\x01" * 32, "r", TEXT) is None


@given(st.integers(0, MARK_BYTES - 1), st.sampled_from(b"ABCxyz019-_"))
def test_a_mark_with_one_other_character_is_none(at: int, character: int) -> None:
    forged = TEXT[:at] + bytes([character]) + TEXT[at + 1 :]
    assert (read_mark(KEY, "r", forged) is None) == (forged != TEXT)


def test_endpoints_have_other_names_for_every_rule_backend_address_and_key() -> None:
    names = {
        endpoint_digest(key, rule, backend, endpoint)
        for key in (KEY, b"\x01" * 32)
        for rule in ("r", "s")
        for backend in ("b", "c")
        for endpoint in ("10.0.0.1:80", "10.0.0.1:81")
    }
    assert len(names) == 16


@pytest.mark.parametrize(
    "field",
    [
        b"a.b=%b",
        b'a.b="%b"',
        b"x=1; a.b=%b; y=2",
        b"x=1;a.b=%b",
        b"x=1, a.b=%b",  # two lines
        b"a.b=%b, y=2",
    ],
)
def test_a_cookie_is_found(field: bytes) -> None:
    assert marks_of(COOKIE, field % TEXT) == (TEXT,)


@pytest.mark.parametrize(
    "field",
    [
        b"A.B=%b",
        b"aab=%b",
        b"xa.b=%b",
        b"x.a.b=%b",
        b"a.b=x%b",
        b"a.b=%bx",
        b"a.b= %b",
        b"a.b=%b=",
        b"x=a.b=%b",
    ],
)
def test_another_cookie_is_not_taken_for_it(field: bytes) -> None:
    assert marks_of(COOKIE, field % TEXT) == ()


@pytest.mark.parametrize(("field", "found"), [(b"%b", 1), (b"%b, %b", 2), (b"x%b", 0), (b"%bx", 0), (b"", 0)])
def test_a_header_field_is_a_list_of_values(field: bytes, found: int) -> None:
    assert len(marks_of(HEADER, field.replace(b"%b", TEXT))) == found


def test_the_last_of_repeated_marks_comes_first() -> None:
    other = make_mark(KEY, "r", Mark(1, MARK.endpoint))
    assert marks_of(COOKIE, b"a.b=%b; a.b=%b" % (TEXT, other)) == (other, TEXT)
    assert marks_of(COOKIE, b"a.b=%b.%b" % (TEXT, other)) == (other, TEXT)


def test_more_marks_than_the_bound_are_not_looked_at() -> None:
    field = b"; ".join(b"a.b=%b" % TEXT for _ in range(5000))
    assert len(marks_of(COOKIE, field)) == MAX_MARKS
    assert marks_of(COOKIE, b"a.b=" + b".".join([TEXT] * (MAX_MARKS + 1))) == ()


@given(st.binary(max_size=400))
def test_any_field_is_read_without_harm(field: bytes) -> None:
    for session in (COOKIE, HEADER):
        for text in marks_of(session, field):
            assert read_mark(KEY, "r", text) is None


@pytest.mark.parametrize(
    ("session", "secure", "line"),
    [
        (COOKIE, False, b"set-cookie: a.b=M; Path=/; HttpOnly; SameSite=Strict\r\n"),
        (COOKIE, True, b"set-cookie: a.b=M; Path=/; HttpOnly; Secure; SameSite=Strict\r\n"),
        (
            Session(rule="r", name=b"n", path=b"/shop", permanent=True, absolute_s=90.0),
            False,
            b"set-cookie: n=M; Path=/shop; Max-Age=90; HttpOnly; SameSite=Strict\r\n",
        ),
        (
            Session(rule="r", name=b"n", permanent=True, absolute_s=0.5),
            False,
            b"set-cookie: n=M; Path=/; Max-Age=1; HttpOnly; SameSite=Strict\r\n",
        ),
        (
            Session(rule="r", name=b"n", absolute_s=90.0),
            False,
            b"set-cookie: n=M; Path=/; HttpOnly; SameSite=Strict\r\n",
        ),
        (HEADER, True, b"X-Session: M\r\n"),
    ],
    ids=["plain", "over TLS", "permanent", "permanent, below a second", "session with a timeout", "header"],
)
def test_a_client_is_told(session: Session, secure: bool, line: bytes) -> None:
    assert session_line(session, (b"M",), secure=secure) == line


def test_a_client_is_given_the_newest_mark_and_the_bound_of_others() -> None:
    texts = tuple(make_mark(KEY, f"r{n}", MARK) for n in range(MAX_MARKS + 3))
    line = session_line(COOKIE, texts, secure=False)
    assert marks_of(COOKIE, line.removeprefix(b"set-cookie: ")) == texts[:MAX_MARKS]
