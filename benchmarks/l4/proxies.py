"""The proxies under test, configured to do the same work.

Each serves `base` (TCP) and `base + 1` (TLS passthrough by server name) on loopback, with one worker, to one upstream.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.http.proxies import tool

NAME = "www.example.com"  # the server name that is routed
CONNECTIONS = 4096


@dataclass(frozen=True)
class Setup:
    """What a proxy is configured with."""

    base: int
    upstream: int
    work: Path  # a folder of its own


def gatewayproxy(setup: Setup) -> list[str]:
    """A TCPRoute and a TLSRoute."""
    meta = {"name": "l4"}
    endpoints = {"gatewayproxy.io/endpoints": f"127.0.0.1:{setup.upstream}"}
    rules = [{"backendRefs": [{"name": "up", "port": 80}]}]
    listeners: list[dict[str, Any]] = [
        {"name": "tcp", "port": setup.base, "protocol": "TCP"},
        {"name": "tls", "port": setup.base + 1, "protocol": "TLS", "tls": {"mode": "Passthrough"}},
    ]
    documents = [
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": meta, "spec": {
            "gatewayClassName": "bench", "addresses": [{"type": "IPAddress", "value": "127.0.0.1"}],
            "listeners": listeners}},
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "TCPRoute", "metadata": meta, "spec": {
            "parentRefs": [{**meta, "sectionName": "tcp"}], "rules": rules}},
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "TLSRoute", "metadata": meta, "spec": {
            "parentRefs": [{**meta, "sectionName": "tls"}], "hostnames": [NAME], "rules": rules}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "up", "annotations": endpoints},
         "spec": {"ports": [{"port": 80}]}},
    ]  # fmt: skip
    path = setup.work / "l4.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    return [sys.executable, "-m", "gatewayproxy", "run", str(path), "--workers", "1", "--admin", "127.0.0.1:0"]


def haproxy(setup: Setup) -> list[str]:
    """HAProxy with splice and 1 MiB pipes, its best."""
    path = setup.work / "haproxy.cfg"
    path.write_text(f"""
global
  nbthread 1
  maxconn {CONNECTIONS}
  tune.pipesize 1048576
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  option splice-request
  option splice-response
frontend tcp
  bind 127.0.0.1:{setup.base}
  default_backend up
frontend tls
  bind 127.0.0.1:{setup.base + 1}
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req_ssl_hello_type 1 }}
  use_backend up if {{ req_ssl_sni -i {NAME} }}
backend up
  server s 127.0.0.1:{setup.upstream}
""")
    return [tool("haproxy") or "haproxy", "-f", str(path), "-db"]


def nginx(setup: Setup) -> list[str]:
    """The nginx stream module with 64 KiB buffers."""
    path = setup.work / "nginx.conf"
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    load = f"load_module {module};\n" if Path(module).exists() else ""
    path.write_text(f"""{load}
daemon off; worker_processes 1; pid {setup.work}/nginx.pid; error_log stderr error;
worker_rlimit_nofile {4 * CONNECTIONS}; events {{ worker_connections {2 * CONNECTIONS}; }}
stream {{
  proxy_buffer_size 64k; proxy_half_close on;
  map $ssl_preread_server_name $up {{ {NAME} 127.0.0.1:{setup.upstream}; }}
  server {{ listen 127.0.0.1:{setup.base}; proxy_pass 127.0.0.1:{setup.upstream}; }}
  server {{ listen 127.0.0.1:{setup.base + 1}; ssl_preread on; proxy_pass $up; }}
}}
""")
    return [tool("nginx") or "nginx", "-c", str(path), "-p", str(setup.work), "-e", "stderr"]


def envoy(setup: Setup) -> list[str]:
    """Envoy's tcp_proxy, behind the TLS inspector on the second port."""
    path = setup.work / "envoy.json"
    limits = {"thresholds": [{"max_connections": CONNECTIONS, "max_pending_requests": CONNECTIONS}]}
    endpoint = {"endpoint": {"address": _address(setup.upstream)}}
    cluster = {
        "name": "up",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": limits,
        "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listeners = [_envoy_listener(setup.base, tls=False), _envoy_listener(setup.base + 1, tls=True)]
    path.write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": [cluster]}}))
    program = tool("envoy") or "envoy"
    return [program, "-c", str(path), "--concurrency", "1", "-l", "error", "--disable-hot-restart"]


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _envoy_listener(port: int, *, tls: bool) -> dict[str, Any]:
    def typed(name: str, **fields: str) -> dict[str, str]:
        return {"@type": f"type.googleapis.com/envoy.extensions.filters.{name}", **fields}

    proxy = typed("network.tcp_proxy.v3.TcpProxy", stat_prefix=f"p{port}", cluster="up")
    chain: dict[str, Any] = {"filters": [{"name": "tcp", "typed_config": proxy}]}
    listener: dict[str, Any] = {"name": f"p{port}", "address": _address(port), "filter_chains": [chain]}
    if tls:
        chain["filter_chain_match"] = {"server_names": [NAME]}
        inspector = typed("listener.tls_inspector.v3.TlsInspector")
        listener["listener_filters"] = [{"name": "tls", "typed_config": inspector}]
    return listener


PROXIES: dict[str, Callable[[Setup], list[str]]] = {
    "gatewayproxy": gatewayproxy, "haproxy": haproxy, "nginx": nginx, "envoy": envoy,
}  # fmt: skip
