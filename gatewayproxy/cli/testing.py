"""`gatewayproxy test`: its words, and what it prints. What tests are and mean is `insight.routetests`'."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gatewayproxy.cli.progress import Progress
from gatewayproxy.cli.replay import header
from gatewayproxy.errors import ConfigError
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.logfiles import blocks, total_bytes
from gatewayproxy.ops.sources import ReadSet, read_files

if TYPE_CHECKING:
    from gatewayproxy.insight.routetests.recording import Recorder
    from gatewayproxy.insight.routetests.running import Report

__all__ = ["EPILOG", "add_arguments", "command"]

OUTPUTS: Final = ("text", "json", "junit")

EPILOG: Final = """\
examples:
  gatewayproxy test manifests/                             run every RouteTest there, no socket opened
  gatewayproxy test manifests/ tests/ --require-coverage 90     and those of tests/; 90 % of the rules need a test
  gatewayproxy test manifests/ -o junit > report.xml       for CI systems
  gatewayproxy test manifests/ --record access.log > manifests/tests.yaml     write tests from traffic

a test says what is to become of a request; write your first one:
  apiVersion: gatewayproxy.io/v1alpha1
  kind: RouteTest
  metadata: {name: shop}
  spec:
    tests:
      - name: the cart has its own backend
        request: {url: "https://shop.example/cart"}
        expect: {route: shop, backends: [{name: cart}]}

exit status: 0 if all tests pass, 1 if one fails or cannot be read, or too few rules are tested, 2 if the command itself
is wrong"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of `test` but those that say what manifests mean."""
    parser.add_argument("config", nargs="+", metavar="CONFIG", help="file or folder, of manifests, tests, or both")
    parser.add_argument("-o", "--output", choices=OUTPUTS, default="text", help="(%(default)s)")
    parser.add_argument("-v", "--verbose", action="store_true", help="name the tests that pass, too")
    parser.add_argument(
        "--require-coverage",
        metavar="PERCENT",
        type=_percent,
        help="fail if fewer of the rules have a test that passes",
    )
    parser.add_argument(
        "--record", metavar="LOG", action="append", default=[],
        help="print tests made of an access log instead, - or *.gz too; one for each rule and outcome; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "-H", "--header", metavar="'NAME: VALUE'", type=header, action="append", default=[],
        help="what every line of --record has and does not say; Host: of those that name none; may be repeated",
    )  # fmt: skip
    parser.set_defaults(rest="config")


def command(options: argparse.Namespace, read: ReadSet, compile_options: CompileOptions) -> int:
    """Run the tests, or record some; return the exit status."""
    from gatewayproxy.insight import offline

    compiled = offline.compiled(read.sources, compile_options, read_files)
    if any(problem.severity.value == "error" for problem in (*read.problems, *compiled.status.problems)):
        _tell(f"the manifests have errors: see gatewayproxy check {shlex.join(options.config)}")
    if not compiled.table.ports:
        hint = "name the manifests beside the tests; gatewayproxy check says what is wrong with them"
        raise ConfigError("nothing is served", where=" ".join(options.config), hint=hint)
    if options.record:
        from gatewayproxy.insight.routetests.recording import Recorder

        hosts = [value for name, value in options.header if name.lower() == b"host"]
        fields = [(name, value) for name, value in options.header if name.lower() != b"host"]
        return _record(options.record, Recorder(compiled, host=hosts[-1] if hosts else b"", fields=fields))
    from gatewayproxy.insight.routetests.running import has_tests, run_tests

    if not has_tests(compiled):
        hint = "write a RouteTest (gatewayproxy test --help shows one), or --record an access log"
        raise ConfigError("no tests found", where=", ".join(options.config), hint=hint)
    begun_at = time.monotonic()
    report = run_tests(compiled, read.sources)
    sys.stdout.write(_shown(report, options, time.monotonic() - begun_at))
    required = options.require_coverage
    short = required is not None and report.coverage.percent < required
    if short:
        told = f"{report.coverage.tested} of {report.coverage.total} rules are tested, {required:g} % are required"
        _tell(told)
    return int(short or not report.passed)


def _tell(text: str) -> None:
    """Tell a person something that is no part of the output, behind what was printed so far."""
    sys.stdout.flush()
    sys.stderr.write(f"gatewayproxy: {text}\n")


def _shown(report: Report, options: argparse.Namespace, elapsed_s: float) -> str:
    from gatewayproxy.insight.routetests.junit import to_junit
    from gatewayproxy.insight.routetests.reports import to_json, to_text

    config = " ".join(options.config)
    if options.output == "json":
        return to_json(report, config, elapsed_s)
    if options.output == "junit":
        return to_junit(report, config, elapsed_s, require=options.require_coverage)
    return to_text(report, config, every=options.verbose)


def _record(logs: Sequence[str], recorder: Recorder) -> int:
    progress = Progress(total_bytes(logs))
    n_lines = 0
    try:
        for block in blocks(logs):
            for line in block.lines:
                recorder.take(line.rstrip(b"\r"))
            n_lines += block.n_lines
            progress.note(block.position, n_lines)
    finally:
        progress.end()
    sys.stdout.write(recorder.to_yaml())
    _tell(recorder.summary())
    return int(not recorder.n_tests)


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r}: write a number from 0 to 100")
    return value
