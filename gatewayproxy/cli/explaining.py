"""`gatewayproxy explain`: its words, and whom it asks: manifests, or with --server the running gateway."""

from __future__ import annotations

import argparse
import gc
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from gatewayproxy.cli.server import fetch_object, foreign
from gatewayproxy.errors import ConfigError, UsageError
from gatewayproxy.insight.command_line import parse_words
from gatewayproxy.insight.requests import Request
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.sources import ReadSet, read_files

__all__ = ["EPILOG", "add_arguments", "command"]

EPILOG: Final = """\
examples:
  gatewayproxy explain manifests/ -- https://shop.example/cart             who takes it, and why nobody else does
  gatewayproxy explain manifests/ -- -X POST -H 'X-Beta: 1' http://shop.example/cart --resolve shop.example:80:10.0.0.7
  gatewayproxy explain manifests/ -- grpc://api.example:80/shop.v1.Cart/Add
  gatewayproxy explain manifests/ -- tls://db.example:5432                  a server name; or tcp://:5432, udp://:53
  gatewayproxy explain manifests/ -- "$(tail -n 1 access.log)"             ours, nginx's, Envoy's or HAProxy's
  gatewayproxy explain -- https://shop.example/cart                        of the running gateway (--server)

behind --: a request as curl would have it; what curl adds by itself (User-Agent, Accept) is not there

exit status: 0 if it reaches a backend or gets an answer that is no error, 1 if not, 2 if the command itself is wrong"""

Read = Callable[[argparse.Namespace, Sequence[str]], tuple[ReadSet, CompileOptions]]


def add_arguments(parser: argparse.ArgumentParser, server: str) -> None:
    """Add the words of `explain` but those that say what manifests mean; *server*: the default of --server."""
    parser.add_argument("config", nargs="*", metavar="CONFIG", default=[], help="file or folder")
    parser.add_argument(
        "--server", metavar="URL", help=f"admin address of a running gateway, without CONFIG ({server})"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(%(default)s)")
    parser.add_argument("--svg", metavar="FILE", help="draw the way of the request, too")
    parser.add_argument("--all", action="store_true", help="all matches that missed, not just the nearest")
    parser.set_defaults(rest="config", request=[])


def command(options: argparse.Namespace, read: Read, server: str) -> int:
    """Print what becomes of the request; return the exit status. *read*: reads manifests, as every command does."""
    if options.config and options.server:
        raise UsageError("what is explained comes from files or from a running gateway: give CONFIG or --server")
    if not options.request and any("://" in word for word in options.config):
        raise UsageError("write -- before the request: gatewayproxy explain manifests/ -- https://shop.example/cart")
    request = parse_words(options.request)
    if not options.config and options.trusted_hops is not None:
        raise UsageError("--trusted-hops is for CONFIG: a running gateway is asked with its own")
    if not options.config:
        return _live(options, options.server or server)
    gc.disable()  # PERF: 10,000 rules, 2.4 -> 1.8 CPU s: compiling makes millions of objects, and no cycles
    try:
        return _offline(options, request, read)
    finally:
        gc.enable()


def _offline(options: argparse.Namespace, request: Request, read: Read) -> int:
    # The compiler and its libraries: asking a gateway does without.
    from gatewayproxy.insight import check, explain, offline
    from gatewayproxy.insight.decision import decide
    from gatewayproxy.insight.picture import to_svg
    from gatewayproxy.insight.ports import PortTable

    found, compile_options = read(options, options.config)
    compiled = offline.compiled(found.sources, compile_options, read_files)
    decision = decide(
        PortTable(compiled.table), request, compiled.plan, compiled.status, trusted_hops=options.trusted_hops or 0
    )
    told = explain.to_json(decision) if options.output == "json" else explain.to_text(decision, every=options.all)
    sys.stdout.write(told)
    if options.svg:
        _write(options.svg, to_svg(decision))
    if check.has_errors((*found.problems, *compiled.status.problems)):
        _point_to_check("the manifests have errors", options.config)
    elif not compiled.table.ports:
        _point_to_check("no listener serves", options.config)
    return int(not explain.answers_well(decision))


def _point_to_check(what: str, config: Sequence[str]) -> None:
    sys.stderr.write(f"gatewayproxy: {what}: see gatewayproxy check {shlex.join(config)}\n")


def _live(options: argparse.Namespace, server: str) -> int:
    """Ask the gateway; its JSON says all that there is to know."""
    wanted = {"text": options.output == "text", "svg": bool(options.svg)}
    query = {
        "request": shlex.join(options.request),
        "with": ",".join(name for name, is_wanted in wanted.items() if is_wanted),
    }
    query |= {"all": "1"} if options.all else {}
    tree = fetch_object(server, f"/explain?{urlencode(query)}", or_files=True)
    if "ok" not in tree:
        raise foreign(server)
    text, svg = tree.pop("text", ""), tree.pop("svg", "")
    sys.stdout.write(text if options.output == "text" else json.dumps(tree, indent=2) + "\n")
    if options.svg:
        _write(options.svg, svg)
    return int(not tree["ok"])


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=path) from error
