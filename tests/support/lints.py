"""Short manifests, and what the linter says of them.

assert codes(gateway(), route(backends("shop", weight=0)), service()) == {"GW403"}
"""

from __future__ import annotations

from collections.abc import Iterable

from gatewayproxy.insight.lint import lint
from gatewayproxy.model.source import CompileOptions, Source
from gatewayproxy.model.status import Problem
from tests.support import certs

__all__ = ["HTTP", "HTTPS", "backends", "codes", "gateway", "judged", "route", "secret", "service", "told"]

API = "apiVersion: gateway.networking.k8s.io/v1\n"
HTTP = "{name: http, port: 80, protocol: HTTP}"
HTTPS = "{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}"


def judged(*documents: str) -> tuple[Problem, ...]:
    """Return what is told of *documents*, one file; the file x.crt is a certificate for x, x.key its key."""
    text = "---\n".join(each if each.endswith("\n") else each + "\n" for each in documents)

    def read(paths: Iterable[str]) -> dict[str, bytes | None]:
        return {path: _pem(path) for path in paths}

    return lint([Source("all.yaml", text.encode())], CompileOptions(), read)[1].told


def codes(*documents: str) -> set[str]:
    """Return the codes of what is told of *documents*."""
    return {problem.code for problem in judged(*documents)}


def told(code: str, *documents: str) -> list[tuple[str, str, str]]:
    """Return object, field and message of each problem with *code*."""
    return [(str(each.key), each.field, each.message) for each in judged(*documents) if each.code == code]


def gateway(*listeners: str, name: str = "gw", spec: str = "", metadata: str = "") -> str:
    """Return a Gateway of *listeners*, one of HTTP on port 80 where there are none; the rest is flow style."""
    listed = ", ".join(listeners or (HTTP,))
    return (
        f"{API}kind: Gateway\nmetadata: {{name: {name}{metadata}}}\n"
        f"spec: {{gatewayClassName: any, {spec}listeners: [{listed}]}}\n"
    )


def route(
    *rules: str,
    name: str = "r",
    kind: str = "HTTPRoute",
    parents: str = "{name: gw}",
    hosts: str = "",
    metadata: str = "",
) -> str:
    """Return a route of *rules*, one to Service a where there are none."""
    named = f"hostnames: [{hosts}], " if hosts else ""
    listed = ", ".join(rules or (f"{{{backends('a')}}}",))
    return (
        f"{API}kind: {kind}\nmetadata: {{name: {name}{metadata}}}\n"
        f"spec: {{parentRefs: [{parents}], {named}rules: [{listed}]}}\n"
    )


def backends(*names: str, weight: int = 1, namespace: str = "") -> str:
    """Return backendRefs to port 80 of Services."""
    where = f", namespace: {namespace}" if namespace else ""
    refs = (f"{{name: {name}{where}, port: 80, weight: {weight}}}" for name in names)
    return f"backendRefs: [{', '.join(refs)}]"


def service(name: str = "a", namespace: str = "default", port: str = "port: 80") -> str:
    """Return a Service with an endpoint."""
    annotations = '{gatewayproxy.io/endpoints: "192.0.2.7:8080"}'
    metadata = f"{{name: {name}, namespace: {namespace}, annotations: {annotations}}}"
    return f"apiVersion: v1\nkind: Service\nmetadata: {metadata}\nspec: {{ports: [{{{port}}}]}}\n"


def secret(host: str, name: str = "cert") -> str:
    """Return a Secret with a certificate for *host*."""
    file = host.replace("*.", "any.")
    annotations = f"{{gatewayproxy.io/cert-file: {file}.crt, gatewayproxy.io/key-file: {file}.key}}"
    metadata = f"{{name: {name}, annotations: {annotations}}}"
    return f"apiVersion: v1\nkind: Secret\nmetadata: {metadata}\ntype: kubernetes.io/tls\n"


def _pem(path: str) -> bytes:
    host, _, kind = path.rpartition(".")
    made = certs.certificate(host.replace("any.", "*."))
    return made.key_pem if kind == "key" else made.chain_pem
