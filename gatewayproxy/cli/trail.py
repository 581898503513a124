"""`gatewayproxy rules` and `misses`: what a running gateway's rules took, and what none took, by its admin address."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable
from typing import Any, Final

from gatewayproxy.cli.server import fetch_object, foreign
from gatewayproxy.insight.trail import misses_text, never_hit, rules_text
from gatewayproxy.insight.unattached import statuses, with_unattached

__all__ = ["add_commands", "misses", "rules"]

RULES_EPILOG: Final = """\
examples:
  gatewayproxy rules                       every rule: how often it was hit, when last, since when it is as it is
  gatewayproxy rules --never-hit           those that nothing has hit since the gateway began

exit status: 0; with --never-hit 1 if there are any; 2 if the command itself is wrong"""

MISSES_EPILOG: Final = """\
examples:
  gatewayproxy misses                      what ends in 404 most often, what came closest, what would mend it
  gatewayproxy misses -o json              for programs

14-20x: at least 14 times and at most 20, see docs/trail.md"""


def add_commands(add: Callable[[str, str, str], argparse.ArgumentParser], server: str) -> None:
    """Add both commands by *add* (name, summary, epilog); *server*: the default of --server."""
    rules_parser = add("rules", "list the rules of a running gateway, and how often each was hit", RULES_EPILOG)
    rules_parser.add_argument("--never-hit", action="store_true", help="only rules that nothing has hit")
    _add_common(rules_parser, server)
    _add_common(add("misses", "list what ends in 404 most often, and what came closest", MISSES_EPILOG), server)


def _add_common(parser: argparse.ArgumentParser, server: str) -> None:
    parser.add_argument(
        "--server", metavar="URL", default=server, help="admin address of a running gateway (%(default)s)"
    )
    parser.set_defaults(usual_server=server)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(%(default)s)")


def rules(options: argparse.Namespace) -> int:
    """Print the rules in force; return the exit status."""
    page = _page(options.server, "/rules", "rules")
    if options.never_hit:
        page["rules"] = never_hit(page["rules"])
    text = rules_text(page["rules"], now=_now())
    _write(page, text, options.output, "every rule has been hit" if options.never_hit else "no rules")
    return int(options.never_hit and bool(page["rules"]))


def misses(options: argparse.Namespace) -> int:
    """Print what nobody serves; return the exit status."""
    page = _page(options.server, "/misses", "misses")
    if page["misses"]:
        page["misses"] = with_unattached(page["misses"], statuses(_page(options.server, "/status", "items")["items"]))
    server = options.server if _bare(options.server) != _bare(options.usual_server) else ""
    _write(page, misses_text(page, now=_now(), server=server), options.output, "nothing has ended in 404")
    return 0


def _bare(server: str) -> str:
    return server.removeprefix("http://").rstrip("/")


def _write(page: dict[str, Any], text: str, output: str, nothing: str) -> None:
    """Write *page* as *output* says; *text*: what it is for people, "" where they are told *nothing*."""
    if output == "json":
        sys.stdout.write(json.dumps(page, indent=2) + "\n")
    elif text:
        sys.stdout.write(text)
    else:
        sys.stderr.write(f"{nothing}\n")


def _page(server: str, path: str, key: str) -> dict[str, Any]:
    page = fetch_object(server, path)
    if not isinstance(page.get(key), list):
        raise foreign(server)
    return page


def _now() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()
