"""`gatewayproxy replay`: its words, its progress, which report it prints. What a replay is, is told by `insight`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from gatewayproxy.cli.compiling import Reader, compiled
from gatewayproxy.cli.progress import Progress
from gatewayproxy.ops.logfiles import total_bytes

if TYPE_CHECKING:
    from gatewayproxy.insight.offline import Compiled
    from gatewayproxy.insight.replay.counts import Counts

__all__ = ["EPILOG", "add_arguments", "command", "header"]

OUTPUTS: Final = ("text", "json", "markdown")
MAX_JOBS: Final = 64

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
        "-H", "--header", metavar="'NAME: VALUE'", type=header, action="append", default=[],
        help="what every request has and no line says; Host: of those that name none; may be repeated",
    )  # fmt: skip
    parser.add_argument("-j", "--jobs", metavar="N", type=_jobs, default=1, help="processes that decide (%(default)s)")
    parser.add_argument(
        "--top", metavar="N", type=_count, default=10, help="how many requests that nothing takes (%(default)s)"
    )


def header(text: str) -> tuple[bytes, bytes]:
    """Read the value of -H."""
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


def command(options: argparse.Namespace, read: Reader) -> int:
    """Replay; print the report, return the exit status. *read*: reads manifests, as every command does."""
    from gatewayproxy.insight.replay import text
    from gatewayproxy.insight.replay.report import report

    here = compiled(options, options.config, read)
    there = compiled(options, options.against, read) if options.against is not None else None
    counts = _counts(options, here, there)
    made = report(counts, here, there, top=options.top)
    sys.stdout.write(text.FORMS[options.output](made))
    nothing = not made.decided and bool(made.unread or made.hostless)
    return int(nothing or (made.two and bool(made.changes)))


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
    shown = Progress(total_bytes(options.logs))
    try:
        return replay_logs(replay, options.logs, jobs=options.jobs, progress=shown.note)
    finally:
        shown.end()
