"""Ten thousand HTTPRoutes: what a compilation may cost in CPU time, which other processes do not change."""

from __future__ import annotations

import time
from collections.abc import Callable

from gatewayproxy.compiler.pipeline import Compiler
from gatewayproxy.model.source import CompileOptions, Source

N_ROUTES = 10_000
MAX_CPU_S = 5.0

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


def cpu_s(action: Callable[[], object]) -> float:
    begun = time.process_time()
    action()
    return time.process_time() - begun


def test_ten_thousand_routes_and_then_one_of_them_again() -> None:
    sources = [Source("base.yaml", BASE.encode()), *map(route, range(N_ROUTES))]
    compiler = Compiler()
    cold_s = cpu_s(lambda: compiler.compile(sources, CompileOptions(), {}))
    sources[N_ROUTES // 2] = route(N_ROUTES // 2 - 1, "other")
    warm_s = cpu_s(lambda: compiler.compile(sources, CompileOptions(), {}))
    assert cold_s < MAX_CPU_S
    assert warm_s < cold_s / 1.5  # the other files are not parsed again
