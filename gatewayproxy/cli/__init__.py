"""The command line: what each command calls, and how it exits. 0: done; 1: errors found; 2: wrong command.

Only prints; the grammar is in `arguments`, what commands do is in ops (run) and insight. Those that ask a running
gateway fetch its pages (`server`).
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import os
import platform
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gatewayproxy.cli import arguments, diff, explaining, history, promote, replay, testing, trail
from gatewayproxy.cli.arguments import DEFAULT_SERVER, PROGRAM, address_pool, limit_flag, port_map
from gatewayproxy.cli.server import fetch_object, foreign
from gatewayproxy.errors import ConfigError, GatewayProxyError, UsageError
from gatewayproxy.insight import check, completion, get
from gatewayproxy.insight.objects import objects_of
from gatewayproxy.model.limits import LIMITS, Limits
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.model.status import ObjectStatus, Problem, StatusReport
from gatewayproxy.ops.options import RunOptions
from gatewayproxy.ops.sources import ReadSet, read_files, read_paths

__all__ = ["limit_flag", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    options = arguments.read(argv)
    try:
        status = COMMANDS[options.command](options)
        sys.stdout.flush()  # here, where a reader that has left is still no error
        return status
    except GatewayProxyError as error:
        return _complain(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `gatewayproxy get ... | head`: flushing again at exit must not say so
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _complain(error: GatewayProxyError) -> int:
    where = f"{error.where}: " if isinstance(error, ConfigError) and error.where else ""
    print(f"{PROGRAM}: {where}{error}", file=sys.stderr)
    if isinstance(error, ConfigError) and error.hint:
        print(f"    -> {error.hint}", file=sys.stderr)
    return 2 if isinstance(error, UsageError) else 1


# --- commands


def _run(options: argparse.Namespace) -> int:
    from gatewayproxy.ops import supervisor  # check and get do without

    return supervisor.run(
        RunOptions(
            paths=tuple(options.config),
            workers=options.workers,
            admin=options.admin,
            admin_allow_remote=options.admin_allow_remote,
            shadow=options.shadow,
            access_log=options.access_log,
            access_log_format=options.access_log_format,
            log_format=options.log_format,
            log_level=options.log_level,
            controller_name=options.controller_name,
            cluster_domain=options.cluster_domain,
            port_map=port_map(options.map_port),
            address_pool=address_pool(options.address_pool),
            limits=Limits(**{limit.name: getattr(options, limit.name) for limit in LIMITS}),
            session_key_file=options.session_key_file,
            explain_header_from=tuple(options.explain_header_from),
            history_dir=options.history_dir,
            history_generations=options.history_generations,
            history_bytes=options.history_bytes,
            guard_s=options.guard,
            require_tests=options.require_tests,
            drain_delay_s=options.drain_delay,
        )
    )


def _check(options: argparse.Namespace) -> int:
    from gatewayproxy.insight.lint import LINTS, lint
    from gatewayproxy.insight.lint.sarif import to_sarif

    read, compile_options = _read(options, options.config)
    config, judged = lint(read.sources, compile_options, read_files)
    told = (*read.problems, *judged.told)
    titles = {code: each.title for code, each in LINTS.items()}
    match options.output:
        case "json":
            print(check.to_json(told), end="")
        case "sarif":
            print(to_sarif(told, judged.silenced, LINTS, importlib.metadata.version(PROGRAM)), end="")
        case "github":
            print(check.to_workflow(told, titles), end="")
        case _:
            print(check.to_text(told), end="")
            print(check.count(told, len(config.status.objects), len(judged.silenced)), file=sys.stderr)
            if len(told) > 1:
                print(check.by_code(told, titles), end="", file=sys.stderr)
            if not config.table.ports:
                print(_unserved(config.status.objects, told), end="", file=sys.stderr)
    return int(check.has_errors(told) or (options.strict and bool(told)))


def _unserved(objects: Sequence[ObjectStatus], told: Sequence[Problem]) -> str:
    """Return what to say of a configuration that no listener serves, a line or ""."""
    if any(each.key.kind == "Gateway" for each in objects):
        return "no listener serves: what rules do to each other is not checked before one does\n"
    return "" if check.has_errors(told) else "no Gateway among them: nothing is served\n"


def _explain(options: argparse.Namespace) -> int:
    return explaining.command(options, _read, DEFAULT_SERVER)


def _test(options: argparse.Namespace) -> int:
    return testing.command(options, *_read(options, options.config))


def _diff(options: argparse.Namespace) -> int:
    return diff.command(options, _read)


def _replay(options: argparse.Namespace) -> int:
    return replay.command(options, _read)


def _get(options: argparse.Namespace) -> int:
    names, config = _names_and_config(options.words)
    config += options.filename
    if config and options.server:
        raise UsageError("objects come from files or from a running gateway: give CONFIG or --server, not both")
    asked = get.ask(options.kind, names, namespace=None if options.all_namespaces else options.namespace)
    objects = objects_of(_compile(options, config)) if config else _status(options.server or DEFAULT_SERVER)
    found = get.choose(objects, asked)
    print(get.show(found, asked, options.output, now=_now()), end="")
    for message in found.missing:
        print(f"Error (NotFound): {message}", file=sys.stderr)
    if not found.objects and not found.missing and options.output in ("table", "wide", "name"):
        namespaced = asked.namespace and any(kind.namespaced for kind in asked.kinds)
        where = f" in {asked.namespace} namespace (-A: all namespaces)." if namespaced else ""
        print(f"No resources found{where}", file=sys.stderr)
    return int(bool(found.missing))


def _version(_: argparse.Namespace) -> int:
    loop = importlib.metadata.version("uvloop")
    print(f"{PROGRAM} {importlib.metadata.version(PROGRAM)}")
    print(f"{platform.python_implementation()} {platform.python_version()}, uvloop {loop}, {ssl.OPENSSL_VERSION}")
    return 0


def _completion(options: argparse.Namespace) -> int:
    print(completion.script(options.shell, PROGRAM, arguments.grammar()), end="")
    return 0


COMMANDS: Final = {
    "run": _run,
    "check": _check,
    "explain": _explain,
    "test": _test,
    "diff": _diff,
    "replay": _replay,
    "promote": promote.command,
    "get": _get,
    "rules": trail.rules,
    "misses": trail.misses,
    "history": history.command,
    "show": history.show,
    "rollback": history.rollback,
    "version": _version,
    "completion": _completion,
}


# --- where objects come from


def _read(options: argparse.Namespace, config: Sequence[str]) -> tuple[ReadSet, CompileOptions]:
    """Read the files and folders of *config*, and what manifests mean here."""
    return read_paths(config), CompileOptions(
        controller_name=options.controller_name,
        cluster_domain=options.cluster_domain,
        port_map=port_map(options.map_port),
        address_pool=address_pool(options.address_pool),
        now=_now(),
    )


def _compile(options: argparse.Namespace, config: Sequence[str]) -> StatusReport:
    """Compile the files and folders of *config*, as `run` would."""
    from gatewayproxy.insight import offline  # the compiler and its libraries: run and get --server do without

    read, compile_options = _read(options, config)
    report = offline.report(read.sources, compile_options, read_files)
    return dataclasses.replace(report, problems=(*read.problems, *report.problems))


def _status(server: str) -> list[Mapping[str, Any]]:
    """Fetch the objects of the gateway whose admin address is *server*."""
    found = fetch_object(server, "/status", or_files=True)
    if "items" not in found:
        raise foreign(server)
    items: list[Mapping[str, Any]] = found["items"]
    return items


def _names_and_config(words: Sequence[str]) -> tuple[list[str], list[str]]:
    config = [word for word in words if "/" in word or Path(word).exists()]
    return [word for word in words if word not in config], config


def _now() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()
