"""What rules may ask for beyond one try at one endpoint: CORS, retries and their budget, persistent sessions.

Plain, frozen values, the same in the plan and in the routing table. Names and values that meet the wire are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Cors", "Retry", "RetryBudget", "Session"]

ANY = (b"*",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """HTTPCORSFilter, defaults applied; `(b"*",)` is any."""

    origins: tuple[bytes, ...] = ()  # b"https://*.example.com:8443"; of default ports none is written
    methods: tuple[bytes, ...] = ()
    headers: tuple[bytes, ...] = ()
    expose: tuple[bytes, ...] = ()
    credentials: bool = False
    max_age_s: int = 5

    @property
    def uniform(self) -> bool:
        """Return whether every origin gets the same answer."""
        return not self.origins or (self.origins == ANY and not self.credentials)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """HTTPRouteRetry, defaults applied."""

    attempts: int = 1  # beyond the first
    codes: tuple[int, ...] = ()  # of answers to try again after, ascending; connection errors always count
    backoff_s: float = 0.025  # least wait before a retry


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """RetryConstraint of a Service, defaults applied: retries beyond both bounds are not sent."""

    service: str  # "namespace/name": all its ports share one budget
    percent: int = 20  # of the requests of the last *interval_s*, retries among them
    interval_s: float = 10.0
    least: int = 10  # retries of the last *least_interval_s* that are sent whatever their share
    least_interval_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """SessionPersistence of a rule, defaults applied."""

    rule: str  # whose sessions these are: no other rule shares them
    name: bytes  # of the cookie or header field
    header: bool = False  # a header field instead of a cookie
    path: bytes = b"/"  # of the cookie
    permanent: bool = False  # the client is to keep the cookie for *absolute_s*
    absolute_s: float = 0.0  # age at which a session ends; 0 = it does not
