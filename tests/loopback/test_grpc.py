"""gRPC through the whole data plane: answers of the gateway's own, and deadlines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import unquote

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.model.plan import Cluster, Endpoint, Refusal
from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.routing.table import BackendChoice, HostIndex, ListenerLabel, RouteEntry
from tests.support.backend import client, until
from tests.support.grpc_peers import CLIENTS, SERVICE
from tests.support.grpc_web import frame
from tests.support.h2backend import H2Backend, H2Call, h2_backend
from tests.support.h2client import Answer, h2_session
from tests.support.worker import Served, entry, serve, vhost

CANCEL = 8
GRPC = ("content-type", "application/grpc+proto")
CALL = [GRPC, ("te", "trailers")]
OTHER = ListenerLabel(1, "default/gw/other")


def h2c(number: int, name: str = "default/app:80") -> Cluster:
    return Cluster(name=name, protocol=AppProtocol.H2C, endpoints=(Endpoint("127.0.0.1", number),))


def to(target: Cluster, **rest: object) -> RouteEntry:
    return entry(BackendChoice(name=target.name, cluster=target), **{"grpc": True, **rest})


def refusing(reason: str, status: int) -> RouteEntry:
    return entry(BackendChoice(name="default/bad:80", refusal=Refusal(status, reason, "why")), grpc=True)


@asynccontextmanager
async def gateway(
    behaviour: Callable[[H2Call], Awaitable[None]], limits: Limits | None = None, *, log: bool = True, **rest: object
) -> AsyncIterator[tuple[Served, H2Backend]]:
    """Serve a.test by an endpoint; *rest* is of the entry."""
    async with h2_backend(behaviour) as endpoint:
        index = HostIndex(exact={b"a.test": vhost({b"": to(h2c(endpoint.number), **rest)})})
        with serve(index, limits=limits, log=log) as served:
            yield served, endpoint


async def hang(call: H2Call) -> None:
    await call.until(lambda: call.reset is not None)


async def hang_behind_head(call: H2Call) -> None:
    call.head(200, GRPC)
    await hang(call)


def told(answer: Answer) -> tuple[int, str, str]:
    """Return (HTTP status, grpc-status, the reason in grpc-message) of a Trailers-Only answer."""
    fields = dict(answer.fields)
    assert (fields[b"content-type"], bytes(answer.body), answer.trailers) == (b"application/grpc", b"", [])
    assert answer.ended
    assert b"date" in fields
    message = unquote(fields[b"grpc-message"].decode("ascii"))
    return answer.status, fields[b"grpc-status"].decode(), message.partition(":")[0]


ANSWERED = {
    "/none": ("12", "no_rule"),
    "/bad": ("14", "backend_not_found"),
    "/denied": ("14", "ref_not_permitted"),
    "/filter": ("13", "filter_unsupported"),
    "/empty": ("14", "no_endpoints"),
    "/down": ("14", "connect_failed"),
}


def answering() -> HostIndex:
    entries = {
        b"/bad": refusing("backend_not_found", 500),
        b"/denied": refusing("ref_not_permitted", 500),
        b"/filter": refusing("filter_unsupported", 500),
        b"/empty": to(Cluster(name="default/empty:80", protocol=AppProtocol.H2C)),
        b"/down": to(h2c(1, "default/down:80")),
    }
    return HostIndex(exact={b"a.test": vhost(entries)})


@pytest.mark.parametrize("path", ANSWERED)
async def test_the_gateway_answers_a_call_with_trailers_only(path: str) -> None:
    with serve(answering()) as served:
        async with h2_session(served.number) as session:
            answer = await session.ask(path, method="POST", fields=CALL, body=frame(b"x"))
    assert told(answer) == (200, *ANSWERED[path])
    (record,) = served.records
    assert (record.status, record.grpc_status, record.reason) == (200, *ANSWERED[path])
    assert served.reasons() == {ANSWERED[path][1]: 1}


async def test_a_host_without_route_is_unimplemented() -> None:
    with serve(answering()) as served:
        async with h2_session(served.number) as session:
            answer = await session.ask("/x", method="POST", fields=CALL, host="b.test")
    assert told(answer) == (200, "12", "no_route")


@pytest.mark.parametrize("path", ["/none", "/bad", "/down"])
@pytest.mark.parametrize("kind", [None, "application/json", "application/grpcish"])
async def test_a_client_that_makes_no_call_gets_an_http_status(path: str, kind: str | None) -> None:
    with serve(answering()) as served:
        async with h2_session(served.number) as session:
            answer = await session.ask(path, method="POST", fields=[("content-type", kind)] if kind else [])
    assert answer.status == {"/none": 404, "/bad": 500, "/down": 503}[path]
    assert b"grpc-status" not in dict(answer.fields)
    (record,) = served.records
    assert (record.status, record.grpc_status) == (answer.status, "")


async def test_a_call_over_http_1_is_answered_in_the_same_way() -> None:
    with serve(answering()) as served:
        async with client(served.number) as http:
            request = (
                b"POST /none HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n"
            )
            for _ in range(2):  # the connection goes on
                status, head, body = await http.ask(request)
                assert (status, body) == (200, b"")
                assert b"\r\ncontent-type: application/grpc\r\ngrpc-status: 12\r\ngrpc-message: no_rule: " in head


@pytest.mark.parametrize("name", CLIENTS)
async def test_client_libraries_read_the_answer(name: str) -> None:
    exact = {b"/" + SERVICE.encode(): refusing("backend_not_found", 500)}
    with serve(HostIndex(default=vhost(exact))) as served:
        async with CLIENTS[name](("127.0.0.1", served.number)) as caller:
            unknown = await caller.call("/peers.Other/Any", b"x", timeout=60)
            refused = await caller.call("Count", b"3", timeout=60)
    assert (unknown.status, unknown.message.partition(":")[0]) == (12, "no_rule")
    assert (refused.status, refused.message.partition(":")[0]) == (14, "backend_not_found")


async def test_a_misdirected_call_is_told_to_go_elsewhere() -> None:
    async with gateway(hang) as (served, _):
        async with h2_session(served.number) as session:
            answer = await session.ask("/s/m", method="POST", scheme="https", fields=CALL)
    assert answer.status == 421
    assert b"grpc-status" not in dict(answer.fields)


async def test_a_message_beyond_the_limit_exhausts_a_resource() -> None:
    async with gateway(hang, Limits(body_bytes=100)) as (served, _):
        async with h2_session(served.number) as session:
            stream_id = session.request("/s/m", method="POST", fields=CALL, end=False)
            await session.send(stream_id, frame(b"x" * 200), end=False)
            answer = session.answers[stream_id]
            await session.until(lambda: answer.ended)
    assert told(answer) == (200, "8", "body_too_large")


# Deadlines


@pytest.mark.parametrize("complete", [True, False], ids=["unary", "client streaming"])
async def test_a_deadline_ends_the_call_on_both_sides(complete: bool) -> None:
    async with gateway(hang) as (served, endpoint):
        async with h2_session(served.number) as session:
            stream_id = session.request("/s/m", method="POST", fields=[*CALL, ("grpc-timeout", "1S")], end=False)
            await session.send(stream_id, frame(b"x"), end=complete)
            answer = session.answers[stream_id]
            await session.until(lambda: answer.ended)
            (call,) = endpoint.calls
            await until(lambda: call.reset is not None)
    assert told(answer) == (200, "4", "deadline_exceeded")
    assert (call[b"grpc-timeout"], call.reset) == (b"1S", CANCEL)
    (record,) = served.records
    assert (record.reason, record.grpc_status) == ("deadline_exceeded", "4")
    assert 0.99 <= record.duration_s < 60.0


async def test_a_deadline_behind_the_head_cancels_the_stream() -> None:
    async with gateway(hang_behind_head) as (served, endpoint):
        async with h2_session(served.number) as session:
            answer = await session.ask("/s/m", method="POST", fields=[*CALL, ("grpc-timeout", "1S")], body=frame(b""))
            await until(lambda: endpoint.calls[0].reset is not None)
    assert (answer.status, answer.ended, answer.reset, endpoint.calls[0].reset) == (200, False, CANCEL, CANCEL)
    assert served.records[0].reason == "deadline_exceeded"


async def test_an_endpoint_that_breaks_off_behind_its_head_is_an_internal_error() -> None:
    async def break_off(call: H2Call) -> None:
        await call.whole()
        call.head(200, GRPC)
        call.refuse(2)

    async with gateway(break_off) as (served, _):
        async with h2_session(served.number) as session:
            answer = await session.ask("/s/m", method="POST", fields=CALL, body=frame(b""))
    assert (answer.status, answer.reset) == (200, 2)
    assert served.records[0].reason == "upstream_reset"


@pytest.mark.parametrize(
    ("timeout", "rest", "reason"),
    [
        pytest.param("100S", {"request_timeout_s": 0.1}, "request_timeout", id="the rule's, if it is shorter"),
        pytest.param("100m", {"request_timeout_s": 100.0}, "deadline_exceeded", id="the call's, if it is shorter"),
        pytest.param("100S", {"backend_timeout_s": 0.1}, "upstream_timeout", id="that of an attempt"),
        pytest.param("0n", {}, "deadline_exceeded", id="one that has passed"),
        pytest.param("1n", {}, "deadline_exceeded", id="one that is about to"),
    ],
)
async def test_the_shortest_time_counts(timeout: str, rest: dict[str, float], reason: str) -> None:
    async with gateway(hang, **rest) as (served, _):
        async with h2_session(served.number) as session:
            fields = [*CALL, ("grpc-timeout", timeout)]
            answer = await session.ask("/s/m", method="POST", fields=fields, body=frame(b"x"))
    assert told(answer) == (200, "4", reason)
    assert served.records[0].duration_s < 60.0


@pytest.mark.parametrize("value", ["1", "1s", "-1S", "123456789S", "1S 2S"])
async def test_a_malformed_deadline_is_refused(value: str) -> None:
    async with gateway(hang) as (served, endpoint):
        async with h2_session(served.number) as session:
            fields = [*CALL, ("grpc-timeout", value)]
            answer = await session.ask("/s/m", method="POST", fields=fields, body=frame(b"x"))
            assert told(answer) == (200, "13", "bad_grpc_timeout")
            assert not endpoint.calls
            fields = [*CALL, ("grpc-timeout", "1S"), ("grpc-timeout", "1S")]
            assert told(await session.ask("/s/m", method="POST", fields=fields))[1] == "13"


async def test_a_deadline_means_nothing_on_other_routes() -> None:
    async def answer_it(call: H2Call) -> None:
        await call.whole()
        call.head(200, GRPC, ("grpc-status", "0"), end=True)

    async with gateway(answer_it, grpc=False) as (served, _):
        async with h2_session(served.number) as session:
            for value in ("0n", "soon"):
                answer = await session.ask("/s/m", method="POST", fields=[*CALL, ("grpc-timeout", value)])
                assert dict(answer.fields)[b"grpc-status"] == b"0"


async def test_a_call_that_ends_in_time_is_recorded_with_its_status() -> None:
    async def answer_by_path(call: H2Call) -> None:
        await call.whole()
        status = call[b":path"].decode().strip("/")
        if status == "5":
            call.head(200, GRPC, ("grpc-status", status), end=True)
            return
        call.head(200, GRPC)
        await call.send(frame(b"x"), end=False)
        call.trail(("grpc-status", status), ("grpc-message", "x"))

    async with gateway(answer_by_path) as (served, _):
        async with h2_session(served.number) as session:
            for path in ("/0", "/5", "/9"):
                answer = await session.ask(
                    path, method="POST", fields=[*CALL, ("grpc-timeout", "10S")], body=frame(b"x")
                )
                assert dict([*answer.fields, *answer.trailers])[b"grpc-status"] == path[1:].encode()
    assert [(each.grpc_status, each.reason, each.status) for each in served.records] == [
        ("0", "", 200), ("5", "", 200), ("9", "", 200),
    ]  # fmt: skip


async def test_a_streaming_call_may_be_silent_for_long() -> None:
    async def echo(call: H2Call) -> None:
        call.head(200, GRPC)
        await call.until(lambda: call.body)
        await call.send(bytes(call.body), end=False)
        await call.whole()
        call.trail(("grpc-status", "0"))

    async with h2_backend(echo) as endpoint:
        calls, others = to(h2c(endpoint.number)), to(h2c(endpoint.number), grpc=False)
        index = HostIndex(default=vhost({b"": calls, b"/other": others}))
        with serve(index, limits=Limits(body_timeout_s=0.5)) as served:
            async with h2_session(served.number) as session:
                silent = session.request("/s/m", method="POST", fields=CALL, end=False)
                late = session.request("/other", method="POST", fields=CALL, end=False)
                answer = session.answers[silent]
                await session.until(lambda: session.answers[late].reset is not None and answer.status)
                assert (answer.status, answer.ended, answer.reset) == (200, False, None)
                await session.send(silent, frame(b"x"))
                await session.until(lambda: answer.ended)
    assert (bytes(answer.body), answer.trailers) == (frame(b"x"), [(b"grpc-status", b"0")])
    assert sorted(each.reason for each in served.records) == ["", "body_timeout"]


async def answer_as_path_says(call: H2Call) -> None:
    """Answer /<where>/<HTTP status>/<grpc-status>: where is "head", "trailers" or "none"."""
    await call.whole()
    where, status, code = call[b":path"].decode().strip("/").split("/")
    if where == "head":
        call.head(int(status), GRPC, ("grpc-status", code), end=True)
        return
    call.head(int(status), GRPC)
    await call.send(frame(b"x"), end=where == "none")
    if where == "trailers":
        call.trail(("grpc-status", code))


@pytest.mark.parametrize("log", [True, False], ids=["access log", "no access log"])
@pytest.mark.parametrize("where", ["head", "trailers"])
async def test_calls_that_end_by_the_fault_of_a_server_are_counted(where: str, log: bool) -> None:
    by_servers = {2: "UNKNOWN", 4: "DEADLINE_EXCEEDED", 12: "UNIMPLEMENTED", 13: "INTERNAL", 14: "UNAVAILABLE",
                  15: "DATA_LOSS"}  # fmt: skip
    async with gateway(answer_as_path_says, log=log) as (served, _), h2_session(served.number) as session:
        for code in range(17):
            before = served.counted()
            answer = await session.ask(f"/{where}/200/{code}", method="POST", fields=CALL, body=frame(b"x"))
            assert dict([*answer.fields, *answer.trailers])[b"grpc-status"] == b"%d" % code
            n, errors, failed = served.counted()
            assert (n - before[0], errors, failed - before[2]) == (1, 0, code in by_servers), code


@pytest.mark.parametrize(
    ("path", "counted"),
    [
        pytest.param("/none/200/-", (1, 0, 0), id="no status at all"),
        pytest.param("/none/404/-", (1, 0, 1), id="404 is UNIMPLEMENTED to a client"),
        pytest.param("/none/403/-", (1, 0, 0), id="403 is PERMISSION_DENIED"),
        pytest.param("/none/503/-", (1, 1, 0), id="class 5xx says it"),
        pytest.param("/head/503/14", (1, 1, 0), id="class 5xx says it, too"),
        pytest.param("/head/404/5", (1, 0, 0), id="grpc-status outweighs the HTTP status"),
        pytest.param("/head/200/99", (1, 0, 0), id="a code that there is not"),
    ],
)
async def test_a_call_without_grpc_status_is_counted_as_its_client_takes_it(
    path: str, counted: tuple[int, int, int]
) -> None:
    async with gateway(answer_as_path_says) as (served, _), h2_session(served.number) as session:
        await session.ask(path, method="POST", fields=CALL, body=frame(b"x"))
        assert served.counted() == counted


@pytest.mark.parametrize(("path", "failed"), [("/down", 1), ("/bad", 1), ("/none", 0)])
async def test_calls_that_the_gateway_fails_itself_are_counted_by_their_rule(path: str, failed: int) -> None:
    with serve(answering()) as served:
        async with h2_session(served.number) as session:
            await session.ask(path, method="POST", fields=CALL, body=frame(b"x"))
    assert served.counted()[1:] == (0, failed)


async def test_a_call_whose_answer_breaks_off_is_counted() -> None:
    async def break_off(call: H2Call) -> None:
        await call.whole()
        call.head(200, GRPC)
        call.refuse(2)

    async with gateway(break_off) as (served, _), h2_session(served.number) as session:
        answer = await session.ask("/s/m", method="POST", fields=CALL, body=frame(b"x"))
        assert answer.reset is not None
        assert served.counted() == (1, 0, 1)


async def test_a_client_that_goes_away_is_no_failure() -> None:
    async with gateway(hang_behind_head) as (served, _):
        async with h2_session(served.number) as session:
            call = session.request("/s/m", method="POST", fields=CALL)
            await session.until(lambda: session.answers[call].status)
        await until(lambda: served.records)
        assert served.counted() == (1, 0, 0)


async def test_what_an_httproute_takes_is_not_read_for_grpc_status() -> None:
    async with gateway(answer_as_path_says, grpc=False) as (served, _), h2_session(served.number) as session:
        await session.ask("/trailers/200/14", method="POST", fields=CALL, body=frame(b"x"))
        assert served.counted() == (1, 0, 0)
