"""Every pairing of HTTP/1.1 and HTTP/2, of client and endpoint, through the whole data plane."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatewayproxy.model.limits import Limits
from gatewayproxy.routing.table import HostIndex, Mirror
from tests.support.backend import until
from tests.support.pairings import ENDPOINTS, FRONTS, Fields, Pairing, Script, pairings
from tests.support.worker import cluster, forward, serve, vhost

MIB = 1 << 20


@pairings
async def test_a_request_arrives_as_it_was_sent_and_its_answer_as_it_was_given(pair: Pairing) -> None:
    script = Script(status=201, fields=(("x-answer", "yes"), ("content-length", "5")), body=b"hello")
    async with pair.run(script) as (front, seen, served):
        await front.open("POST", "/a/b?c=d", (("X-Ask", "1"), ("Cookie", "a=b; c=d")), length=4)
        await front.send(b"body")
        await front.end()
        status, fields = await front.head()
        body, trailers = await front.rest()
        assert (seen.method, seen.path, seen.host, seen.body) == ("POST", "/a/b?c=d", "a.test", b"body")
        assert (seen.fields["x-ask"], seen.fields["cookie"], seen.fields["content-length"]) == ("1", "a=b; c=d", "4")
        assert seen.fields["x-forwarded-for"] == "127.0.0.1"
        assert (status, fields["x-answer"], fields["content-length"], body) == (201, "yes", "5", b"hello")
        assert not trailers
        await until(lambda: served.records)
        (record,) = served.records
        assert (record.status, record.reason, record.bytes_in, record.bytes_out) == (201, "", 4, 5)
        assert record.request_id.decode() == seen.fields["x-request-id"]


@pairings
async def test_bodies_and_trailers_stream_both_ways(pair: Pairing) -> None:
    async with pair.run(Script(echoes=True)) as (front, seen, _):
        await front.open("POST", "/", (), length=None)
        assert (await front.head())[0] == 200  # before any of the body
        sent = b""
        for number in range(5):
            piece = b"message %d;" % number
            await front.send(piece)
            sent += piece
            assert await front.body(len(sent)) == sent
        await front.end((("x-sum", "12"),))
        assert await front.rest() == (sent, {"x-sum": "12"})
        assert seen.trailers == {"x-sum": "12"}


@pairings
async def test_big_bodies_pass_both_ways(pair: Pairing) -> None:
    body = bytes(range(256)) * (3 * MIB // 256)
    async with pair.run(Script(echoes=True)) as (front, _, _served):
        await front.open("PUT", "/", (), length=None)
        assert (await front.head())[0] == 200
        for at in range(0, len(body), 65_536):
            await front.send(body[at : at + 65_536])
            await front.body(at)
        await front.end()
        assert (await front.rest())[0] == body


@pairings
async def test_a_body_of_known_length_and_one_of_unknown_length_come_back(pair: Pairing) -> None:
    for script in (
        Script(fields=(("content-length", "3"),), body=b"abc"),
        Script(body=b"abc", known_length=False),
        Script(body=b"abc", known_length=False, trailers=(("grpc-status", "0"),)),
    ):
        async with pair.run(script) as (front, _, _served):
            await front.open("GET", "/", (), length=0)
            assert (await front.head())[0] == 200
            assert await front.rest() == (b"abc", dict(script.trailers))


@pairings
@pytest.mark.parametrize(
    ("method", "status", "fields"),
    [
        pytest.param("HEAD", 200, (("content-length", "99"),), id="HEAD"),
        pytest.param("HEAD", 200, (), id="HEAD without a length"),
        pytest.param("GET", 204, (), id="204"),
        pytest.param("GET", 304, (("etag", "x"),), id="304"),
        pytest.param("GET", 200, (("content-length", "0"),), id="an empty body"),
    ],
)
async def test_an_answer_without_body_ends_with_its_head(
    pair: Pairing, method: str, status: int, fields: Fields
) -> None:
    async with pair.run(Script(status=status, fields=fields, bodiless=True)) as (front, _, _served):
        for _ in range(2):  # the connections are in order behind it
            await front.open(method, "/", (), length=0)
            got, got_fields = await front.head()
            assert got == status
            assert dict(fields).items() <= got_fields.items()
            assert await front.rest() == (b"", {})


@pairings
async def test_interim_answers_pass(pair: Pairing) -> None:
    script = Script(interim=(100, 103), fields=(("content-length", "2"),), body=b"ok")
    async with pair.run(script) as (front, seen, _):
        await front.open("POST", "/", (("Expect", "100-continue"),), length=1)
        await front.send(b"x")
        await front.end()
        assert (await front.head())[0] == 200
        assert (await front.rest())[0] == b"ok"
        assert front.interim == [100, 103]  # type: ignore[attr-defined]
        assert seen.fields["expect"] == "100-continue"


@pairings
@pytest.mark.parametrize(("n", "status"), [(10, 200), (100, 502)])
async def test_interim_answers_are_no_larger_than_a_head_in_all(pair: Pairing, n: int, status: int) -> None:
    script = Script(interim=(103,) * n, fields=(("content-length", "2"),), body=b"ok")
    async with pair.run(script, Limits(head_bytes=1024)) as (front, _, served):
        await front.open("GET", "/", (), length=0)
        assert (await front.head())[0] == status
        await until(lambda: served.records)
        assert served.records[0].reason == ("" if status == 200 else "bad_response")


@pairings
async def test_an_early_answer_comes_before_the_request_is_over(pair: Pairing) -> None:
    script = Script(status=403, fields=(("content-length", "2"),), body=b"no", waits=False)
    async with pair.run(script) as (front, _, served):
        await front.open("PUT", "/", (), length=None)
        await front.send(b"something")
        assert (await front.head())[0] == 403
        assert (await front.rest())[0] == b"no"
        await until(lambda: served.records)
        assert [(record.status, record.reason) for record in served.records] == [(403, "")]


@pairings
async def test_a_client_that_goes_away_cancels_its_request_at_the_endpoint(pair: Pairing) -> None:
    async with pair.run(Script(hangs=True)) as (front, seen, served):
        await front.open("GET", "/", (), length=0)
        await until(lambda: seen.method)
        front.cancel()
        await until(lambda: seen.cancelled)
        await until(lambda: served.records)
        assert [record.reason for record in served.records] == ["client_closed"]


@pairings
async def test_an_endpoint_that_breaks_off_cuts_the_answer(pair: Pairing) -> None:
    script = Script(fields=(("content-length", "9"),), body=b"part", breaks_off=True)
    async with pair.run(script) as (front, _, served):
        await front.open("GET", "/", (), length=0)
        assert (await front.head())[0] == 200
        assert await front.broken()
        await until(lambda: served.records)
        assert served.records[0].reason in ("upstream_closed", "upstream_reset")


@pairings
async def test_no_answer_in_time_is_told(pair: Pairing) -> None:
    async with pair.endpoint(Script(hangs=True)) as seen:
        target = replace(cluster(seen.number), protocol=pair.protocol)
        entry = replace(forward(target), backend_timeout_s=0.5)
        with serve(HostIndex(exact={b"a.test": vhost({b"": entry})})) as served:
            async with pair.front(served.number) as front:
                await front.open("GET", "/", (), length=0)
                assert (await front.head())[0] == 504
                await until(lambda: seen.cancelled)


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("back", ENDPOINTS)
@pytest.mark.parametrize("copy", ENDPOINTS)
@pytest.mark.parametrize("length", [8, None], ids=["of known length", "of unknown length"])
async def test_a_mirror_gets_the_same_whatever_it_speaks(front: str, back: str, copy: str, length: int | None) -> None:
    (endpoint, protocol), (mirror, mirror_protocol) = ENDPOINTS[back], ENDPOINTS[copy]
    script = Script(fields=(("content-length", "2"),), body=b"ok")
    async with endpoint(script) as seen, mirror(script) as copied:
        target = replace(cluster(seen.number), protocol=protocol)
        other = replace(cluster(copied.number, name="default/copy:80"), protocol=mirror_protocol)
        entry = forward(target, mirrors=(Mirror(cluster=other, numerator=1, denominator=1),))
        with serve(HostIndex(exact={b"a.test": vhost({b"": entry})})) as served:
            async with FRONTS[front](served.number) as ask:  # type: ignore[operator]
                await ask.open("POST", "/m", (), length=length)
                await ask.send(b"half")
                await ask.send(b"half")
                await ask.end()
                assert (await ask.head())[0] == 200
                assert (await ask.rest())[0] == b"ok"
            await until(lambda: copied.body)
    assert (copied.method, copied.path, copied.body) == ("POST", "/m", b"halfhalf")
    assert seen.body == copied.body
