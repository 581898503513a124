"""Every exception we raise, on one page, chosen by who is at fault."""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "GatewayProxyError",
    "H2Error",
    "LocalProtocolError",
    "RemoteProtocolError",
    "UpstreamError",
    "UsageError",
]


class GatewayProxyError(Exception):
    """Root of our exceptions."""


class RemoteProtocolError(GatewayProxyError):
    """A peer's bytes break the protocol; *status* is the answer a client deserves, *reason* the log's code."""

    def __init__(self, message: str, *, status: int = 400, reason: str = "bad_request") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class H2Error(RemoteProtocolError):
    """An HTTP/2 peer broke a rule; *code* is RFC 9113 §7's, *stream_id* its scope: 0 ends the whole connection."""

    def __init__(
        self, message: str, *, code: int, stream_id: int = 0, status: int = 400, reason: str = "bad_frame"
    ) -> None:
        super().__init__(message, status=status, reason=reason)
        self.code = code
        self.stream_id = stream_id


class LocalProtocolError(GatewayProxyError):
    """Our own code asked for a step the protocol forbids."""


class ConfigError(GatewayProxyError):
    """A source cannot be read at all (*where* names it); the table in force stays."""

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.where = where
        self.hint = hint


class UpstreamError(GatewayProxyError):
    """A backend failed; *kind* is the log's reason code, *status* the answer, *retryable*: no byte was lost.

    *unprocessed*: the backend says that it has not begun to serve the request, so that any may be sent again.
    """

    def __init__(
        self, message: str, *, kind: str, status: int, retryable: bool = False, unprocessed: bool = False
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retryable = retryable or unprocessed
        self.unprocessed = unprocessed


class UsageError(GatewayProxyError):
    """The command line asks for what we cannot do; the message says what to write instead."""
