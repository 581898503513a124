"""Which origins a CORS filter lets read an answer, and what it says to them."""

import pytest

from gatewayproxy.model.traffic import ANY, Cors
from gatewayproxy.wire.origins import MAX_ORIGIN_BYTES, actual_lines, normal_origin, preflight_lines

A = b"https://a.example"


def allowed(origin: bytes, *configured: bytes) -> bool:
    cors = Cors(origins=tuple(normal_origin(each) for each in configured))
    lines = actual_lines(cors, origin)
    assert lines.startswith(b"vary: origin\r\n")
    rest = lines.removeprefix(b"vary: origin\r\n")
    assert rest in (b"", b"access-control-allow-origin: %b\r\n" % origin)
    return bool(rest)


@pytest.mark.parametrize(
    ("configured", "origin"),
    [
        pytest.param(A, A, id="as written"),
        pytest.param(A, b"https://A.example", id="whatever its case"),
        pytest.param(b"https://a.example:443", A, id="the scheme's own port, where we wrote it"),
        pytest.param(A, b"https://a.example:443", id="the scheme's own port, where the client wrote it"),
        pytest.param(b"http://a.example:80", b"http://a.example", id="that of http"),
        pytest.param(b"http://a.example:8080", b"http://a.example:8080", id="another port"),
        pytest.param(b"https://*.example", b"https://x.example", id="one label"),
        pytest.param(b"https://*.example", b"https://x.y-z.example", id="any number of labels"),
        pytest.param(b"https://*.example:8443", b"https://x.example:8443", id="labels before a port"),
        pytest.param(b"https://*", b"https://x.y", id="any host of a scheme"),
        pytest.param(b"http://*:8080", b"http://x.y:8080", id="any host with a port"),
        pytest.param(b"http://localhost:3000", b"http://localhost:3000", id="a name without a dot"),
    ],
)
def test_an_origin_is_allowed_as(configured: bytes, origin: bytes) -> None:
    assert allowed(origin, b"https://other.example", configured)


@pytest.mark.parametrize(
    ("configured", "origin"),
    [
        pytest.param(A, b"http://a.example", id="another scheme"),
        pytest.param(A, b"https://a.example:8443", id="a port that is not there"),
        pytest.param(b"https://a.example:8443", A, id="without the port that is"),
        pytest.param(A, b"https://a.example.evil", id="a longer name"),
        pytest.param(A, b"https://xa.example", id="a name in front"),
        pytest.param(A, b"https://axexample", id="a dot is a dot"),
        pytest.param(b"https://*.example", b"https://example", id="no label at all"),
        pytest.param(b"https://*.example", b"https://.example", id="an empty label"),
        pytest.param(b"https://*.example", b"https://evil/.example", id="a path"),
        pytest.param(b"https://*.example", b"https://evil:1.example", id="a port within"),
        pytest.param(b"https://*.example", b"https://u@x.example", id="a user"),
        pytest.param(b"https://*.example", b"https://x.example:1", id="a port that no pattern has"),
        pytest.param(b"https://*", b"https://x:1", id="a port with any host"),
        pytest.param(b"https://*", b"http://x", id="any host, another scheme"),
        pytest.param(b"https://*", b"https://", id="no host"),
        pytest.param(A, b"null", id="a page without an origin"),
        pytest.param(A, b"https://a.example, https://a.example", id="a list"),
        pytest.param(A, b"", id="nothing"),
        pytest.param(b"https://*.example", b"https://%b.example" % (b"a" * MAX_ORIGIN_BYTES), id="too long"),
    ],
)
def test_an_origin_is_not_allowed_as(configured: bytes, origin: bytes) -> None:
    assert not allowed(origin, configured)


def test_a_long_origin_is_judged_in_time() -> None:
    origin = b"https://" + b"a." * 250 + b"!"
    assert not allowed(origin, *(b"https://*.x%d.example" % n for n in range(64)))


def lines_of(cors: Cors, method: bytes = b"PUT", headers: bytes | None = b"x-a, x-b") -> dict[bytes, bytes]:
    pairs = (line.split(b": ", 1) for line in preflight_lines(cors, A, method, headers).split(b"\r\n")[:-1])
    return {name.removeprefix(b"access-control-"): value for name, value in pairs}


@pytest.mark.parametrize(
    ("cors", "said"),
    [
        pytest.param(Cors(), {}, id="no origins, nothing"),
        pytest.param(Cors(origins=(b"https://b.example",)), {}, id="another origin, nothing"),
        pytest.param(Cors(origins=ANY), {b"allow-origin": b"*", b"max-age": b"5"}, id="any"),
        pytest.param(
            Cors(origins=ANY, methods=ANY, headers=ANY, expose=ANY),
            {
                b"allow-origin": b"*",
                b"expose-headers": b"*",
                b"allow-methods": b"*",
                b"allow-headers": b"*",
                b"max-age": b"5",
            },
            id="any of all",
        ),
        pytest.param(
            Cors(origins=ANY, methods=ANY, headers=ANY, expose=ANY, credentials=True),
            {
                b"allow-origin": A,
                b"allow-credentials": b"true",
                b"allow-methods": b"PUT",
                b"allow-headers": b"x-a, x-b",
                b"max-age": b"5",
            },
            id="any of all with credentials: no star",
        ),
        pytest.param(
            Cors(origins=(A,), methods=(b"GET", b"PUT"), headers=(b"X-A",), expose=(b"X-C", b"X-D"), max_age_s=600),
            {
                b"allow-origin": A,
                b"expose-headers": b"X-C, X-D",
                b"allow-methods": b"GET, PUT",
                b"allow-headers": b"X-A",
                b"max-age": b"600",
            },
            id="lists, as configured",
        ),
    ],
)
def test_a_preflight_is_told(cors: Cors, said: dict[bytes, bytes]) -> None:
    assert lines_of(cors) == said


@pytest.mark.parametrize("headers", [None, b"", b"x-a,", b"x a", b"x-a: 1", b"x-a\x00"])
def test_a_list_of_headers_that_is_none_is_not_echoed(headers: bytes | None) -> None:
    assert b"allow-headers" not in lines_of(Cors(origins=ANY, headers=ANY, credentials=True), headers=headers)


@pytest.mark.parametrize("method", [b"", b"PUT GET", b"PUT,GET", b"P\x80"])
def test_a_method_that_is_none_is_not_echoed(method: bytes) -> None:
    assert b"allow-methods" not in lines_of(Cors(origins=ANY, methods=ANY, credentials=True), method)


def test_only_answers_that_depend_on_the_origin_vary_by_it() -> None:
    assert b"vary" not in actual_lines(Cors(origins=ANY), A)
    assert b"vary" not in actual_lines(Cors(), A)
    assert actual_lines(Cors(origins=(A,)), None) == b"vary: origin\r\n"
    assert actual_lines(Cors(origins=ANY, credentials=True), None) == b"vary: origin\r\n"
