"""DNS clusters: resolve off the loop, refresh at an interval, keep the last answer when a lookup fails."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from gatewayproxy.model.plan import Endpoint

__all__ = ["REFRESH_S", "resolve_forever"]

log = logging.getLogger(__name__)

REFRESH_S: Final = 10.0  # the system resolver tells no TTL; this is how old an answer may become
RETRY_S: Final = 2.0
_TIMEOUT_S: Final = 5.0


async def resolve_forever(name: Endpoint, on_answer: Callable[[tuple[Endpoint, ...]], None]) -> None:
    """Call *on_answer* with the sorted addresses of *name* at each change, and with () after each failed lookup."""
    known: tuple[Endpoint, ...] | None = None
    while True:
        try:
            found = await _resolve(name)
        except (OSError, UnicodeError, TimeoutError) as error:
            log.warning("dns_failed name=%s error=%r kept=%d", name.host, str(error), len(known or ()))
            on_answer(())
            await asyncio.sleep(RETRY_S)
            continue
        if found != known:
            known = found
            on_answer(found)
        await asyncio.sleep(REFRESH_S)


async def _resolve(name: Endpoint) -> tuple[Endpoint, ...]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_TIMEOUT_S):
        answers = await loop.getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
    return tuple(sorted({Endpoint(str(address[0]), name.port) for *_, address in answers}))
