"""An ext_authz server of grpcio in a process of its own: `python -m tests.support.ext_authz_server`.

Prints its port, serves until its standard input ends. The request's field x-answer has the CheckResponse in base64;
`fail` ends the call UNAVAILABLE, `hang` never. Without it the request passes, with the CheckRequest in x-question, in
base64.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import grpc
import grpc.aio

from tests.support.ext_authz import METHOD, SERVICE, CheckRequest, CheckResponse

__all__ = ["ext_authz_server"]


@contextmanager
def ext_authz_server() -> Iterator[int]:
    """Run the server; yield its port on 127.0.0.1."""
    command = [sys.executable, "-m", "tests.support.ext_authz_server"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def check(message: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    request = CheckRequest.FromString(message)
    headers = {entry.key: entry.value for entry in request.attributes.request.http.headers}
    answer = headers.get("x-answer")
    if answer == "fail":
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not today")
    if answer == "hang":
        await asyncio.Event().wait()
    if answer is not None:
        return b64decode(answer)
    response = CheckResponse()
    header = response.ok_response.headers.add().header
    header.key, header.value = "x-question", b64encode(message).decode()
    made: bytes = response.SerializeToString()
    return made


async def main() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers = {METHOD: grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
    os._exit(0)  # calls that hang are no reason to stay
