"""The command line: run, check, get, version, completion. Exit 0: done; 1: errors found; 2: the command is wrong.

Only reads arguments and prints; what the commands do is in ops (run) and insight (check, get).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from gatewayproxy.errors import ConfigError, GatewayProxyError, UsageError
from gatewayproxy.insight import check, completion, get
from gatewayproxy.insight.objects import objects_of
from gatewayproxy.model.limits import LIMITS, Limit, Limits
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.model.status import StatusReport
from gatewayproxy.ops.options import DEFAULT_ADMIN, RunOptions
from gatewayproxy.ops.sources import read_files, read_paths

__all__ = ["main"]

PROGRAM: Final = "gatewayproxy"
DEFAULT_SERVER: Final = f"http://{DEFAULT_ADMIN[0]}:{DEFAULT_ADMIN[1]}"
SERVER_TIMEOUT_S: Final = 30.0
MAX_STATUS_BYTES: Final = 512 << 20
MAX_PORT: Final = 65_535

DESCRIPTION: Final = """\
Serve Kubernetes Gateway API manifests from files: HTTP, HTTPS, TCP and TLS passthrough, reloaded on SIGHUP."""

EPILOG: Final = """\
start here:
  gatewayproxy check manifests/            are they right? what is wrong, where, and what to write instead
  gatewayproxy run manifests/              serve them
  gatewayproxy get all -A                  what the running gateway makes of them
  kill -HUP PID                            read them again; connections live on"""

RUN_EPILOG: Final = """\
examples:
  gatewayproxy run manifests/ --map-port 80=8080 --map-port 443=8443      ports that need no privileges
  gatewayproxy run base/ team-a/ extra.yaml --workers 4 --access-log -    several places, log to standard output
  gatewayproxy run manifests/ --admin 127.0.0.1:0                         any free port; the log says which

signals:
  SIGHUP  read and compile again; on success every worker takes the new routes, connections live on
  SIGTERM, SIGINT  not ready, stop accepting, finish what is under way within --drain seconds; twice: at once
  SIGUSR1  reopen the access log"""

CHECK_EPILOG: Final = """\
examples:
  gatewayproxy check manifests/            one problem a paragraph: file:line, what is wrong, -> what to write
  gatewayproxy check manifests/ -o json    for programs

exit status: 0 without errors (warnings are allowed), 1 with errors, 2 if the command itself is wrong"""

GET_EPILOG: Final = """\
examples:
  gatewayproxy get gateways -A                         from the running gateway (--server)
  gatewayproxy get httproute api -n shop -o yaml       one object with its computed status
  gatewayproxy get all -A -o wide manifests/           from files; nothing needs to run
  gatewayproxy get gateway web -o jsonpath='{.status.addresses[0].value}'
  gatewayproxy get httproutes -A -o jsonpath='{range .items[*]}{.metadata.name}: {.spec.hostnames[*]}{"\\n"}{end}'

words after KIND: one with a "/" or that names a file or folder is a CONFIG, any other is a NAME;
-f CONFIG and KIND/NAME say which beyond doubt."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    options = _options(argv)
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except GatewayProxyError as error:
        return _complain(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `gatewayproxy get ... | head`: nobody reads on, and flushing at exit must not say so
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
            access_log=options.access_log,
            access_log_format=options.access_log_format,
            log_format=options.log_format,
            log_level=options.log_level,
            controller_name=options.controller_name,
            cluster_domain=options.cluster_domain,
            port_map=_port_map(options.map_port),
            limits=Limits(**{limit.name: getattr(options, limit.name) for limit in LIMITS}),
            drain_delay_s=options.drain_delay,
        )
    )


def _check(options: argparse.Namespace) -> int:
    report = _compile(options, options.config)
    if options.output == "json":
        print(check.to_json(report.problems), end="")
    else:
        print(check.to_text(report.problems), end="")
        print(check.count(report.problems, len(report.objects)), file=sys.stderr)
    return int(check.has_errors(report.problems))


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
        where = f"in {asked.namespace} namespace (-A: all namespaces)" if asked.namespace else "at all"
        print(f"No resources found {where}.", file=sys.stderr)
    return int(bool(found.missing))


def _version(_: argparse.Namespace) -> int:
    loop = importlib.metadata.version("uvloop")
    print(f"{PROGRAM} {importlib.metadata.version(PROGRAM)}")
    print(f"{platform.python_implementation()} {platform.python_version()}, uvloop {loop}, {ssl.OPENSSL_VERSION}")
    return 0


def _completion(options: argparse.Namespace) -> int:
    _, subparsers = _parser()
    commands = [_grammar(name, parser) for name, parser in subparsers.items()]
    print(completion.script(options.shell, PROGRAM, commands), end="")
    return 0


# --- where objects come from


def _compile(options: argparse.Namespace, config: Sequence[str]) -> StatusReport:
    """Compile the files and folders of *config*, as `run` would."""
    from gatewayproxy.insight import offline  # the compiler and its libraries: run and get --server do without

    read = read_paths(config)
    compile_options = CompileOptions(
        controller_name=options.controller_name,
        cluster_domain=options.cluster_domain,
        port_map=_port_map(options.map_port),
        now=_now(),
    )
    report = offline.report(read.sources, compile_options, read_files)
    return dataclasses.replace(report, problems=(*read.problems, *report.problems))


def _status(server: str) -> list[Mapping[str, Any]]:
    """Fetch the objects of the gateway whose admin address is *server*."""
    url = server if "://" in server else f"http://{server}"
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({})
    )  # a loopback address, whatever http_proxy says
    try:
        with direct.open(f"{url.rstrip('/')}/status", timeout=SERVER_TIMEOUT_S) as response:
            items: list[Mapping[str, Any]] = json.loads(response.read(MAX_STATUS_BYTES))["items"]
            return items
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        hint = "is it running? --server names its --admin address; or give CONFIG to read files"
        raise ConfigError(f"no answer: {reason}", where=url, hint=hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError("this is not a gatewayproxy admin address", where=url, hint="see --admin of run") from error


def _names_and_config(words: Sequence[str]) -> tuple[list[str], list[str]]:
    config = [word for word in words if "/" in word or Path(word).exists()]
    return [word for word in words if word not in config], config


def _now() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()


# --- reading arguments


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keep the examples as written; leave room for long flags."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=36, width=110)


class _Parser(argparse.ArgumentParser):
    """Says what to type next when the command is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n    -> {self.prog} --help\n")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the words of a command; those after a flag still belong to the list that stood before it."""
    parser, _ = _parser()
    options, later = parser.parse_known_args(argv)
    unknown = [word for word in later if word.startswith("-") or not options.rest]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if later:
        getattr(options, options.rest).extend(later)
    return options


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the parser, and those of the subcommands by name."""
    parser = _Parser(prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG, formatter_class=_Formatter)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)

    def add(name: str, command: Callable[[argparse.Namespace], int], summary: str, epilog: str = "") -> _Parser:
        added = commands.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=epilog,
            formatter_class=_Formatter, allow_abbrev=False,
        )  # fmt: skip
        added.set_defaults(command=command, rest="")
        return added

    _run_arguments(add("run", _run, "serve manifests until told to stop", RUN_EPILOG))
    _check_arguments(add("check", _check, "list what is wrong with manifests", CHECK_EPILOG))
    _get_arguments(add("get", _get, "print objects with their computed status", GET_EPILOG))
    add("version", _version, "print versions")
    shell = add("completion", _completion, "print a completion script: source <(gatewayproxy completion bash)")
    shell.add_argument("shell", choices=completion.SHELLS)
    return parser, dict(commands.choices)


def _compile_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choices that change what manifests mean; run, check and get must agree on them."""
    group = parser.add_argument_group("what manifests mean")
    defaults = CompileOptions()
    group.add_argument(
        "--controller-name", metavar="NAME", default=defaults.controller_name,
        help="serve Gateways whose GatewayClass names this controller, or is absent (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--cluster-domain", metavar="DOMAIN", default=defaults.cluster_domain,
        help="DNS suffix of Services that have no endpoints in the manifests (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--map-port", metavar="A=B", type=_port_pair, action="append", default=[],
        help="bind port B where a listener says A; clients are still told A; may be repeated",
    )  # fmt: skip


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(rest="config")
    parser.add_argument(
        "config", nargs="+", metavar="CONFIG", help="file, or folder: its *.yaml, *.yml, *.json, recursively"
    )
    parser.add_argument(
        "--workers", metavar="N", type=_number(int, least=1), default=0, help="worker processes (one per usable core)"
    )
    parser.add_argument(
        "--admin", metavar="HOST:PORT", type=_host_port, default=DEFAULT_ADMIN,
        help="where /healthz, /readyz, /metrics and /status are; none: nowhere (127.0.0.1:9901)",
    )  # fmt: skip
    logs = parser.add_argument_group("logs")
    logs.add_argument("--access-log", metavar="FILE", help="one line per request or stream; -: standard output (none)")
    logs.add_argument("--access-log-format", choices=("json", "text"), default="json", help="(%(default)s)")
    logs.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="events, standard error (%(default)s)"
    )
    logs.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="(%(default)s)"
    )
    _compile_arguments(parser)
    group = parser.add_argument_group("limits", "what each bounds; what a client sees at it (default)")
    for limit in LIMITS:
        group.add_argument(
            limit_flag(limit), dest=limit.name, metavar=_metavar(limit), default=limit.default,
            type=_number(type(limit.default), least=0), help=f"{limit.meaning} (%(default)s)",
        )  # fmt: skip
    group.add_argument(
        "--drain-delay", metavar="SECONDS", type=_number(float, least=0), default=0.0,
        help="on SIGTERM, not ready for so long before accepting ends: time for a load balancer to notice (0)",
    )  # fmt: skip


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(rest="config")
    parser.add_argument("config", nargs="+", metavar="CONFIG", help="file or folder")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(%(default)s)")
    _compile_arguments(parser)


def _get_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(rest="words")
    parser.add_argument("kind", metavar="KIND", help="gateways, gtw, httproute, svc ...; several: a,b; every kind: all")
    parser.add_argument("words", nargs="*", metavar="NAME|CONFIG", help="see below")
    parser.add_argument("-f", "--filename", metavar="CONFIG", action="append", default=[], help="file or folder")
    parser.add_argument("--server", metavar="URL", help=f"admin address of a running gateway ({DEFAULT_SERVER})")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-n", "--namespace", metavar="NS", default="default", help="(%(default)s)")
    where.add_argument("-A", "--all-namespaces", action="store_true")
    parser.add_argument(
        "-o", "--output", metavar="FORMAT", default="table", help=f"{', '.join(get.OUTPUTS)} (%(default)s)"
    )
    _compile_arguments(parser)


def limit_flag(limit: Limit) -> str:
    """Return the flag of *limit*: its name without the unit, which the metavar shows."""
    bare = limit.name.removesuffix("_s")
    clash = bare != limit.name and any(other.name == bare for other in LIMITS)
    return "--" + (f"{bare}_wait" if clash else bare).replace("_", "-")


def _metavar(limit: Limit) -> str:
    if limit.name.endswith("_s"):
        return "SECONDS"
    return "BYTES" if limit.name.endswith("_bytes") else "N"


def _number(kind: type[int] | type[float], *, least: int) -> Callable[[str], int | float]:
    def read(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(-1)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r}: write a number, {least} or more")
        return value

    return read


def _port_pair(text: str) -> tuple[int, int]:
    with contextlib.suppress(ValueError):
        listener, bind = (int(part) for part in text.split("="))
        if 0 < listener <= MAX_PORT and 0 < bind <= MAX_PORT:
            return listener, bind
    raise argparse.ArgumentTypeError(f"{text!r}: write two ports, the listener's and ours, like 80=8080")


def _port_map(pairs: Sequence[tuple[int, int]]) -> Mapping[int, int]:
    """Return *pairs* as a mapping; raise UsageError where a port has two answers."""
    mapping: dict[int, int] = {}
    for listener, bind in pairs:
        if mapping.setdefault(listener, bind) != bind:
            raise UsageError(f"--map-port says both {listener}={mapping[listener]} and {listener}={bind}: keep one")
    return mapping


def _host_port(text: str) -> tuple[str, int] | None:
    if text == "none":
        return None
    host, _, port = text.rpartition(":")
    if host and port.isascii() and port.isdigit() and int(port) <= MAX_PORT:
        return host.removeprefix("[").removesuffix("]"), int(port)
    raise argparse.ArgumentTypeError(
        f"{text!r}: write an address and a port, like 127.0.0.1:9901 or [::1]:9901, or none"
    )


def _grammar(name: str, parser: argparse.ArgumentParser) -> completion.Command:
    """Return what completion needs to know of a subcommand."""
    flags = tuple(
        completion.Flag(
            tuple(action.option_strings), action.nargs != 0, tuple(action.choices or ()), _plain_help(action)
        )
        for action in parser._actions
        if action.option_strings
    )
    words = {"get": completion.KIND_WORDS, "completion": completion.SHELLS}.get(name, ())
    return completion.Command(name, parser.description or "", flags, words)


def _plain_help(action: argparse.Action) -> str:
    return (action.help or "").partition(" (")[0].partition("(%")[0].strip()
