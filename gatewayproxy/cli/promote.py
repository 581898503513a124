"""`gatewayproxy promote`: what a candidate beside a running gateway would change, and that it serves from now on."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from gatewayproxy.cli.server import TIMEOUT_S, fetch_object
from gatewayproxy.insight.wording import printable

__all__ = ["EPILOG", "add_arguments", "command"]

PROMOTE_TIMEOUT_S: Final = 300.0
_NO_CANDIDATE: Final = "no candidate is beside this gateway: start it with run manifests/ --shadow CANDIDATE"
EPILOG: Final = """\
examples:
  gatewayproxy promote --dry-run           what the candidate of run --shadow would have done otherwise
  gatewayproxy promote                     it serves; connections live on

What was watched is what serves, though its files have changed meanwhile. Reloads (SIGHUP) read the candidate's files
from then on; have the next start name them, too.

exit status: 0 when it serves; of --dry-run 1 if requests differ; 1 if it cannot be promoted, what served before does"""


def add_arguments(parser: argparse.ArgumentParser, server: str) -> None:
    """Add the words of `promote`; *server*: the default of --server."""
    parser.add_argument(
        "--server", metavar="URL", default=server, help="admin address of a running gateway (%(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what differs, and leave it at that")
    parser.add_argument("--force", action="store_true", help="though the candidate has errors")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(%(default)s)")


def command(options: argparse.Namespace) -> int:
    """Show what differs, and promote; return the exit status."""
    shadow = _asked(options.server, "/shadow")
    if options.dry_run:
        text = json.dumps(shadow, indent=2) + "\n" if options.output == "json" else "".join(_shown(shadow))
        sys.stdout.write(text)
        return int(bool(shadow["different"] or shadow["state"] != "deciding"))
    query = {"digest": shadow.get("digest", ""), **({"force": "1"} if options.force else {})}
    report = _asked(options.server, f"/promote?{urlencode(query)}", act=True)
    if options.output == "json":
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return 0
    sys.stdout.write("".join(_shown(shadow)))
    sys.stdout.write(f"promoted: generation {report['generation']} serves {report['candidate']}\n")
    sys.stdout.write("reloads (SIGHUP) read it from now on; have the next start do so, too\n")
    return 0


def _asked(server: str, path: str, *, act: bool = False) -> dict[str, Any]:
    return fetch_object(server, path, act=act, timeout_s=PROMOTE_TIMEOUT_S if act else TIMEOUT_S, absent=_NO_CANDIDATE)


def _shown(shadow: Mapping[str, Any]) -> Iterator[str]:
    yield f"candidate {shadow['candidate']}: {shadow['state']}\n"
    if shadow.get("error"):
        where = f"{shadow['where']}: " if shadow.get("where") else ""
        yield f"    {where}{shadow['error']}\n"
    if not shadow["requests"] or shadow["state"] == "promoted":
        yield f"    -> {_next(shadow)}\n"
        return
    share = 100 * shadow["different"] / shadow["requests"]
    n = f"{shadow['requests']:,} request{'' if shadow['requests'] == 1 else 's'}"
    yield f"{n} decided on it, too; {shadow['different']:,} ({share:.3g} %) differ\n"
    for each in shadow["differences"]:
        yield f"  {each['requests']:,}  {each['did']}  on {each['listener']}\n"
        yield f"      -> {each['would']}\n"
        yield from (f"      such as {printable(sample)}\n" for sample in each["samples"][-1:])


def _next(shadow: Mapping[str, Any]) -> str:
    """Return what to do where there are no requests to tell of."""
    match shadow["state"]:
        case "deciding":
            replay = f"gatewayproxy replay CONFIG --against {shadow['candidate']} LOG"
            return f"no request has come since it began to decide, nothing is compared yet; {replay} asks a log instead"
        case "promoted":
            return "it serves; to try another candidate, start the gateway with --shadow anew"
        case "failed":
            hint = shadow.get("hint") or f"see gatewayproxy check {shadow['candidate']}"
            return f"{hint}; the next reload (SIGHUP) reads the candidate again"
        case _:
            return "ask again in a moment"
