"""`gatewayproxy history`, `show` and `rollback`: the generations of a running gateway, by its admin address."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from gatewayproxy.cli.server import TIMEOUT_S, fetch_object
from gatewayproxy.errors import UsageError
from gatewayproxy.ops.options import HISTORY_BYTES

__all__ = [
    "EPILOG", "ROLLBACK_EPILOG", "SHOW_EPILOG", "add_arguments", "add_number_arguments", "add_run_arguments",
    "command", "rollback", "show",
]  # fmt: skip

EPILOG: Final = """\
examples:
  gatewayproxy history                     what was accepted, when, why, and what it changed
  gatewayproxy history diff 3 5            which requests two of them treat otherwise, as gatewayproxy diff tells it
  gatewayproxy history diff 3 5 -o manifests     what is written otherwise
  gatewayproxy show 3                      the manifests of one
  gatewayproxy rollback 3                  serve them again

exit status: 0; of diff 1 if something differs; 2 if the command itself is wrong"""

SHOW_EPILOG: Final = """\
examples:
  gatewayproxy show 3                      manifests as they were read; of Secrets, names only
  gatewayproxy show 3 -o json              with file names, and what is known of the generation"""

ROLLBACK_EPILOG: Final = """\
examples:
  gatewayproxy rollback 3                  the manifests of generation 3 serve, connections live on

What is on disk stays as it is, and serves again from the next reload (SIGHUP) or start on: mend it before.

exit status: 0 when it serves; 1 if it cannot, what served before does then"""

ROLLBACK_TIMEOUT_S: Final = 300.0
LEAST_GUARD_S: Final = 1.0
MOST_GUARD_S: Final = 3_600.0
_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_HEAD: Final = ("", "GENERATION", "ACCEPTED", "REASON", "INPUT", "RULES", "CHANGES", "NOTE")


def add_arguments(parser: argparse.ArgumentParser, server: str) -> None:
    """Add the words of `history`; *server*: the default of --server."""
    parser.add_argument("words", nargs="*", metavar="diff A B", default=[], help="compare two generations")
    _add_common(parser, server, "text", "json", "markdown", "manifests")
    parser.set_defaults(rest="words")


def add_number_arguments(parser: argparse.ArgumentParser, server: str) -> None:
    """Add the words of `show` and `rollback`."""
    parser.add_argument("generation", metavar="GENERATION", help="its number: see history")
    _add_common(parser, server, "text", "json")


def _add_common(parser: argparse.ArgumentParser, server: str, *outputs: str) -> None:
    parser.add_argument(
        "--server", metavar="URL", default=server, help="admin address of a running gateway (%(default)s)"
    )
    parser.add_argument("-o", "--output", choices=outputs, default="text", help="(%(default)s)")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `run` may be told of the history, and of the guard."""
    group = parser.add_argument_group("history", "what was accepted, to compare and to go back to")
    group.add_argument("--history-dir", metavar="DIR", help="keep it there, readable by the owner alone (in memory)")
    group.add_argument(
        "--history-generations", metavar="N", type=_whole, default=0,
        help="how many at most; the oldest goes (0: 100 with --history-dir, 10 without)",
    )  # fmt: skip
    group.add_argument(
        "--history-bytes", metavar="BYTES", type=_whole, default=HISTORY_BYTES,
        help="of compressed manifests at most; the newest generation is kept whatever it takes (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--guard", metavar="SECONDS", type=_window, default=0.0,
        help="take a reload back that raises the error share of what it changes within so long; 0: never (0)",
    )  # fmt: skip


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: write a whole number")
    return int(text)


def _window(text: str) -> float:
    """Read "30s", "5m" or a number of seconds."""
    unit = {"s": 1.0, "m": 60.0}.get(text[-1:])
    try:
        value = float(text) if unit is None else float(text[:-1]) * unit
    except ValueError:
        value = -1.0
    if value == 0 or LEAST_GUARD_S <= value <= MOST_GUARD_S:
        return value
    raise argparse.ArgumentTypeError(
        f"{text!r}: write a time from {LEAST_GUARD_S:g}s to {MOST_GUARD_S:g}s, like 30s, or 0"
    )


# --- commands


def command(options: argparse.Namespace) -> int:
    """Print the generations, or how two differ; return the exit status."""
    if options.words:
        return _diff(options)
    if options.output not in ("text", "json"):
        raise UsageError(f"-o {options.output} is for gatewayproxy history diff A B")
    kept = _asked(options.server, "/history")
    _print(_json(kept) if options.output == "json" else _listed(kept))
    return 0


def show(options: argparse.Namespace) -> int:
    """Print one generation; return the exit status."""
    found = _asked(options.server, f"/history/{_number(options.generation)}")
    _print(_json(found) if options.output == "json" else _shown(found))
    return 0


def rollback(options: argparse.Namespace) -> int:
    """Have the gateway serve one generation again; return the exit status."""
    number = _number(options.generation)
    report = _asked(options.server, f"/rollback/{number}", act=True)
    _print(_json(report) if options.output == "json" else _rolled_back(report, number))
    return 0


def _diff(options: argparse.Namespace) -> int:
    if options.words[0] != "diff" or len(options.words) != 3:
        raise UsageError("write gatewayproxy history, or gatewayproxy history diff A B")
    old, new = map(_number, options.words[1:])
    found = _asked(options.server, f"/history/diff/{old}/{new}")
    sys.stdout.write(found[options.output])
    return int(not found["same"] or (options.output == "manifests" and bool(found["manifests"])))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{text!r}: write the number of a generation; gatewayproxy history lists them")
    return int(text)


def _asked(server: str, path: str, *, act: bool = False) -> dict[str, Any]:
    return fetch_object(server, path, act=act, timeout_s=ROLLBACK_TIMEOUT_S if act else TIMEOUT_S)


# --- texts


def _print(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _json(value: object) -> Iterator[str]:
    yield json.dumps(value, indent=2, ensure_ascii=False)


def _rolled_back(report: Mapping[str, Any], number: int) -> Iterator[str]:
    if report["result"] == "unchanged":
        yield f"generation {report['generation']} routes as generation {number} did, and goes on serving"
    else:
        yield f"generation {report['generation']} serves the manifests of generation {number}"
    yield "until the next reload (SIGHUP) or start, which reads what is on disk"


def _listed(kept: Mapping[str, Any]) -> Iterator[str]:
    rows: list[Sequence[str]] = [_HEAD, *(_row(each, kept) for each in kept["generations"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if kept["rolled_back_to"]:
        yield ""
        yield f"rolled back: the manifests of generation {kept['rolled_back_to']} serve, not those on disk"


def _row(generation: Mapping[str, Any], kept: Mapping[str, Any]) -> Sequence[str]:
    return (
        "*" if generation["number"] == kept["serving"] else "",
        str(generation["number"]),
        _time(generation["accepted"]),
        generation["reason"] + (f" to {generation['of']}" if generation["of"] else ""),
        generation["input"],
        str(generation["rules"]),
        _changes(generation),
        _note(generation),
    )


def _changes(generation: Mapping[str, Any]) -> str:
    if generation["changes"] is None:
        return "unknown"
    texts = []
    for of in ("listeners", "rules"):
        counts = [(sign, generation["changes"]["counts"].get(f"{of}_{how}", 0)) for how, sign in _SIGNS.items()]
        signed = "".join(f" {sign}{n}" for sign, n in counts if n)
        texts += [of + signed] if signed else []
    return ", ".join(texts) or "none"


def _note(generation: Mapping[str, Any]) -> str:
    notes = [f"{generation[name]} {name}" for name in ("errors", "held") if generation[name]]
    reverted = generation["reverted"]
    if reverted is not None:
        before, after = (f"{counts['errors']}/{counts['n']}" for counts in (reverted["before"], reverted["after"]))
        notes.append(f"reverted by the guard: {reverted['subject']}: errors {before} before, {after} after")
    return "; ".join(notes)


def _shown(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"# generation {found['number']}, accepted {_time(found['accepted'])}, {found['reason']}"
    yield f"# input {found['input']}, table {found['digest']}, {found['objects']} objects, {found['rules']} rules"
    for name, names in (found["changes"] or {}).items():
        if name != "counts" and names:
            yield f"# {name.replace('_', ' ')}: {'; '.join(names)}"
    note = _note(found)
    if note:
        yield f"# {note}"
    for file in found["files"]:
        yield "---"
        yield f"# {file['name']}"
        yield file["text"].removesuffix("\n")


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
