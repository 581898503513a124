"""HTTPRoutes by the hundred: how many calls each may cost to compile, which is the same on every machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from gatewayproxy.compiler.pipeline import Compiler
from gatewayproxy.model.source import CompileOptions, Source
from tests.support.calls import counted

MAX_CALLS = 720

BASE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec: {gatewayClassName: any, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
{apiVersion: v1, kind: Service, metadata: {name: app}, spec: {ports: [{port: 80}]}}
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: route-%d
spec:
  parentRefs:
  - name: gw
  hostnames:
  - app-%d.example.com
  rules:
  - matches:
    - path:
        type: PathPrefix
        value: /%s
    backendRefs:
    - name: app
      port: 80
"""


def route(number: int, path: str = "api") -> Source:
    return Source(f"{number}.yaml", (ROUTE % (number, number, path)).encode())


def n_calls(action: Callable[[], object]) -> int:
    """Return how many Python functions *action* calls."""
    calls = Counter[str]()
    with counted(calls, below=""):
        action()
    return calls.total()


def costs(n_routes: int) -> tuple[float, float]:
    """Return the calls per route of a first compilation, and of another behind a change of one file."""
    sources = [Source("base.yaml", BASE.encode()), *map(route, range(n_routes))]
    compiler = Compiler()
    cold = n_calls(lambda: compiler.compile(sources, CompileOptions(), {}))
    sources[n_routes // 2] = route(n_routes // 2 - 1, "other")
    warm = n_calls(lambda: compiler.compile(sources, CompileOptions(), {}))
    return cold / n_routes, warm / n_routes


def test_a_route_costs_the_same_among_many_and_files_that_stay_are_not_read_again() -> None:
    few, _ = costs(100)
    many, again = costs(1000)
    assert many < MAX_CALLS
    assert many < 1.02 * few
    assert again < many / 2
