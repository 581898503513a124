"""Why nothing took a request, in one line, and what would mend it."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.lower.calls import call_layers
from gatewayproxy.compiler.lower.paths import Claimed, path_index
from gatewayproxy.compiler.lower.precedence import Claim
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.plan import GRPCMatch, HeaderTest, Match, PathKind, QueryTest
from gatewayproxy.routing import match as matching
from gatewayproxy.routing import nearest as nearest_module
from gatewayproxy.routing.causes import Cause, host_cause, printable, rule_cause
from gatewayproxy.routing.nearest import MAX_EXAMINED, Nearest, Placed, failure
from gatewayproxy.routing.table import HostIndex, ListenerLabel, RouteEntry, RuleLabel, VirtualHost

LISTENER = ListenerLabel(0, "shop/web/http")


def entry(index: int, *, grpc: bool = False, name: str = "") -> RouteEntry:
    kind = "GRPCRoute" if grpc else "HTTPRoute"
    label = RuleLabel(LISTENER.name, kind, "shop/api", index, name)
    return RouteEntry(index=index, label=label, fingerprint=bytes(16), grpc=grpc)


def http(*matches: Match) -> VirtualHost:
    claimed = [Claimed(Claim(each, 0.0, "shop/api", at, 0), entry(at)) for at, each in enumerate(matches)]
    return VirtualHost(listener=LISTENER, layers=(path_index(claimed),))


def calls(*matches: GRPCMatch) -> VirtualHost:
    claimed = [Claimed(Claim(each, 0.0, "shop/api", at, 0), entry(at, grpc=True)) for at, each in enumerate(matches)]
    return VirtualHost(listener=LISTENER, layers=call_layers(claimed))


def cause(vhost: VirtualHost, request: Request) -> Cause:
    index = HostIndex(exact={b"shop.example": vhost})
    assert matching.find_entry(vhost, request) is None
    return rule_cause(Nearest(index).match(vhost, request), request)


API = Match(path=b"/api", method=b"POST")
CART = Match(path=b"/cart", headers=(HeaderTest(b"x-beta", b"secret"),), query=(QueryTest(b"page", b"1"),))
HEALTH = Match(path=b"/health", path_kind=PathKind.EXACT)
NUMBER = Match(path=b"/v[0-9]+/.*", path_kind=PathKind.REGEX)
SHOP = http(API, CART, HEALTH, NUMBER)
CARTS = calls(GRPCMatch(service=b"shop.Cart", method=b"Add"), GRPCMatch(service=b"shop.Cart", method=b"Get"))
BETA = (b"X-Beta", b"secret")


@pytest.mark.parametrize(
    ("vhost", "request_", "text", "fix"),
    [
        pytest.param(
            SHOP, Request().with_target(b"/api/x"), "closest shop/api#0 failed method (wants POST)",
            "send POST, or add a rule for GET /api/x", id="method",
        ),
        pytest.param(
            SHOP, Request().with_target(b"/cart"), "closest shop/api#1 failed header x-beta (absent)",
            "send what the match of header x-beta wants, or add a rule without it", id="no such header",
        ),
        pytest.param(
            SHOP, Request(headers=((b"x-beta", b"mine"),)).with_target(b"/cart"),
            "closest shop/api#1 failed header x-beta (another value)",
            "send what the match of header x-beta wants, or add a rule without it", id="another header",
        ),
        pytest.param(
            SHOP, Request(headers=(BETA,)).with_target(b"/cart?page=2"), "closest shop/api#1 failed query page",
            "send what the match of query page wants, or add a rule without it", id="query",
        ),
        pytest.param(
            SHOP, Request().with_target(b"/helth"), "closest shop/api#2 failed path (wants exact /health)",
            "was exact /health meant? else add a rule for /helth", id="exact path",
        ),
        pytest.param(
            SHOP, Request().with_target(b"/apis"), "closest shop/api#0 failed path (wants prefix /api)",
            "was prefix /api meant? else add a rule for /apis", id="prefix",
        ),
        pytest.param(
            SHOP, Request().with_target(b"/v7"), "closest shop/api#3 failed path (wants pattern /v[0-9]+/.*)",
            "was pattern /v[0-9]+/.* meant? else add a rule for /v7", id="pattern",
        ),
        pytest.param(
            CARTS, Request(method=b"POST").with_target(b"/shop.Cart/Drop"),
            "closest shop/api#0 failed method (wants Add)", "call Add, or add a rule for /shop.Cart/Drop", id="call",
        ),
        pytest.param(
            CARTS, Request(method=b"POST").with_target(b"/shop.Card/Add"),
            "closest shop/api#0 failed path (wants service shop.Cart)",
            "was service shop.Cart meant? else add a rule for /shop.Card/Add", id="service",
        ),
    ],
)  # fmt: skip
def test_the_nearest_match_and_what_it_lacked_are_named(
    vhost: VirtualHost, request_: Request, text: str, fix: str
) -> None:
    told = cause(vhost, request_)
    n = {id(SHOP): 4, id(CARTS): 2}[id(vhost)]
    assert told.text == f"host ok, {n} rules, {text}"
    assert told.fix == fix
    assert told.lasting is (told.failed in ("path", "method"))
    assert "secret" not in told.text + told.fix
    assert "mine" not in told.text + told.fix


def hosts(*names: bytes) -> HostIndex:
    exact = {name: http(API) for name in names if name[:1] != b"."}
    return HostIndex(exact=exact, wildcard={name: http(API) for name in names if name[:1] == b"."})


@pytest.mark.parametrize(
    ("index", "vhost", "host", "text", "fix"),
    [
        pytest.param(
            hosts(b"shop.example", b"www.example", b"shop.test"), None, b"shpo.example",
            "no listener has host shpo.example; closest is shop.example",
            "was shop.example meant? else add shpo.example to the hostnames of a listener and of a route", id="exact",
        ),
        pytest.param(
            hosts(b".shop.example", b"shop.test"), None, b"shop.example",
            "no listener has host shop.example; closest is *.shop.example",
            "was *.shop.example meant? else add shop.example to the hostnames of a listener and of a route",
            id="wildcard",
        ),
        pytest.param(
            hosts(), VirtualHost(listener=LISTENER), b"a.example",
            "no route on listener shop/web/http has host a.example; no host has rules",
            "add a.example to the hostnames of a route on that listener", id="listener without routes",
        ),
        pytest.param(
            hosts(), None, b"\x1b[2J", "no listener has host \\x1b[2J; no host has rules",
            "add \\x1b[2J to the hostnames of a listener and of a route", id="what a terminal would act on",
        ),
    ],
)  # fmt: skip
def test_the_host_that_is_most_alike_is_named(
    index: HostIndex, vhost: VirtualHost | None, host: bytes, text: str, fix: str
) -> None:
    told = host_cause(host, vhost, Nearest(index).host(host))
    assert (told.text, told.fix) == (text, fix)


def test_what_is_asked_for_one_request_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Match(path=b"/x", method=b"POST", headers=(HeaderTest(b"h", b"%d" % n),)) for n in range(500)]
    paths = [Match(path=b"/p%d" % n, method=b"POST") for n in range(2_000)]
    asked: list[Placed] = []

    def counted(placed: Placed, request: Request) -> object:
        asked.append(placed)
        return failure(placed, request)

    monkeypatch.setattr(nearest_module, "failure", counted)
    index = path_index([Claimed(Claim(each, 0.0, "r", at, 0), entry(at)) for at, each in enumerate(many + paths)])
    vhost = VirtualHost(listener=LISTENER, layers=(index,))
    nearest = Nearest(HostIndex())
    for target in (b"/x", b"/p7", b"/nothing", b"/" + b"a/" * 4_000):
        asked.clear()
        assert nearest.match(vhost, Request().with_target(target)) is not None
        assert len(asked) <= MAX_EXAMINED


@pytest.mark.parametrize(
    ("raw", "most", "shown"),
    [(b"/a b", 9, "/a b"), (b"\xff\x00\n", 20, "\\xff\\x00\\x0a"), (b"a" * 99, 10, "aaaaaaa...")],
    ids=["plain", "escaped", "cut"],
)
def test_what_peers_send_is_printable_and_short(raw: bytes, most: int, shown: str) -> None:
    assert printable(raw, most) == shown
    assert len(printable(raw, most)) <= most


def test_a_host_of_one_rule_is_told_in_the_singular() -> None:
    assert cause(http(API), Request().with_target(b"/api")).text.startswith("host ok, 1 rule, ")
