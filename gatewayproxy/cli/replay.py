"""`gatewayproxy replay`: its words, its progress, which report it prints. What a replay is, is told by `insight`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gatewayproxy.errors import ConfigError
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.logfiles import total_bytes
from gatewayproxy.ops.sources import ReadSet, read_files

if TYPE_CHECKING:
    from gatewayproxy.insight.offline import Compiled
    from gatewayproxy.insight.replay_counts import Counts

__all__ = ["EPILOG", "add_arguments", "command"]

OUTPUTS: Final = ("text", "json", "markdown")
MAX_JOBS: Final = 64
_PROGRESS_S: Final = 0.5  # between two lines of progress

EPILOG: Final = """\
examples:
  gatewayproxy replay manifests/ access.log                        hits of each rule, what nothing takes and why
  gatewayproxy replay manifests/ access.log.*.gz -j 4              rotated logs, on four cores
  gatewayproxy replay manifests/ --against branch/ access.log      which requests another configuration would change
  gatewayproxy replay manifests/ -H 'Host: shop.example' nginx.log lines that name no host: here is one
  kubectl logs deploy/web | gatewayproxy replay manifests/ -       standard input

a log: ours (JSON, text), nginx's combined, Envoy's (also Envoy Gateway's JSON), HAProxy's; each line may be of another

exit status: 0; 1 if decisions change (--against), or no line could be read; 2 if the command itself is wrong"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of `replay` but those that say what manifests mean."""
    parser.set_defaults(rest="logs")
    parser.add_argument("config", metavar="CONFIG", help="file or folder")
    parser.add_argument("logs", nargs="+", metavar="LOG", help="access log, plain or gzip; -: standard input")
    parser.add_argument(
        "--against", metavar="OTHER", help="a configuration that is to take the place of CONFIG: tell what changes"
    )
    parser.add_argument("-o", "--output", choices=OUTPUTS, default="text", help="(%(default)s)")
    parser.add_argument(
        "-H", "--header", metavar="'NAME: VALUE'", type=_header, action="append", default=[],
        help="what every request has and no line says; Host: of those that name none; may be repeated",
    )  # fmt: skip
    parser.add_argument("-j", "--jobs", metavar="N", type=_jobs, default=1, help="processes that decide (%(default)s)")
    parser.add_argument(
        "--top", metavar="N", type=_count, default=10, help="how many requests that nothing takes (%(default)s)"
    )


def _header(text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r}: write a name and a value, like 'Host: shop.example'")
    return name.strip().encode("utf-8"), value.strip().encode("utf-8")


def _jobs(text: str) -> int:
    return _bounded(text, least=1, most=MAX_JOBS)


def _count(text: str) -> int:
    return _bounded(text, least=0, most=10_000)


def _bounded(text: str, *, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and least <= int(text) <= most:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: write a number from {least} to {most}")


Reader = Callable[[argparse.Namespace, Sequence[str]], tuple[ReadSet, CompileOptions]]


def command(options: argparse.Namespace, read: Reader) -> int:
    """Replay; print the report, return the exit status. *read*: reads manifests, as every command does."""
    from gatewayproxy.insight import replay_text
    from gatewayproxy.insight.replay_report import report

    here = _compiled(options, options.config, read)
    there = _compiled(options, options.against, read) if options.against is not None else None
    counts = _counts(options, here, there)
    made = report(counts, here, there, top=options.top)
    sys.stdout.write(replay_text.FORMS[options.output](made))
    nothing = not made.decided and bool(made.unread or made.hostless)
    return int(nothing or (made.two and bool(made.changes)))


def _compiled(options: argparse.Namespace, config: str, read: Reader) -> Compiled:
    from gatewayproxy.insight import check, offline

    found, compile_options = read(options, [config])
    compiled = offline.compiled(found.sources, compile_options, read_files)
    if check.has_errors((*found.problems, *compiled.status.problems)):
        sys.stderr.write(f"gatewayproxy: {config} has errors: see gatewayproxy check {config}\n")
    if not compiled.table.ports:
        raise ConfigError("nothing is served", where=config, hint=f"see gatewayproxy check {config}")
    return compiled


def _counts(options: argparse.Namespace, here: Compiled, there: Compiled | None) -> Counts:
    from gatewayproxy.insight.replay import Replay
    from gatewayproxy.ops.replaying import replay_logs

    hosts = [value for name, value in options.header if name.lower() == b"host"]
    replay = Replay(
        here.table,
        there.table if there is not None else None,
        fields=[(name, value) for name, value in options.header if name.lower() != b"host"],
        host=hosts[-1] if hosts else b"",
    )
    shown = _Shown(total_bytes(options.logs))
    try:
        return replay_logs(replay, options.logs, jobs=options.jobs, progress=shown.note)
    finally:
        shown.end()


class _Shown:
    """Progress on standard error, if that is a terminal."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._tty = sys.stderr.isatty()
        self._begun_at = self._shown_at = time.monotonic()

    def note(self, n_bytes: int, n_lines: int) -> None:
        now = time.monotonic()
        if not self._tty or now - self._shown_at < _PROGRESS_S:
            return
        self._shown_at = now
        share = f"{100 * n_bytes / self._total:3.0f} %, " if self._total else ""
        rate = n_lines / (now - self._begun_at)
        sys.stderr.write(f"\r{share}{n_lines:,} lines, {rate:,.0f} a second\x1b[K")
        sys.stderr.flush()

    def end(self) -> None:
        if self._tty and self._shown_at > self._begun_at:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
