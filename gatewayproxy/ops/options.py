"""RunOptions: everything `gatewayproxy run` may be told, with the defaults. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gatewayproxy.model.limits import Limits
from gatewayproxy.model.source import CompileOptions

__all__ = ["DEFAULT_ADMIN", "HISTORY_BYTES", "AccessLogFormat", "LogFormat", "RunOptions"]

AccessLogFormat = Literal["json", "text"]
LogFormat = Literal["text", "json"]
DEFAULT_ADMIN = ("127.0.0.1", 9901)
HISTORY_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """One run of the gateway. Sizes in bytes, times in seconds."""

    paths: tuple[str, ...]  # manifest files and folders, as the operator named them
    workers: int = 0  # 0 = one per usable core
    admin: tuple[str, int] | None = DEFAULT_ADMIN  # port 0 = any free one, see the log; None = no admin server
    admin_allow_remote: bool = False  # what is private or acts, too, where that is no loopback address
    shadow: str | None = None  # manifests on which requests are decided as well: ops.shadow
    access_log: str | None = None  # file, "-" = standard output, None = no access log
    access_log_format: AccessLogFormat = "json"
    log_format: LogFormat = "text"  # event log, on standard error
    log_level: str = "info"  # debug, info, warning, error
    controller_name: str = CompileOptions().controller_name
    cluster_domain: str = CompileOptions().cluster_domain
    port_map: Mapping[int, int] = field(default_factory=dict)  # listener port -> bind port
    address_pool: tuple[str, ...] = ()  # for Gateways that leave their address to us
    limits: Limits = field(default_factory=Limits)  # limits.drain_s bounds SIGTERM and removed listeners
    session_key_file: str | None = None  # signs persistent sessions; None = a key that ends with this run
    explain_header_from: tuple[str, ...] = ()  # networks whose requests are told what took them
    require_tests: bool = False  # what fails a RouteTest, or has none, does not come to serve
    history_dir: str | None = None  # None = the history ends with this run
    history_generations: int = 0  # kept at most; 0 = ops.history's default
    history_bytes: int = HISTORY_BYTES  # of their documents
    guard_s: float = 0.0  # window in which a reload that makes things worse is taken back; 0 = no guard
    drain_delay_s: float = 0.0  # SIGTERM: not ready for this long before accepting ends
    compile_deadline_s: float = 120.0  # a compilation that takes longer fails, the table in force stays
    compile_memory_bytes: int = 2 << 30  # address space of the compiling child; more and the reload fails
