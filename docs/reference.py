"""Write docs/reference.md: what code knows better than prose. `make docs` runs it, a test holds the page to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from prometheus_client.parser import text_string_to_metric_families

from gatewayproxy.cli import limit_flag
from gatewayproxy.compiler.manifests import KINDS as READERS
from gatewayproxy.dataplane.protocols.answers import ANSWERS
from gatewayproxy.dataplane.protocols.call_answers import code_of
from gatewayproxy.filters import FILTERS
from gatewayproxy.insight.kinds import KINDS
from gatewayproxy.model.limits import LIMITS
from gatewayproxy.model.refusals import REFUSALS
from gatewayproxy.ops.metrics import ProcessState, expose
from gatewayproxy.ops.rules import RuleName, RuleState
from gatewayproxy.ops.shadow_counts import ShadowCounts
from gatewayproxy.ops.shadow_counts import expose as expose_shadow
from gatewayproxy.ops.snapshot import BUCKETS, Row, RowName, Snapshot

HEAD = """\
# Reference

Look up kinds and versions, filters, limits with their flags, reason codes, metrics. Written by `make docs` from the
code. `gatewayproxy COMMAND --help` has the other flags.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def kinds() -> str:
    served: dict[tuple[str, str], list[str]] = {}
    for group, kind in READERS:
        served[group, kind] = list(READERS[group, kind].versions)
    known = {(info.group, info.kind): info for info in KINDS}
    rows = [
        (f"`{kind}`", group or "core", ", ".join(versions), ", ".join(f"`{name}`" for name in known[group, kind].names))
        for (group, kind), versions in served.items()
    ]
    return table(("kind", "group", "versions", "names for `get`"), rows)


def limits() -> str:
    rows = []
    for limit in LIMITS:
        bounds, _, answer = limit.meaning.partition("; ")
        rows.append((f"`{limit_flag(limit)}`", f"{limit.default:,}", bounds, answer))
    return table(("flag", "default", "bounds", "at the bound"), rows)


def reasons() -> str:
    rows = [
        (f"`{reason}`", status, code(status, reason), "the configuration says so: see the route's conditions")
        for reason, status in REFUSALS.items()
    ]
    rows += [
        (f"`{reason}`", status, code(status, reason), meaning)
        for reason, (status, meaning) in ANSWERS.items()
        if reason not in REFUSALS
    ]
    return table(("reason", "status", "gRPC", "meaning"), sorted(rows))


def code(status: int, reason: str) -> str:
    """Return what clients of gRPC get, or make of it."""
    found = code_of(status, reason)
    return f"{found.value} {found.name}" if status >= 400 else ""


def metrics() -> str:
    total = Snapshot()  # one of everything, so that every family has a sample to take its labels from
    row = Row([0, 0, 1, 0, 0, 0], [0] * (len(BUCKETS) + 1), 0.0, 0, 0, 0, 0, failed_calls=1)
    total.rows[RowName("ns/gw/http", "HTTPRoute", "ns/r", 0, "", "ns/s:80")] = row
    total.reasons["ns/gw/http", "no_route"] = 1
    total.connections["ns/gw/http"] = total.connections_total["ns/gw/http"] = 1
    total.datagrams["ns/gw/udp"] = [0, 0]
    total.upstream["10.0.0.7:80"] = [0, 0, 0, 0]
    state = ProcessState(
        generation=1,
        ready=True,
        reloads={"applied": 1},
        reload_at=0.0,
        reload_s=0.0,
        restarts={"worker-0": 0},
        unbound=0,
        held=0,
        pids={"supervisor": os.getpid()},
    )
    rule = RuleState(RuleName("ns/gw/http", "HTTPRoute", "ns/r", "0"), 0, "", "")
    rule.last_hit_at = 1.0
    rows = []
    shadow = ShadowCounts()
    shadow.add({"requests": 1, "different": 1, "failed": 0, "pairs": [["listener", "did", "would", 1, []]]})
    text = expose(total, state, [rule]) + expose_shadow(shadow, deciding=True)
    for family in text_string_to_metric_families(text.decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in family.samples[0].labels if label != "le")
        rows.append((f"`{name}`", family.type, labels, family.documentation))
    return table(("metric", "type", "labels", "meaning"), rows)


def page() -> str:
    filters = ", ".join(f"`{name}`" for name in FILTERS)
    of_calls = ", ".join(f"`{name}`" for name, kind in FILTERS.items() if kind.of_calls)
    return "\n".join(
        [
            HEAD,
            "## Kinds\n",
            kinds(),
            "## Filters of HTTPRoute and GRPCRoute\n",
            f"{filters}; on rules and on backendRefs, `CORS` and `ExternalAuth` on rules.\n"
            f"GRPCRoutes have {of_calls}.\n",
            "## Limits\n",
            "Flags of `run`. Sizes in bytes, times in seconds; per worker where it says so.\n",
            limits(),
            "## Reason codes\n",
            "In the access log (`reason`) and in `gatewayproxy_local_answers_total`. Those of connections\n"
            "that end without an HTTP answer are in [operations.md](operations.md); what gRPC\n"
            "has to do with it, in [grpc.md](grpc.md).\n",
            reasons(),
            "## Metrics\n",
            "On `/metrics`, summed over the workers; of shadows with `run --shadow`. How many series there may be:\n"
            "[operations.md](operations.md).\n",
            metrics(),
        ]
    )


if __name__ == "__main__":
    print(page(), end="")
