"""Kernel benchmark of the HTTP/2 codec: CPU per stream of a server, no sockets.

    python -m benchmarks.h2.bench [--streams 20000] [--rounds 7]

A stream is a GET of 12 fields and its answer, a head of 6 fields and 128 bytes. The client's bytes are made beforehand,
in reads of 32 streams; every read is answered with one write, as a connection does in one turn of the loop.
"same" asks for one path again and again, "paths" for another each time as a literal that is not indexed, "indexed"
for another each time that goes into the dynamic table, "calls" posts 128 bytes too. The h2 library answers the same
bytes. Times are CPU microseconds of this process, median of the rounds, the two in turns.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from statistics import median
from time import process_time

from gatewayproxy.model.limits import Limits
from gatewayproxy.wire import h2events, h2frames
from gatewayproxy.wire.h2 import H2Server

PER_READ = 32
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
REQUEST = [
    (":scheme", "https"), (":authority", "shop.example.com"), ("user-agent", AGENT), ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate, br, zstd"), ("accept-language", "en-GB,en;q=0.9"), ("x-tenant", "blue"),
    ("cookie", "session=0123456789abcdef"), ("referer", "https://shop.example.com/basket"), ("priority", "u=1, i"),
]  # fmt: skip
RESPONSE = [
    (b":status", b"200"), (b"content-type", b"application/json"), (b"content-length", b"128"), (b"server", b"shop"),
    (b"cache-control", b"no-store"), (b"x-backend", b"a"),
]  # fmt: skip
BODY = bytes(128)


def reads(shape: str, n: int) -> list[bytes]:
    """Return what a client sends: a preface, then *n* streams."""
    import hpack

    encoder = hpack.Encoder()
    method = "POST" if shape == "calls" else "GET"
    hello = h2frames.PREFACE + h2frames.settings_frame([(h2frames.Setting.INITIAL_WINDOW_SIZE, 1 << 30)])
    out = [hello + h2frames.number_frame(h2frames.WINDOW_UPDATE, 0, 1 << 30)]
    parts = []
    for index in range(n):
        path = "/v1/items" if shape in ("same", "calls") else f"/v1/items/{index}"
        sensitive = shape == "paths"  # for this encoder: a literal that is not indexed
        block = encoder.encode([(":method", method), (":path", path, sensitive), *REQUEST])
        flags = h2frames.END_HEADERS | (0 if shape == "calls" else h2frames.END_STREAM)
        parts.append(h2frames.frame(h2frames.HEADERS, flags, 2 * index + 1, block))
        if shape == "calls":
            parts.append(h2frames.frame(h2frames.DATA, h2frames.END_STREAM, 2 * index + 1, BODY))
        if len(parts) >= PER_READ:
            out.append(b"".join(parts))
            parts = []
    return out


def ours(data: list[bytes]) -> int:
    """Serve *data*; return the number of answers."""
    server = H2Server(Limits(), 0.0)
    n = 0
    for read in data:
        for event in server.receive(read, 0.0):
            kind = event[0]
            if kind == h2events.HEADERS and event[3]:
                stream = event[1]
            elif kind == h2events.DATA and event[3]:
                stream = event[1]
                server.consumed(stream, len(event[2]))
            else:
                continue
            server.send_headers(stream, RESPONSE)
            server.send_data(stream, BODY, end=True)
            n += 1
        server.take_output()
    return n


def library(data: list[bytes]) -> int:
    """Serve *data* with the h2 library."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import DataReceived, StreamEnded

    server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    server.initiate_connection()
    n = 0
    for read in data:
        for event in server.receive_data(read):
            if isinstance(event, StreamEnded):
                server.send_headers(event.stream_id, RESPONSE)
                server.send_data(event.stream_id, BODY, end_stream=True)
                n += 1
            elif isinstance(event, DataReceived):
                server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        server.data_to_send()
    return n


def timed(serve: Callable[[list[bytes]], int], data: list[bytes], n: int) -> float:
    """Return CPU microseconds per stream."""
    gc.collect()
    before = process_time()
    if serve(data) != n:
        raise SystemExit("bench: streams were lost")
    return (process_time() - before) / n * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for shape in ("same", "paths", "indexed", "calls"):
        n = options.streams - options.streams % PER_READ
        data = reads(shape, n)
        few = data[: max(len(data) // 20, 2)]
        n_few = (len(few) - 1) * (PER_READ if shape != "calls" else PER_READ // 2)
        rows = [(timed(ours, data, n), timed(library, few, n_few)) for _ in range(options.rounds)]
        mine, theirs = (median(row[side] for row in rows) for side in (0, 1))
        print(f"{shape:8} ours {mine:6.2f} us a stream   h2 library {theirs:6.1f}   {theirs / mine:.0f}x")


if __name__ == "__main__":
    main()
