"""nginx as an HTTP/2 endpoint that ends its connections with GOAWAY while requests are coming."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gatewayproxy.model.protocols import AppProtocol
from gatewayproxy.routing.table import HostIndex
from tests.support.h2client import h2_session
from tests.support.peers import require, serving
from tests.support.ports import free_port
from tests.support.worker import cluster, forward, serve, vhost

_CONFIG = """\
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off; keepalive_requests {requests};
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} http2; http2_max_concurrent_streams {streams};
    location / {{ return 200 "$request_method $http_x_number $connection"; }}
  }}
}}
"""


@asynccontextmanager
async def nginx(folder: Path, *, requests: int, streams: int) -> AsyncIterator[int]:
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, requests=requests, streams=streams))
    command = [require("nginx"), "-p", folder, "-c", config, "-e", folder / "error.log"]
    async with serving(command, ("127.0.0.1", port), folder / "nginx.log"):
        yield port


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_request_is_lost_where_connections_end_all_the_time(tmp_path: Path, method: str) -> None:
    async with nginx(tmp_path, requests=7, streams=5) as port:
        target = replace(cluster(port), protocol=AppProtocol.H2C)
        with serve(HostIndex(exact={b"a.test": vhost({b"": forward(target)})})) as served:
            async with h2_session(served.number) as session:
                numbers = iter(range(400))
                connections = set()
                for _ in range(5):
                    asked = {
                        session.request("/", method=method, fields=[("x-number", str(number))]): number
                        for number, _ in zip(numbers, range(80), strict=False)
                    }
                    for stream_id, number in asked.items():
                        answer = await session.answer(stream_id)
                        said = bytes(answer.body).decode().split()
                        assert (answer.status, said[:2]) == (200, [method, str(number)])
                        connections.add(said[2])
        assert len(connections) >= 400 // 8
        assert all(record.status == 200 for record in served.records)
