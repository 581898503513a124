"""What a test expects, held against what the table decides: every field, met and not met."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.pipeline import Compiled
from gatewayproxy.insight.offline import compiled
from gatewayproxy.insight.routetests import running
from gatewayproxy.insight.routetests.running import Failure, Report, run_tests
from gatewayproxy.model.source import CompileOptions, Source
from tests.support import certs

MANIFESTS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: infra}
spec:
  gatewayClassName: any
  addresses: [{type: IPAddress, value: 127.0.0.1}]
  listeners:
    - {name: all, protocol: HTTP, port: 80, allowedRoutes: {namespaces: {from: All}}}
    - {name: wild, protocol: HTTP, port: 80, hostname: "*.a.example", allowedRoutes: {namespaces: {from: All}}}
    - name: https
      protocol: HTTPS
      port: 443
      hostname: "*.a.example"
      tls: {certificateRefs: [{name: tls}]}
      allowedRoutes: {namespaces: {from: All}}
    - {name: db, protocol: TCP, port: 5432, allowedRoutes: {namespaces: {from: All}}}
    - {name: idle, protocol: TCP, port: 5433, allowedRoutes: {namespaces: {from: All}}}
---
apiVersion: v1
kind: Secret
metadata:
  name: tls
  namespace: infra
  annotations: {gatewayproxy.io/cert-file: a.crt, gatewayproxy.io/key-file: a.key}
type: kubernetes.io/tls
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: shop}
spec:
  parentRefs: [{name: web, namespace: infra, sectionName: wild}, {name: web, namespace: infra, sectionName: https}]
  hostnames: [shop.a.example]
  rules:
    - name: cart
      matches: [{path: {value: /cart}, method: POST}]
      filters:
        - type: RequestHeaderModifier
          requestHeaderModifier:
            {set: [{name: x-who, value: us}], add: [{name: x-more, value: two}], remove: [x-secret]}
        - type: ResponseHeaderModifier
          responseHeaderModifier: {set: [{name: server, value: ours}], remove: [x-inside]}
        - type: URLRewrite
          urlRewrite: {hostname: inner.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /basket}}
      backendRefs:
        [{name: one, port: 80, weight: 3}, {name: two, port: 80, weight: 1}, {name: one, port: 81, weight: 0}]
    - matches: [{path: {type: Exact, value: /old}}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, statusCode: 301}}]
    - name: gone
      matches: [{path: {value: /gone}}]
      backendRefs: [{name: missing, port: 80, weight: 1}, {name: two, port: 80, weight: 1}]
    - name: open
      matches: [{path: {value: /open}}]
      filters: [{type: CORS, cors: {allowOrigins: ["https://b.example"]}}]
      backendRefs: [{name: two, port: 80}]
    - name: plain
      matches: [{path: {value: /plain}}]
      backendRefs: [{name: two, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: db, namespace: shop}
spec:
  parentRefs: [{name: web, namespace: infra, sectionName: db}]
  rules: [{backendRefs: [{name: one, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: one, namespace: shop, annotations: {gatewayproxy.io/endpoints: "127.0.0.1:8001"}}
spec: {ports: [{name: a, port: 80}, {name: b, port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: shop, annotations: {gatewayproxy.io/endpoints: "127.0.0.1:8002"}}
spec: {ports: [{port: 80}]}
"""
CART = (
    'url: "http://shop.a.example/cart/7?n=1", method: POST, '
    "headers: [{name: X-Secret, value: s}, {name: x-more, value: one}]"
)
OLD = 'url: "http://shop.a.example/old"'
GONE = 'url: "http://shop.a.example/gone"'
PLAIN = 'url: "http://shop.a.example/plain"'
NOBODY = 'url: "http://b.example/"'
TLS = 'url: "https://shop.a.example/plain"'
TEST = """
---
apiVersion: gatewayproxy.io/v1alpha1
kind: RouteTest
metadata: {name: t, namespace: shop}
spec:
  tests:
    - name: it
      request: {%s}
      expect: {%s}
"""


@pytest.fixture(scope="module")
def files() -> dict[str, bytes | None]:
    made = certs.certificate("*.a.example")
    return {"a.crt": made.chain_pem, "a.key": made.key_pem}


def run(files: dict[str, bytes | None], request: str, expect: str) -> Report:
    source = Source("tests.yaml", (MANIFESTS + TEST % (request, expect)).encode())
    found: Compiled = compiled([source], CompileOptions(), lambda _: files)
    assert [each.message for each in found.status.problems if each.key and each.key.kind == "RouteTest"] == []
    return run_tests(found, [source])


def failure(files: dict[str, bytes | None], request: str, expect: str) -> Failure:
    (result,) = run(files, request, expect).results
    (only,) = result.failures
    return only


@pytest.mark.parametrize(
    ("request_", "expect"),
    [
        pytest.param(CART, "listener: wild", id="the end of a listener's name"),
        pytest.param(CART, "listener: infra/web/wild", id="all of it"),
        pytest.param(CART, "route: shop", id="a route of the test's namespace"),
        pytest.param(CART, "route: HTTPRoute shop/shop, rule: cart", id="a rule by its name"),
        pytest.param(CART, "rule: 0", id="a rule by its index"),
        pytest.param(CART, "backends: [{name: one}, {name: two}]", id="backends, whatever their shares"),
        pytest.param(CART, "backends: [{name: two, weight: 25}, {name: one, weight: 75}]", id="shares, in any order"),
        pytest.param(
            CART,
            "backends: [{name: one, port: 80, weight: 3}, {name: two, weight: 1}, {name: one, port: 81, weight: 0}]",
            id="one that gets nothing",
        ),
        pytest.param(CART, "backendSees: {method: POST, host: inner.example, path: /basket/7}", id="a rewritten head"),
        pytest.param(CART, 'backendSees: {path: "/basket/7?n=1"}', id="with the query"),
        pytest.param(
            CART,
            "backendSees: {headers: [{name: X-Who, value: us}, {name: x-more, value: 'one, two'}, {name: via}], "
            "absent: [x-secret, cookie]}",
            id="header fields that a backend sees",
        ),
        pytest.param(
            CART,
            "clientSees: {headers: [{name: Server, value: ours}], absent: [x-inside]}",
            id="header fields that a client sees",
        ),
        pytest.param(OLD, 'status: 301, redirect: "http://new.example/old", rule: 1, refused: false', id="a redirect"),
        pytest.param(OLD, 'clientSees: {headers: [{name: location}], absent: [x-a]}', id="the head of a redirect"),
        pytest.param(NOBODY, "status: 404, reason: no_route, refused: true, listener: all", id="an answer of ours"),
        pytest.param(
            GONE, "backends: [{name: missing, status: 500}, {name: two}]", id="a backend that we answer for, and one"
        ),
        pytest.param(GONE, "refused: false", id="half of the requests are served"),
        pytest.param(TLS, 'listener: https, certificate: "*.a.example"', id="a certificate"),
        pytest.param('url: "tls://shop.a.example:443"', "refused: false, reason: http_inside", id="a handshake"),
        pytest.param('url: "tls://b.example:443"', "refused: true, reason: unknown_sni", id="a server name"),
        pytest.param('url: "tcp://:5432"', "route: TCPRoute db, backends: [{name: one, port: 80}]", id="a stream"),
        pytest.param('url: "tcp://:5433"', "refused: true, reason: no_route", id="a stream that nobody takes"),
        pytest.param('url: "tcp://:99"', "refused: true, reason: no_port", id="a port that is not there"),
        pytest.param(
            'url: "https://shop.a.example/", headers: [{name: Host, value: b.example}]',
            "status: 404",
            id="a host beside the server name",
        ),
        pytest.param(
            'url: "http://shop.a.example/open", method: OPTIONS, headers: [{name: origin, value: "https://b.example"}, '
            "{name: access-control-request-method, value: PUT}]",
            'status: 200, reason: preflight, rule: open, clientSees: {headers: [{name: access-control-allow-origin}]}',
            id="a preflight",
        ),
        pytest.param(
            'url: "http://shop.a.example/open", headers: [{name: origin, value: "https://b.example"}]',
            'clientSees: {headers: [{name: access-control-allow-origin, value: "https://b.example"}]}',
            id="what CORS tells a browser",
        ),
    ],
)  # fmt: skip
def test_what_is_as_expected_passes(files: dict[str, bytes | None], request_: str, expect: str) -> None:
    report = run(files, request_, expect)
    assert [each for result in report.results for each in result.failures] == []
    assert report.passed


@pytest.mark.parametrize(
    ("request_", "expect", "field", "expected", "actual", "hint"),
    [
        (CART, "listener: all", "listener", "all", "infra/web/wild", "infra/web/wild has a narrower hostname"),
        (
            CART,
            "listener: ild",
            "listener",
            "ild",
            "infra/web/wild",
            "no listener that serves is called ild; there are infra/web/all, ",
        ),
        (CART, "route: cart", "route", "shop/cart", "HTTPRoute shop/shop", ""),
        (CART, "route: GRPCRoute shop", "route", "GRPCRoute shop/shop", "HTTPRoute shop/shop", ""),
        (
            CART,
            "route: shop, rule: plain",
            "rule",
            "plain",
            "0 (cart)",
            "HTTPRoute shop/shop rule 4 (path under /plain): path: the path is /cart/7",
        ),
        (
            'url: "http://shop.a.example/cart"',
            "route: shop",
            "route",
            "shop/shop",
            "none (404 no_rule)",
            "HTTPRoute shop/shop rule 0 (path under /cart, method POST): method: the method is GET",
        ),
        (NOBODY, "rule: 0", "rule", "0", "none (404 no_route)", ""),
        (
            CART,
            "backends: [{name: one, weight: 90}, {name: two, weight: 10}]",
            "backends",
            "shop/one 90 %, shop/two 10 %",
            "shop/one:80 75 %, shop/two:80 25 %",
            "",
        ),
        (CART, "backends: [{name: one}]", "backends", "shop/one", "shop/one:80 75 %, shop/two:80 25 %", ""),
        (
            CART,
            "backends: [{name: one}, {name: two}, {name: three}]",
            "backends",
            "shop/one, shop/two, shop/three",
            "shop/one:80 75 %, shop/two:80 25 %",
            "",
        ),
        (
            CART,
            "backends: [{name: one, port: 81}, {name: two}]",
            "backends",
            "shop/one:81, shop/two",
            "shop/one:80 75 %, shop/two:80 25 %",
            "",
        ),
        (
            PLAIN,
            "backends: [{name: two, namespace: other}]",
            "backends",
            "other/two",
            "shop/two:80 100 %",
            "",
        ),
        (NOBODY, "backends: [{name: two}]", "backends", "shop/two", "404 no_route", ""),
        (OLD, "backends: [{name: two}]", "backends", "shop/two", "the rule itself 100 % (answers 301 redirect)", ""),
        (
            GONE,
            "backends: [{name: missing}, {name: two}]",
            "backends",
            "shop/missing, shop/two",
            "shop/missing:80 50 % (answers 500 backend_not_found), shop/two:80 50 %",
            "",
        ),
        (CART, "backendSees: {path: /cart/7}", "backendSees.path", "/cart/7", "/basket/7", ""),
        (CART, "backendSees: {host: a}", "backendSees.host", "a", "inner.example", ""),
        (CART, "backendSees: {method: GET}", "backendSees.method", "GET", "POST", ""),
        (
            CART,
            "backendSees: {headers: [{name: x-who, value: them}]}",
            "backendSees.headers[0]",
            "x-who: them",
            "x-who: us",
            "",
        ),
        (
            CART,
            "backendSees: {headers: [{name: x-secret}]}",
            "backendSees.headers[0]",
            "x-secret is there",
            "x-secret is absent",
            "",
        ),
        (CART, "backendSees: {absent: [X-Who]}", "backendSees.absent[0]", "X-Who is absent", "X-Who: us", ""),
        (OLD, "backendSees: {path: /old}", "backendSees", "a request to a backend", "301 redirect", ""),
        (
            'url: "tcp://:5432"',
            "backendSees: {path: /}",
            "backendSees",
            "a request",
            "a stream, of which the gateway reads no requests",
            "",
        ),
        (
            CART,
            "clientSees: {absent: [x-other]}",
            "clientSees.absent[0]",
            "x-other is absent",
            "x-other as the backend sends it",
            "",
        ),
        (
            PLAIN,
            "clientSees: {headers: [{name: server, value: ours}]}",
            "clientSees.headers[0]",
            "server: ours",
            "server as the backend sends it",
            "",
        ),
        (PLAIN, "status: 200", "status", "200", "a backend answers", "the status of a backend's answer"),
        (NOBODY, "status: 200", "status", "200", "404 no_route", ""),
        (NOBODY, "reason: no_rule", "reason", "no_rule", "404 no_route", ""),
        (
            OLD,
            'redirect: "https://new.example/old"',
            "redirect",
            "https://new.example/old",
            "http://new.example/old",
            "",
        ),
        (PLAIN, 'redirect: "https://a/"', "redirect", "https://a/", "a backend answers", ""),
        (PLAIN, "refused: true", "refused", "true", "a backend answers", ""),
        (NOBODY, "refused: false", "refused", "false", "404 no_route", ""),
        ('url: "tcp://:5433"', "refused: false", "refused", "false", "the connection ends: no_route", ""),
        (TLS, "certificate: shop.a.example", "certificate", "shop.a.example", "*.a.example", ""),
        (PLAIN, 'certificate: "*.a.example"', "certificate", "*.a.example", "none", "ask with https://"),
    ],
)
def test_a_difference_is_told_with_what_is_and_what_may_help(
    files: dict[str, bytes | None], request_: str, expect: str, field: str, expected: str, actual: str, hint: str
) -> None:
    found = failure(files, request_, expect)
    assert (found.field, found.expected, found.actual) == (f"expect.{field}", expected, actual)
    assert hint in found.hint
    lines = (MANIFESTS + TEST % (request_, expect)).splitlines()
    assert lines[found.origin.line - 1].lstrip().startswith("expect:")


def test_a_request_that_cannot_be_asked_fails_its_test(files: dict[str, bytes | None]) -> None:
    found = failure(files, 'url: "grpc://shop.a.example/call"', "refused: true")
    assert (found.field, found.expected) == ("request", "a request")
    assert "write a call as grpc://" in found.actual


def test_every_difference_of_a_test_is_told(files: dict[str, bytes | None]) -> None:
    (result,) = run(files, CART, "listener: all, rule: 3, backends: [{name: a}], backendSees: {path: /a}").results
    assert [each.field for each in result.failures] == [
        "expect.listener", "expect.rule", "expect.backends", "expect.backendSees.path",
    ]  # fmt: skip


def test_reasons_are_looked_for_a_bounded_number_of_times(
    files: dict[str, bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "MAX_REASONS", 2)
    text = MANIFESTS + TEST % (CART, "listener: all") + "".join(
        f"    - {{name: t{n}, request: {{{CART}}}, expect: {{listener: all}}}}\n" for n in range(3)
    )  # fmt: skip
    source = Source("tests.yaml", text.encode())
    report = run_tests(compiled([source], CompileOptions(), lambda _: files), [source])
    assert [len(each.failures) for each in report.results] == [1] * 4
    hints = [bool(each.failures[0].hint) for each in report.results]
    assert hints == [True, True, False, False]
    assert [each.failures[0].origin.line for each in report.results][-3:] == [
        len(text.splitlines()) - n for n in (2, 1, 0)
    ]
