"""Words into choices: the grammar of the command line, its help, and what it says when a command is wrong."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import ipaddress
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from gatewayproxy.cli import diff, explaining, history, promote, replay, testing, trail
from gatewayproxy.errors import UsageError
from gatewayproxy.insight import completion, get
from gatewayproxy.model.limits import LIMITS, Limit
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.interfaces import host_address
from gatewayproxy.ops.options import DEFAULT_ADMIN

__all__ = ["DEFAULT_SERVER", "PROGRAM", "address_pool", "grammar", "limit_flag", "port_map", "read"]

PROGRAM: Final = "gatewayproxy"
DEFAULT_SERVER: Final = f"http://{DEFAULT_ADMIN[0]}:{DEFAULT_ADMIN[1]}"
MAX_PORT: Final = 65_535
# GatewayClass.spec.controllerName: a domain-prefixed path
_CONTROLLER_NAME: Final = re.compile(
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
)

DESCRIPTION: Final = """\
Serve Kubernetes Gateway API manifests from files: HTTP/1.1, HTTP/2, gRPC, TLS, TCP and UDP, reloaded on SIGHUP."""

EPILOG: Final = """\
start here:
  gatewayproxy check manifests/            are they right? what is wrong, where, and what to write instead
  gatewayproxy explain manifests/ -- https://shop.example/cart   what becomes of a request, and why
  gatewayproxy test manifests/             do requests get what their RouteTests expect? which rules have no test?
  gatewayproxy diff manifests/ branch/     which requests another configuration treats otherwise
  gatewayproxy replay manifests/ access.log   what becomes of the requests of a log: hits, misses, changes
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
  gatewayproxy check manifests/ --strict   warnings are errors, too: for CI
  gatewayproxy check manifests/ -o sarif   for code scanning; -o github: beside the lines of a pull request

docs/lint.md says what each code in brackets means. To silence one on one object, annotate it:
  gatewayproxy.io/lint-ignore: "GW102, GW109"

exit status: 0 without errors (warnings are allowed), 1 with errors (--strict: or warnings), 2 if the command itself
is wrong"""

GET_EPILOG: Final = """\
examples:
  gatewayproxy get gateways -A                         from the running gateway (--server)
  gatewayproxy get httproute api -n shop -o yaml       one object with its computed status
  gatewayproxy get all -A -o wide manifests/           from files; nothing needs to run
  gatewayproxy get gateway web -o jsonpath='{.status.addresses[0].value}'
  gatewayproxy get httproutes -A -o jsonpath='{range .items[*]}{.metadata.name}: {.spec.hostnames[*]}{"\\n"}{end}'

words after KIND: one with a "/" or that names a file or folder is a CONFIG, any other is a NAME;
-f CONFIG and KIND/NAME say which beyond doubt."""


# --- reading arguments


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keep the examples as written; leave room for long flags."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=36, width=110)


class _Parser(argparse.ArgumentParser):
    """Says what to type next when the command is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n    -> {self.prog} --help\n")


def read(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the words of a command, whose name is `command`; exit with 2, saying what to write, where they are wrong.

    Words after a flag still belong to the list that stood before it.
    """
    parser, commands = _parser()
    words, request = _halves(sys.argv[1:] if argv is None else argv)
    _refuse_typos(parser, commands, words)
    options, later = parser.parse_known_args(words)
    if options.version:
        options.command = "version"
    elif options.command is None:
        parser.error(f"name a COMMAND: {', '.join(commands)}")
    unknown = [word for word in later if word.startswith("-") or not options.rest]
    if unknown:
        _refuse(commands.get(options.command, parser), unknown[0])
    if later:
        getattr(options, options.rest).extend(later)
    if request is not None and not hasattr(options, "request"):
        _refuse(commands.get(options.command, parser), "--")
    if hasattr(options, "request"):
        options.request = request or []
    return options


def _halves(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str] | None]:
    """Return what stands before and behind the first "--"; None: there is none."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :] if at < len(words) else None


def grammar() -> list[completion.Command]:
    """Return what completion needs to know of the commands."""
    return [_grammar(name, parser) for name, parser in _parser()[1].items()]


def _refuse_typos(
    parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser], words: Sequence[str]
) -> None:
    """Exit where the command or a long flag is unknown, before argparse complains of what is missing for it."""
    if not words or words[0].startswith("-"):
        return
    own = commands.get(words[0])
    if own is None:
        near = difflib.get_close_matches(words[0], commands, 1)
        meant = f"did you mean {near[0]}?" if near else f"one of: {', '.join(commands)}"
        parser.error(f"unknown command {words[0]}; {meant}")
    known = _flags(own)
    for word in words[1:]:
        if word.startswith("--") and not any(name.startswith(word.partition("=")[0]) for name in known):
            _refuse(own, word)


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    return [name for action in parser._actions for name in action.option_strings]


def _refuse(parser: argparse.ArgumentParser, word: str) -> NoReturn:
    known = _flags(parser)
    near = difflib.get_close_matches(word.partition("=")[0], known, 1) if word.startswith("-") else []
    parser.error(f"unknown word {word}" + (f"; did you mean {near[0]}?" if near else ""))


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the parser, and those of the subcommands by name."""
    parser = _Parser(prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG, formatter_class=_Formatter)
    parser.add_argument("--version", action="store_true", help="print versions, as `version` does")
    parser.set_defaults(rest="")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", parser_class=_Parser)

    def add(name: str, summary: str, epilog: str = "") -> _Parser:
        return commands.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=epilog,
            formatter_class=_Formatter, allow_abbrev=False,
        )  # fmt: skip

    _run_arguments(add("run", "serve manifests until told to stop", RUN_EPILOG))
    _check_arguments(add("check", "list what is wrong with manifests", CHECK_EPILOG))
    _explain_arguments(add("explain", "tell what becomes of a request, and why", explaining.EPILOG))
    test = add("test", "run the RouteTests of manifests, without sockets", testing.EPILOG)
    testing.add_arguments(test)
    _compile_arguments(test)
    _diff_arguments(add("diff", "tell which requests another configuration treats otherwise", diff.EPILOG))
    _replay_arguments(add("replay", "tell what becomes of the requests of access logs", replay.EPILOG))
    promote.add_arguments(add("promote", "have the candidate of run --shadow serve", promote.EPILOG), DEFAULT_SERVER)
    _get_arguments(add("get", "print objects with their computed status", GET_EPILOG))
    trail.add_commands(add, DEFAULT_SERVER)
    history.add_arguments(add("history", "list the generations of a running gateway", history.EPILOG), DEFAULT_SERVER)
    shown = add("show", "print the manifests of a generation", history.SHOW_EPILOG)
    back = add("rollback", "have a running gateway serve a generation again", history.ROLLBACK_EPILOG)
    for parser_of_one in (shown, back):
        history.add_number_arguments(parser_of_one, DEFAULT_SERVER)
    add("version", "print versions")
    shell = add("completion", "print a completion script: source <(gatewayproxy completion bash)")
    shell.add_argument("shell", choices=completion.SHELLS)
    return parser, dict(commands.choices)


def _compile_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choices that change what manifests mean; run, check and get must agree on them."""
    group = parser.add_argument_group("what manifests mean")
    defaults = CompileOptions()
    group.add_argument(
        "--controller-name", metavar="NAME", type=_controller_name, default=defaults.controller_name,
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
    group.add_argument(
        "--address-pool", metavar="IP", type=_ip, action="append", default=[],
        help="choose from these where an address of a Gateway has no value; may be repeated (this host's address)",
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
    parser.add_argument(
        "--admin-allow-remote", action="store_true",
        help="roll back and show manifests for whoever reaches --admin, though it be no loopback address",
    )  # fmt: skip
    parser.add_argument(
        "--session-key-file", metavar="FILE",
        help="what signs persistent sessions: equal in all gateways that share clients (a key of this run)",
    )  # fmt: skip
    parser.add_argument(
        "--shadow", metavar="CANDIDATE",
        help="file or folder: decide each HTTP request on it as well, count what differs; promote makes it serve",
    )  # fmt: skip
    parser.add_argument(
        "--explain-header-from", metavar="CIDR", type=_network, action="append", default=[],
        help="tell clients of these addresses, in x-gatewayproxy-explain, which rule took a request; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--require-tests", action="store_true",
        help="serve only what passes its RouteTests: a reload that fails one keeps what serves, a start ends",
    )  # fmt: skip
    history.add_run_arguments(parser)
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
    formats = ("text", "json", "sarif", "github")
    parser.add_argument("-o", "--output", choices=formats, default="text", help="(%(default)s)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where there are warnings, too")
    _compile_arguments(parser)


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    explaining.add_arguments(parser, DEFAULT_SERVER)
    parser.add_argument(
        "--trusted-hops", metavar="N", type=_number(int, least=0),
        help="as of run, with CONFIG; a running gateway has its own (0)",
    )  # fmt: skip
    _compile_arguments(parser)


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    diff.add_arguments(parser)
    _compile_arguments(parser)


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    replay.add_arguments(parser)
    _compile_arguments(parser)


def _get_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(rest="words")
    parser.add_argument("kind", metavar="KIND", help="gateways, gtw, httproute, svc ...; several: a,b; every kind: all")
    parser.add_argument("words", nargs="*", metavar="NAME|CONFIG", default=[], help="see below")
    parser.add_argument("-f", "--filename", metavar="CONFIG", action="append", default=[], help="file or folder")
    parser.add_argument("--server", metavar="URL", help=f"admin address of a running gateway ({DEFAULT_SERVER})")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-n", "--namespace", metavar="NS", default="default", help="(%(default)s)")
    where.add_argument("-A", "--all-namespaces", action="store_true")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FORMAT",
        type=_output,
        default="table",
        help=f"{', '.join(get.OUTPUTS)} (%(default)s)",
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
            what = "a number of seconds without a unit" if kind is float else "a number"
            raise argparse.ArgumentTypeError(f"{text!r}: write {what}, {least} or more")
        return value

    return read


def _port_pair(text: str) -> tuple[int, int]:
    with contextlib.suppress(ValueError):
        listener, bind = (int(part) for part in text.split("="))
        if 0 < listener <= MAX_PORT and 0 < bind <= MAX_PORT:
            return listener, bind
    raise argparse.ArgumentTypeError(f"{text!r}: write two ports, the listener's and ours, like 80=8080")


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write an IPv4 or IPv6 address") from None


def address_pool(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return *addresses*, each once; without any, the one that others reach this host by."""
    return tuple(dict.fromkeys(addresses)) or (host_address(),)


def port_map(pairs: Sequence[tuple[int, int]]) -> Mapping[int, int]:
    """Return *pairs* as a mapping; raise UsageError where a port has two answers."""
    mapping: dict[int, int] = {}
    for listener, bind in pairs:
        if mapping.setdefault(listener, bind) != bind:
            raise UsageError(f"--map-port says both {listener}={mapping[listener]} and {listener}={bind}: keep one")
    return mapping


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        reason = "its host bits are set" if "host bits" in str(error) else "no network"
        raise argparse.ArgumentTypeError(f"{text!r}: {reason}; write one like 10.0.0.0/8, or an address") from None


def _output(text: str) -> str:
    try:
        return get.known_output(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _controller_name(text: str) -> str:
    if _CONTROLLER_NAME.fullmatch(text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r}: write a domain and a path, like example.com/gateway")


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
    flags = tuple(
        completion.Flag(tuple(action.option_strings), action.nargs != 0, _values(action), _plain_help(action))
        for action in parser._actions
        if action.option_strings
    )
    words = {"get": completion.KIND_WORDS, "completion": completion.SHELLS, "history": ("diff",)}.get(name, ())
    return completion.Command(name, parser.description or "", flags, words)


def _values(action: argparse.Action) -> tuple[str, ...]:
    if action.metavar == "FORMAT":  # of get: one of them goes on with a template
        return tuple(form.removesuffix("TEMPLATE") for form in get.OUTPUTS)
    return tuple(action.choices or ())


def _plain_help(action: argparse.Action) -> str:
    return (action.help or "").partition(" (")[0].partition("(%")[0].strip()
