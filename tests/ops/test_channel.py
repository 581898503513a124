"""The channel between supervisor and children: frames whole, in order, with their descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

import pytest

from gatewayproxy.ops.channel import (
    MAX_FDS,
    Channel,
    ChannelError,
    Kind,
    from_json,
    pair,
    read_frame,
    to_json,
    write_frame,
)


class _End:
    """A channel that keeps what arrives."""

    def __init__(self, sock: socket.socket) -> None:
        self.frames: list[tuple[Kind, bytes, list[int]]] = []
        self.closed = asyncio.Event()
        self.arrived = asyncio.Condition()
        self.channel = Channel(sock, on_frame=self._on_frame, on_close=self.closed.set)
        self._news = asyncio.Event()

    def _on_frame(self, kind: Kind, payload: bytes, fds: list[int]) -> None:
        self.frames.append((kind, payload, fds))
        self._news.set()

    async def wait_frames(self, n: int) -> None:
        async with asyncio.timeout(60):
            while len(self.frames) < n:
                self._news.clear()
                await self._news.wait()


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 3_000_000], ids=lambda n: f"{n} bytes")
async def test_a_frame_of_any_size_arrives_whole(size: int) -> None:
    left, right = map(_End, pair())
    payload = os.urandom(size)
    left.channel.send(Kind.TABLE_SLICE, payload)
    left.channel.send(Kind.COMMIT)
    await right.wait_frames(2)
    assert right.frames == [(Kind.TABLE_SLICE, payload, []), (Kind.COMMIT, b"{}", [])]
    left.channel.close()
    right.channel.close()


async def test_descriptors_stay_with_their_frame_even_behind_a_full_socket() -> None:
    left, right = map(_End, pair())
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    left.channel.send(Kind.TABLE_SLICE, bytes(2_000_000))  # more than the socket buffer holds
    for listener in listeners:
        left.channel.send(Kind.SOCKETS, to_json(listener.getsockname()[1]), [listener])
    await right.wait_frames(4)
    for listener, (kind, payload, fds) in zip(listeners, right.frames[1:], strict=True):
        assert kind is Kind.SOCKETS
        with socket.socket(fileno=fds[0]) as received:
            assert received.getsockname()[1] == from_json(payload) == listener.getsockname()[1]
            assert not received.get_inheritable()
        listener.close()
    left.channel.close()
    right.channel.close()


async def test_one_frame_carries_as_many_descriptors_as_promised() -> None:
    left, right = map(_End, pair())
    with socket.socket() as sock:
        left.channel.send(Kind.SOCKETS, b"1", [sock] * MAX_FDS)
        await right.wait_frames(1)
    fds = right.frames[0][2]
    assert len(set(fds)) == MAX_FDS
    for fd in fds:
        os.close(fd)
    left.channel.close()
    right.channel.close()


async def test_the_end_of_the_peer_is_told_once_and_sending_then_is_harmless() -> None:
    left, right = map(_End, pair())
    left.channel.close()
    async with asyncio.timeout(60):
        await right.closed.wait()
    right.channel.send(Kind.COMMIT)
    assert right.channel.closed


async def test_a_frame_beyond_all_bounds_ends_the_channel() -> None:
    ours, theirs = pair()
    end = _End(ours)
    theirs.sendall(struct.pack("!IBB", 0xFFFFFFFF, Kind.COMMIT, 0))
    async with asyncio.timeout(60):
        await end.closed.wait()
    theirs.close()


def test_blocking_ends_understand_each_other() -> None:
    left, right = pair()
    with left, right:
        write_frame(left, Kind.COMPILE, to_json({"generation": 3}))
        kind, payload = read_frame(right)
    assert (kind, from_json(payload)) == (Kind.COMPILE, {"generation": 3})


def test_a_blocking_end_raises_when_the_peer_is_gone() -> None:
    left, right = pair()
    with right:
        left.close()
        with pytest.raises(ChannelError):
            read_frame(right)
        with pytest.raises(ChannelError):
            write_frame(right, Kind.COMMIT, bytes(1_000_000))
