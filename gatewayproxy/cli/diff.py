"""`gatewayproxy diff`: its words, its progress, which report it prints. What differs is told by `insight.diff`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from gatewayproxy.errors import ConfigError, UsageError
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.logfiles import blocks, total_bytes
from gatewayproxy.ops.sources import ReadSet, read_files

if TYPE_CHECKING:
    from gatewayproxy.insight.diff import Diff
    from gatewayproxy.insight.diff_traffic import Traffic
    from gatewayproxy.insight.offline import Compiled

__all__ = ["EPILOG", "add_arguments", "command"]

OUTPUTS: Final = ("text", "markdown", "json")
_PROGRESS_S: Final = 0.5  # between two lines of progress

EPILOG: Final = """\
examples:
  gatewayproxy diff manifests/ branch/                     which requests are treated otherwise, each with a witness
  gatewayproxy diff manifests/ branch/ --log access.log    and how many of them there were; *.gz too, may be repeated
  gatewayproxy diff manifests/ branch/ -o markdown         a comment for a review
  git worktree add ../main main && gatewayproxy diff ../main/manifests manifests/

what is compared is what clients meet: manifests that are written otherwise and do the same are the same

exit status, as that of diff: 0 the same, 1 something differs, 2 trouble: the command is wrong, a file cannot be read"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of `diff` but those that say what manifests mean."""
    parser.set_defaults(rest="")
    parser.add_argument("old", metavar="OLD", help="file or folder")
    parser.add_argument("new", metavar="NEW", help="what is to take its place")
    parser.add_argument(
        "--log", metavar="LOG", action="append", default=[],
        help="weigh what differs with the requests of an access log, plain or gzip; -: standard input; may be repeated",
    )  # fmt: skip
    parser.add_argument("-o", "--output", choices=OUTPUTS, default="text", help="(%(default)s)")
    parser.add_argument("--all", action="store_true", help="print every region of a change, and not just the first")


Reader = Callable[[argparse.Namespace, Sequence[str]], tuple[ReadSet, CompileOptions]]


def command(options: argparse.Namespace, read: Reader) -> int:
    """Compare; print the report, return the exit status. *read*: reads manifests, as every command does."""
    from gatewayproxy.insight.diff import compare
    from gatewayproxy.insight.diff_report import FORMS

    try:
        diff = compare(*(_compiled(options, config, read) for config in (options.old, options.new)))
        traffic = _weighed(diff, options.log) if options.log else None
    except ConfigError as error:  # 1 would say that something differs
        raise _Trouble(str(error), where=error.where, hint=error.hint) from error
    sys.stdout.write(FORMS[options.output](diff, traffic, every=options.all))
    return int(not diff.same)


class _Trouble(ConfigError, UsageError):
    """A file that cannot be read; the exit status is that of a wrong command."""


def _compiled(options: argparse.Namespace, config: str, read: Reader) -> Compiled:
    from gatewayproxy.insight import check, offline

    found, compile_options = read(options, [config])
    compiled = offline.compiled(found.sources, compile_options, read_files)
    if check.has_errors((*found.problems, *compiled.status.problems)):
        sys.stderr.write(f"gatewayproxy: {config} has errors: see gatewayproxy check {config}\n")
    elif not compiled.table.ports:
        sys.stderr.write(f"gatewayproxy: {config} serves nothing: see gatewayproxy check {config}\n")
    return compiled


def _weighed(diff: Diff, logs: Sequence[str]) -> Traffic:
    from gatewayproxy.insight.diff_traffic import Traffic

    traffic = Traffic(diff.tables, diff.differences)
    total, shown_at, tty = total_bytes(logs), time.monotonic(), sys.stderr.isatty()
    for block in blocks(logs):
        for line in block.lines:
            traffic.feed(line)
        if tty and time.monotonic() - shown_at > _PROGRESS_S:
            shown_at = time.monotonic()
            share = f"{100 * block.position / total:3.0f} %, " if total else ""
            sys.stderr.write(f"\r{share}{traffic.n_lines:,} lines\x1b[K")
            sys.stderr.flush()
    if tty:
        sys.stderr.write("\r\x1b[K")
    return traffic
