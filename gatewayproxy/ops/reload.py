"""One reload, as the compiling child does it: read the sources, compile, say what changed.

The only module through which traffic reaches the compiler. In: what the supervisor serves. Out: an `Outcome`, whose
table is opaque slices and whose status is finished JSON, so that the supervisor never holds either decoded.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from gatewayproxy.compiler.pipeline import Compiled, Compiler
from gatewayproxy.errors import ConfigError
from gatewayproxy.insight.objects import objects_of
from gatewayproxy.insight.routetests.running import Report, problems_of, run_tests
from gatewayproxy.model.names import BindKey
from gatewayproxy.model.source import CompileOptions, Source
from gatewayproxy.model.status import Held, Problem, Severity, StatusReport
from gatewayproxy.ops import memory
from gatewayproxy.ops.rules import listed
from gatewayproxy.ops.sources import SOURCES, ReadSet, read_files
from gatewayproxy.routing.handover import slices
from gatewayproxy.routing.table import HostIndex, PathIndex, RouteEntry, RoutingTable

__all__ = ["Outcome", "Reloader", "changes"]

MAX_LISTED: Final = 200  # problems, or names of changed rules, told one by one; the rest is a number
MAX_TOUCHED: Final = 20_000  # names of changed rules for the guard; beyond, it watches all rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One compilation, ready to travel."""

    head: dict[str, Any]
    slices: Iterable[bytes] = ()
    status: bytes = b""
    memory: bytes = b""  # for `Reloader.recall` of another process, should this outcome serve


@dataclass(frozen=True, slots=True)
class _Outline:
    """What is remembered of a table to tell the next one's changes."""

    generation: int
    listeners: frozenset[str]
    rules: Mapping[str, int]  # name -> digest of its matches and of what it does, of this process


class Reloader:
    """Compiles again and again, for one run of the gateway."""

    def __init__(self, paths: Iterable[str], options: CompileOptions, *, require_tests: bool = False) -> None:
        self._paths = tuple(paths)
        self._require_tests = require_tests
        self.options = options
        self._compiler = Compiler()
        self._latest = self._compiler  # what compiled last: another one for documents of the history
        self._compiled = 0  # number of the request that was compiled last
        self._outlines: list[_Outline] = []  # the table in force, if it is ours, and the newest one

    def recall(self, payload: bytes) -> None:
        """Take over from a process that is gone; *payload* is the `Outcome.memory` that was adopted last."""
        last = memory.unpack(payload)
        self._compiler.recall(last.sources, last.held)
        self._compiled = last.number

    def compile(self, request: Mapping[str, Any], documents: bytes = b"") -> Outcome:
        """Compile what is on disk now, or *documents*, the `Outcome.memory` of another compilation.

        A document of which not even the object's name can be read fails the compilation, unless nothing serves yet.
        *request*: its `number`, the number whose outcome was `adopted` last (0 = none), `generation` to give,
        `serving` (generation in force, 0 = none), `digest` in force, `unbindable`, `paths` to read from now on, where
        they are others, and `again`: *documents* have served before, and may whatever is wrong with them.
        """
        begun_at = time.monotonic()
        self._paths = tuple(request.get("paths", self._paths))
        if self._compiled and self._compiled == request["adopted"]:
            self._compiler = self._latest
            self._compiler.adopt(request["serving"])
        try:
            read = self._recollect(documents) if documents else self._read()
        except ConfigError as error:
            return Outcome(head={"ok": False, "error": str(error), "where": error.where, "hint": error.hint})
        read_at = time.monotonic()
        compiler = self._latest
        files = read_files(sorted(compiler.wanted_files(read.sources)))  # parses: the greater part of compiling
        compiled = compiler.compile(read.sources, self._options_for(request), files)
        self._compiled = request["number"]
        head = _head(compiled, read.problems)
        head["input"] = _input_digest(read.sources, files)
        again = request.get("again", False)
        if request["serving"] and head["unreadable"] and not again:
            return Outcome(head=_refused(head))
        # Not of what served already, and not once more where only ports were busy.
        if self._require_tests and not (again or request["unbindable"]):
            report = run_tests(compiled, read.sources)
            if not report.passed:
                return Outcome(head=_failing(head, report))
        head["read_ms"] = round((read_at - begun_at) * 1e3, 1)
        head["changes"], head["touched"] = self._changes(compiled.table, request["serving"])
        head["rule_list"] = listed(_claims(compiled.table))
        same = compiled.table.digest == request["digest"]
        status = _status_json(compiled.status)
        head["compile_ms"] = round((time.monotonic() - read_at) * 1e3, 1)
        remembered = memory.pack(request["number"], read.sources, compiler.held_objects())
        parts = () if same else slices(compiled.table)
        return Outcome(head=head, slices=parts, status=status, memory=remembered)

    def _read(self) -> ReadSet:
        self._latest = self._compiler
        return SOURCES["directory"](self._paths)

    def _recollect(self, documents: bytes) -> ReadSet:
        # In a compiler of its own: if this does not come to serve, what was accepted before is what counts.
        then = memory.unpack(documents)
        self._latest = Compiler()
        self._latest.recall(then.sources, then.held)
        return ReadSet(then.sources, ())

    def _options_for(self, request: Mapping[str, Any]) -> CompileOptions:
        return CompileOptions(
            controller_name=self.options.controller_name,
            cluster_domain=self.options.cluster_domain,
            port_map=self.options.port_map,
            address_pool=self.options.address_pool,
            now=datetime.datetime.now(datetime.UTC).timestamp(),
            generation=request["generation"],
            unbindable={BindKey(*key): why for key, why in request["unbindable"]},
        )

    def _changes(self, table: RoutingTable, serving: int) -> tuple[dict[str, Any] | None, dict[str, list[str]] | None]:
        """Return the changes against the table in force, and all names for the guard, None where they are too many.

        None and None if this process did not make that table.
        """
        outline = _outline(table)
        base = next((x for x in self._outlines if x.generation == serving), None)
        self._outlines = [outline] if base is None else [base, outline]
        if base is None and serving:
            return None, None
        found = _found(base or _Outline(0, frozenset(), {}), outline)
        touched = {name: found[name] for name in ("rules_added", "rules_removed", "rules_changed")}
        return _told(found), touched if sum(map(len, touched.values())) <= MAX_TOUCHED else None


def changes(old: _Outline, new: _Outline) -> dict[str, Any]:
    """Return listeners and rules that came, went or behave otherwise; at most `MAX_LISTED` names each."""
    return _told(_found(old, new))


def _found(old: _Outline, new: _Outline) -> dict[str, list[str]]:
    both = old.rules.keys() & new.rules.keys()
    return {
        "listeners_added": sorted(new.listeners - old.listeners),
        "listeners_removed": sorted(old.listeners - new.listeners),
        "rules_added": sorted(new.rules.keys() - old.rules.keys()),
        "rules_removed": sorted(old.rules.keys() - new.rules.keys()),
        "rules_changed": sorted(name for name in both if old.rules[name] != new.rules[name]),
    }


def _told(found: Mapping[str, list[str]]) -> dict[str, Any]:
    counts = {name: len(names) for name, names in found.items()}
    return {"counts": counts, **{name: names[:MAX_LISTED] for name, names in found.items()}}


def _input_digest(sources: Iterable[Source], files: Mapping[str, bytes | None]) -> str:
    """Return 16 hex digits over names and contents of everything read."""
    total = blake2b(digest_size=8)
    for name, content in (*sources, *files.items()):
        for part in (name.encode("utf-8", "surrogateescape"), content if content is not None else b"\0"):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def _outline(table: RoutingTable) -> _Outline:
    rules: dict[str, int] = {}
    for claim, entry in _claims(table):
        label = entry.label
        name = f"{label.route_text} rule {label.rule} on {label.listener}"
        rules[name] = rules.get(name, 0) + hash((claim, entry.fingerprint))  # a sum has no order
    listeners = frozenset(f"{x.name} on {port.bound}" for port in table.ports for x in port.listeners)
    return _Outline(table.generation, listeners, rules)


def _claims(table: RoutingTable) -> Iterator[tuple[Hashable, RouteEntry]]:
    """Yield what leads to which entry, for every port; an entry comes once for each of its matches."""
    for port in table.ports:
        for entry in (port.tcp, port.udp):
            if entry is not None:
                yield None, entry
        if port.sni is not None:
            named = (*port.sni.exact.items(), *port.sni.wildcard.items(), (None, port.sni.default))
            yield from ((name, target.entry) for name, target in named if target is not None and target.entry)
        if port.http is not None:
            for layer, hosts in _layers(port.http).items():
                yield from _matches(layer, frozenset(hosts))


def _layers(index: HostIndex) -> dict[PathIndex, list[bytes]]:
    """Return every layer and the hosts it is the first one of: the route hostnames behind it."""
    layers: dict[PathIndex, list[bytes]] = {}
    for name, host in (*index.exact.items(), *index.wildcard.items(), (b"", index.default)):
        for position, layer in enumerate(host.layers if host is not None else ()):
            layers.setdefault(layer, []).extend([name] if position == 0 else ())
    return layers


def _matches(layer: PathIndex, hosts: Hashable) -> Iterator[tuple[Hashable, RouteEntry]]:
    paths = (("=", layer.exact.items()), ("^", layer.prefix.items()), ("~", ((None, layer.regexes),)))
    for kind, items in paths:
        for path, candidates in items:
            for each in candidates:
                yield (hosts, kind, path, each.regex, each.call, each.method, each.headers, each.query), each.entry


def _head(compiled: Compiled, unread: tuple[Problem, ...]) -> dict[str, Any]:
    problems = (*unread, *compiled.status.problems)
    n_errors = sum(problem.severity is Severity.ERROR for problem in problems)
    # A text that does not say which object it is may be any of those in force: half a file must not remove routes.
    unreadable = [problem for problem in problems if problem.severity is Severity.ERROR and problem.key is None]
    return {
        "ok": True,
        "generation": compiled.table.generation,
        "digest": compiled.table.digest,
        "ports": [
            [port.address, port.bind_port, port.kind.value, [x.name for x in port.listeners]]
            for port in compiled.table.ports
        ],
        "gateways": _gateways(compiled.status),
        "unreadable": [_problem(problem) for problem in unreadable[:MAX_LISTED]],
        "objects": len(compiled.status.objects),
        "rules": compiled.table.n_entries,
        "errors": n_errors,
        "warnings": len(problems) - n_errors,
        "held": len(compiled.status.held),
        "held_objects": [_held(held) for held in compiled.status.held[:MAX_LISTED]],
        "problems": [_problem(problem) for problem in problems[:MAX_LISTED]],
    }


def _gateways(report: StatusReport) -> dict[str, bool]:
    """Return the Gateways that are ours, as "namespace/name", and whether they are Programmed."""
    ours = (each for each in report.objects if each.key.kind == "Gateway" and each.status)
    return {each.key.full_name: _is_programmed(each.status["conditions"]) for each in ours}


def _is_programmed(conditions: Iterable[Mapping[str, Any]]) -> bool:
    return any(each["type"] == "Programmed" and each["status"] == "True" for each in conditions)


def _refused(head: dict[str, Any]) -> dict[str, Any]:
    """Return the head of a compilation that must not replace what serves."""
    first = head["unreadable"][0]
    return {
        **head,
        "ok": False,
        "error": f"a document cannot be read: {first.get('field', '')} {first['message']}".replace("  ", " "),
        "where": first["origin"],
        "hint": first.get("hint") or "mend it, then reload",
    }


def _failing(head: dict[str, Any], report: Report) -> dict[str, Any]:
    """Return the head of a compilation whose tests do not all pass."""
    found = problems_of(report)
    said = [_problem(problem) for problem in found[:MAX_LISTED]]
    if not found:
        error, where, hint = "no RouteTest among the manifests", "", "add some, or run without --require-tests"
    elif report.failed:
        first, n = found[len(report.unread)], len(report.failed)
        error = f"{n} of {len(report.results)} tests {'fails' if n == 1 else 'fail'}: {first.message}"
        where, hint = str(first.origin), "gatewayproxy test tells all that fail, and why"
    else:
        error, where, hint = "a RouteTest cannot be read", str(found[0].origin), "gatewayproxy check tells why"
    return {**head, "ok": False, "error": error, "where": where, "hint": hint, "problems": said}


def _held(held: Held) -> dict[str, Any]:
    return {"object": str(held.key), "origin": str(held.origin), "generation": held.generation}


def _problem(problem: Problem) -> dict[str, str]:
    said = {
        "severity": problem.severity.value,
        "origin": str(problem.origin),
        "object": str(problem.key) if problem.key is not None else "",
        "field": problem.field,
        "message": problem.message,
        "hint": problem.hint,
    }
    return {name: value for name, value in said.items() if value}


def _status_json(report: StatusReport) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects_of(report)}, default=str).encode()
