"""What follows a failed accept(2), whoever calls it and however the socket is watched."""

from __future__ import annotations

import errno
import logging
from enum import Enum
from typing import Final

__all__ = ["RETRY_S", "Next", "after_failure"]

log = logging.getLogger(__name__)

RETRY_S: Final = 0.1  # pause after running out of descriptors or memory
_HINT: Final = "raise the open files limit (ulimit -n), or lower --connections"
_ENDED: Final = "this socket accepts no more: restart the gateway"
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# accept(2): errors of the connection that was about to be taken, not of the listening socket.
_CLIENT_GONE: Final = frozenset(
    {
        errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENOPROTOOPT, errno.ENETDOWN, errno.EHOSTDOWN,
        errno.ENONET, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EINTR,
    }
)  # fmt: skip


class Next(Enum):
    """What to do with a listening socket."""

    ANOTHER = 1  # the next connection may be well
    LATER = 2  # try again in RETRY_S: connections wait in the accept queue, unharmed
    NEVER = 3  # the socket is of no use


def after_failure(error: OSError, listener: str, *, told: bool = False) -> Next:
    """Judge a failed accept(2) of *listener* and log it; *told*: that descriptors ran out is known already."""
    if error.errno in _CLIENT_GONE:
        return Next.ANOTHER
    if error.errno in _EXHAUSTED:
        if not told:
            log.warning("accept_paused listener=%s error=%r hint=%r", listener, error.strerror, _HINT)
        return Next.LATER
    log.error("accept_failed listener=%s error=%r hint=%r", listener, error.strerror, _ENDED)
    return Next.NEVER
