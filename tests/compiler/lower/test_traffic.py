"""CORS, retries and sessions of rules, as entries of the table have them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatewayproxy.compiler.manifests.traffic import SessionPersistence
from gatewayproxy.compiler.resolve.traffic import bind_session
from gatewayproxy.model.headops import Redirect, Set
from gatewayproxy.model.names import ResourceKey
from gatewayproxy.model.plan import FilterChain, Rule
from gatewayproxy.model.traffic import Cors, Retry, Session
from gatewayproxy.routing.table import RouteEntry
from gatewayproxy.wire.edit import edited_lines
from tests.support.plans import Ask, backend, found, listener, route, rule, table_of

CORS = Cors(origins=(b"https://a.example",))
ANY = Cors(origins=(b"*",))
SESSION = Session(rule="HTTPRoute default/r #0", name=b"X-Session", header=True)
SAYS = (Set(b"Access-Control-Allow-Origin", b"*"), Set(b"X-Own", b"1"))
ROUTE = ResourceKey("HTTPRoute", "default", "r")


def entry_of(each: Rule) -> RouteEntry:
    (port,) = table_of(listener("http", route("r", each))).ports
    entry = found(port, Ask())
    assert entry is not None
    return entry


def edited(entry: RouteEntry, lines: bytes = b"") -> bytes:
    assert entry.group is not None
    return edited_lines(lines, entry.group.choices[0].response)


def test_what_a_backend_or_a_header_filter_says_of_cors_goes() -> None:
    theirs = b"access-control-allow-origin: *\r\naccess-control-max-age: 9\r\nx: 1\r\n"
    with_cors = entry_of(rule(filters=FilterChain(response=SAYS, cors=CORS)))
    assert edited(with_cors, theirs) == b"x: 1\r\nX-Own: 1\r\n"
    assert edited(entry_of(rule(filters=FilterChain(response=SAYS))), b"x: 1\r\n").count(b"Access-Control") == 1


def test_what_is_the_same_for_every_origin_is_put_in_by_the_table() -> None:
    entry = entry_of(rule(filters=FilterChain(cors=ANY)))
    assert edited(entry, b"access-control-allow-origin: https://b\r\n") == b"access-control-allow-origin: *\r\n"


@pytest.mark.parametrize("cors", [CORS, ANY], ids=["one origin", "any"])
def test_a_redirect_leaves_cors_to_who_answers(cors: Cors) -> None:
    moved = FilterChain(redirect=Redirect(host="b.example"), response=SAYS)
    of_rule = entry_of(rule(filters=replace(moved, cors=cors), backends=()))
    assert edited_lines(b"", of_rule.response) == b"X-Own: 1\r\n"
    assert of_rule.cors == cors
    of_backend = entry_of(rule(filters=FilterChain(cors=cors), backends=[backend(filters=moved)]))
    assert edited(of_backend) == b"X-Own: 1\r\n"


def test_a_field_that_is_a_session_s_is_taken_from_answers() -> None:
    entry = entry_of(replace(rule(), session=SESSION))
    assert edited(entry, b"x-session: theirs\r\nx: 1\r\n") == b"x: 1\r\n"
    assert edited(entry_of(replace(rule(), session=replace(SESSION, header=False)))) == b""


def test_backends_of_weight_0_rest_for_the_sessions_they_have() -> None:
    backends = [backend("default/a:80", 0), backend("default/b:80", 1)]
    entry = entry_of(replace(rule(backends=backends), session=SESSION))
    assert [choice.name for choice in entry.resting] == ["default/a:80"]
    assert entry_of(rule(backends=backends)).resting == ()


def test_who_answers_by_itself_has_neither_retries_nor_sessions() -> None:
    moved = rule(filters=FilterChain(redirect=Redirect(host="b.example")), backends=())
    entry = entry_of(replace(moved, retry=Retry(), session=SESSION))
    assert (entry.retry, entry.session, entry.resting) == (None, None, ())


def test_entries_differ_by_what_their_rules_ask_for() -> None:
    plain = rule()
    rules = (plain, replace(plain, retry=Retry()), replace(plain, session=SESSION), rule(filters=FilterChain(cors=ANY)))
    assert len({entry_of(each).fingerprint for each in rules}) == len(rules)


def test_no_name_of_a_rule_is_the_place_of_another() -> None:
    spec = SessionPersistence()
    named, placed = bind_session(spec, ROUTE, 0, "1"), bind_session(spec, ROUTE, 1, "")
    assert named.rule != placed.rule
    assert named.name != placed.name
    assert bind_session(spec, ROUTE, 5, "1") == named  # wherever it stands
