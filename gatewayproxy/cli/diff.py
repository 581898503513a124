"""`gatewayproxy diff`: its words, its progress, which report it prints. What differs is told by `insight.diff`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gatewayproxy.cli.compiling import Reader, compiled
from gatewayproxy.cli.progress import Line, Progress
from gatewayproxy.errors import ConfigError, UsageError
from gatewayproxy.ops.logfiles import blocks, total_bytes

if TYPE_CHECKING:
    from gatewayproxy.insight.diff import Diff
    from gatewayproxy.insight.diff.traffic import Traffic

__all__ = ["EPILOG", "add_arguments", "command"]

OUTPUTS: Final = ("text", "markdown", "json")

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


def command(options: argparse.Namespace, read: Reader) -> int:
    """Compare; print the report, return the exit status. *read*: reads manifests, as every command does."""
    from gatewayproxy.insight.diff.report import FORMS

    try:
        diff = _compared(options, read)
        traffic = _weighed(diff, options.log) if options.log else None
    except ConfigError as error:  # 1 would say that something differs
        raise _Trouble(str(error), where=error.where, hint=error.hint) from error
    sys.stdout.write(FORMS[options.output](diff, traffic, every=options.all))
    return int(not diff.same)


class _Trouble(ConfigError, UsageError):
    """A file that cannot be read; the exit status is that of a wrong command."""


def _compared(options: argparse.Namespace, read: Reader) -> Diff:
    from gatewayproxy.insight.diff import compare

    old, new = (compiled(options, config, read, may_be_empty=True) for config in (options.old, options.new))
    line = Line()

    def note(n_done: int, n_all: int) -> None:
        if line.is_due:
            line.show(f"comparing the rules of {n_all:,} hosts: {n_done:,} done")

    try:
        return compare(old, new, progress=note)
    finally:
        line.end()


def _weighed(diff: Diff, logs: Sequence[str]) -> Traffic:
    from gatewayproxy.insight.diff.traffic import Traffic

    traffic = Traffic(diff.tables, diff.differences)
    progress = Progress(total_bytes(logs))
    try:
        for block in blocks(logs):
            for line in block.lines:
                traffic.feed(line)
            progress.note(block.position, traffic.n_lines)
    finally:
        progress.end()
    return traffic
