"""DNS clusters: resolve off the loop, refresh at an interval, keep the last answer when a lookup fails."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from math import inf
from typing import Final, NamedTuple

from gatewayproxy.model.plan import Endpoint

__all__ = ["resolve_forever"]

log = logging.getLogger(__name__)

REFRESH_S: Final = 10.0  # the system resolver tells no TTL; this is how old an answer may become
RETRY_S: Final = 2.0
TOLD_S: Final = 60.0  # between two lines of the log for one name that goes on failing alike
_TIMEOUT_S: Final = 5.0
_HINT: Final = "check the name in the manifests, and the resolver of this machine"


class _Told(NamedTuple):
    """What the log said last of a name that fails, and when (loop time)."""

    error: str = ""
    at: float = -inf


async def resolve_forever(name: Endpoint, on_answer: Callable[[tuple[Endpoint, ...]], None]) -> None:
    """Call *on_answer* with the sorted addresses of *name* at each change, and with () after each failed lookup."""
    known: tuple[Endpoint, ...] | None = None
    told = _Told()
    while True:
        try:
            found = await _resolve(name)
        except (OSError, UnicodeError, TimeoutError) as error:
            told = _tell(told, name, str(error) or f"no answer in {_TIMEOUT_S:g} s", len(known or ()))
            on_answer(())
            await asyncio.sleep(RETRY_S)
            continue
        told = _Told()
        if found != known:
            known = found
            on_answer(found)
        await asyncio.sleep(REFRESH_S)


def _tell(told: _Told, name: Endpoint, error: str, n_kept: int) -> _Told:
    now = asyncio.get_running_loop().time()
    if error == told.error and now < told.at + TOLD_S:
        return told
    log.warning("dns_failed name=%s error=%s kept=%d hint=%s", name.host, error, n_kept, _HINT)
    return _Told(error, now)


async def _resolve(name: Endpoint) -> tuple[Endpoint, ...]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_TIMEOUT_S):
        answers = await loop.getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
    return tuple(sorted({Endpoint(str(address[0]), name.port) for *_, address in answers}))
