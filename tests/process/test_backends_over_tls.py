"""Backends over TLS, as manifests and reloads have it: nginx, OpenSSL's own server, hosts outside by name."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gatewayproxy.model.plan import Certificate
from tests.support.backend import backend
from tests.support.backend_tls import HOST, Signer, server_context, signer
from tests.support.manifests import Tree, gateway, http_route, listener, service, tls_secret, write
from tests.support.peers import require, serving, tls_files
from tests.support.ports import free_port
from tests.support.process import Answer, Gateway, http_get, loopback_address, running

_API, _EXPERIMENTAL = "gateway.networking.k8s.io", "gateway.networking.x-k8s.io"
_NGINX = """\
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols {protocols};
    ssl_verify_client on; ssl_client_certificate {authority};
    location / {{ return 200 "$ssl_protocol $ssl_server_name $ssl_client_s_dn"; }}
  }}
}}
"""


@asynccontextmanager
async def nginx(folder: Path, protocols: str = "TLSv1.2 TLSv1.3") -> AsyncIterator[int]:
    """Run an endpoint that asks for certificates of the authority "clients"."""
    folder.mkdir()
    chain, key = tls_files(signer().leaf(HOST), folder)
    authority = folder / "clients.crt"
    authority.write_bytes(signer("clients").pem)
    port, config = free_port(), folder / "nginx.conf"
    config.write_text(
        _NGINX.format(folder=folder, port=port, chain=chain, key=key, authority=authority, protocols=protocols)
    )
    command = [require("nginx"), "-p", folder, "-c", config, "-e", folder / "error.log"]
    async with serving(command, ("127.0.0.1", port), folder / "nginx.log"):
        yield port


def authorities(name: str, of: Signer) -> Tree:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": of.pem.decode()}}


def policy(validation: Tree, *, name: str = "tls", target: str = "app") -> Tree:
    spec = {"targetRefs": [{"group": "", "kind": "Service", "name": target}], "validation": validation}
    return {"apiVersion": f"{_API}/v1", "kind": "BackendTLSPolicy", "metadata": {"name": name}, "spec": spec}


def by(config_map: str) -> Tree:
    return {"hostname": HOST, "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": config_map}]}


def presenting(gw: Tree, secret: str) -> Tree:
    spec = gw["spec"]
    assert isinstance(spec, dict)
    return {**gw, "spec": {**spec, "tls": {"backend": {"clientCertificateRef": {"name": secret}}}}}


def own(name: str, of: str = "clients") -> Certificate:
    return signer(of).leaf("gateway.example.com", common_name=name)


def conditions(gw: Gateway, kind: str, name: str, among: str) -> dict[str, tuple[str, str]]:
    """Return (status, reason) by type of the one ancestor or parent."""
    (entry,) = gw.objects()[kind, name]["status"][among]
    return {each["type"]: (each["status"], each["reason"]) for each in entry["conditions"]}


@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
async def test_nginx_sees_the_certificate_of_the_gateway_and_its_successor_after_a_reload(
    protocol: str, tmp_path: Path
) -> None:
    host = loopback_address()
    folder = tmp_path / "manifests"

    def manifests(secret: Tree) -> list[Tree]:
        gw = presenting(gateway("gw", host, listener("http", 8080)), "own")
        ca = authorities("ca", signer())
        return [gw, http_route("r", "app"), service("app", f"127.0.0.1:{port}"), policy(by("ca")), ca, secret]

    async with nginx(tmp_path / "nginx", protocol) as port:
        write(folder, *manifests(tls_secret("own", own("first"))))
        with running(folder, workers=1) as gw:
            assert http_get(host, 8080).body == f"{protocol} {HOST} CN=first".encode()
            write(folder, *manifests(tls_secret("own", own("second"))))
            gw.reload()
            assert http_get(host, 8080).body == f"{protocol} {HOST} CN=second".encode()
            write(folder, *manifests(tls_secret("own", own("third", of="stranger"))))
            gw.reload()
            assert http_get(host, 8080).status == 400  # nginx's own: "The SSL certificate error"
            write(folder, *manifests(tls_secret("other", own("fourth"))))
            gw.reload()
            assert refused(http_get(host, 8080), 500, "backend_tls_invalid")
            found = gw.objects()["Gateway", "gw"]["status"]["conditions"]
            assert {c["type"]: c["reason"] for c in found}["ResolvedRefs"] == "InvalidClientCertificateRef"


def refused(answer: Answer, status: int, reason: str) -> bool:
    return (answer.status, answer.body.rpartition(b": ")[2].strip().decode()) == (status, reason)


async def test_a_policy_goes_by_the_bundle_and_the_names_of_each_reload(tmp_path: Path) -> None:
    host = loopback_address()
    folder = tmp_path / "manifests"
    gw_tree = gateway("gw", host, listener("http", 8080))

    async with backend(tls=server_context(signer().leaf(HOST, uris=["spiffe://a/b"]))) as up:
        base = [gw_tree, http_route("r", "app"), service("app", f"127.0.0.1:{up.number}")]
        write(folder, *base, policy(by("ca")), authorities("ca", signer()))
        with running(folder, workers=1) as gw:

            async def ask() -> Answer:
                return await to_thread(http_get, host, 8080)

            async def after(*objects: Tree) -> Answer:
                write(folder, *base, *objects)
                await to_thread(gw.reload)
                return await ask()

            assert (await ask()).body == b"ok"
            answer = await after(policy(by("ca")), authorities("ca", signer("stranger")))
            assert refused(answer, 502, "upstream_tls_failed")
            assert refused(await after(policy(by("ca"))), 500, "backend_tls_invalid")
            assert conditions(gw, "BackendTLSPolicy", "tls", "ancestors") == {
                "Accepted": ("False", "NoValidCACertificate"),
                "ResolvedRefs": ("False", "InvalidCACertificateRef"),
            }
            uri = {**by("ca"), "subjectAltNames": [{"type": "URI", "uri": "spiffe://a/b"}]}
            assert (await after(policy(uri), authorities("ca", signer()))).body == b"ok"
            uri = {**by("ca"), "subjectAltNames": [{"type": "URI", "uri": "spiffe://a/c"}]}
            assert refused(await after(policy(uri), authorities("ca", signer())), 502, "upstream_tls_failed")
            heads = len(up.heads)
            assert (await after()).status == 502  # plain text, as there is no policy: the endpoint does not take it
            assert len(up.heads) == heads


async def test_the_system_trusts_who_it_is_told_to(tmp_path: Path) -> None:
    host = loopback_address()
    folder, bundle = tmp_path / "manifests", tmp_path / "system.pem"
    bundle.write_bytes(signer().pem)
    system = policy({"hostname": HOST, "wellKnownCACertificates": "System"})
    async with backend(tls=server_context()) as up:
        app = service("app", f"127.0.0.1:{up.number}")
        write(folder, gateway("gw", host, listener("http", 8080)), http_route("r", "app"), app, system)
        with running(folder, workers=1, env={"SSL_CERT_FILE": str(bundle)}):
            assert (await to_thread(http_get, host, 8080)).body == b"ok"
        nobody = {"SSL_CERT_FILE": str(tmp_path / "none.pem"), "SSL_CERT_DIR": str(tmp_path)}
        with running(folder, workers=1, env=nobody):
            assert refused(await to_thread(http_get, host, 8080), 502, "upstream_tls_failed")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_openssl_is_an_endpoint_too(version: str, tmp_path: Path) -> None:
    host = loopback_address()
    folder, port = tmp_path / "manifests", free_port()
    chain, key = tls_files(signer().leaf(HOST), tmp_path)
    command = [require("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-cert", chain, "-key", key,
               "-www", "-quiet", version]  # fmt: skip
    objects = [http_route("r", "app"), service("app", f"127.0.0.1:{port}"), policy(by("ca"))]
    write(folder, gateway("gw", host, listener("http", 8080)), *objects, authorities("ca", signer()))
    async with serving(command, ("127.0.0.1", port), tmp_path / "openssl.log"):
        with running(folder, workers=1):
            answer = await to_thread(http_get, host, 8080)
            assert answer.status == 200
            assert f"TLSv1.{version[-1]}".encode() in answer.body


def xbackend(name: str, port: int, tls: Tree, protocol: str | None = None) -> Tree:
    spec: Tree = {
        "type": "ExternalHostname", "externalHostname": {"hostname": "localhost"}, "port": {"port": port}, "tls": tls,
    }  # fmt: skip
    spec |= {"protocol": protocol} if protocol else {}
    return {"apiVersion": f"{_EXPERIMENTAL}/v1alpha1", "kind": "XBackend", "metadata": {"name": name}, "spec": spec}


def outside(name: str) -> Tree:
    """Return the route of "/" to an XBackend."""
    rule = {"backendRefs": [{"group": _EXPERIMENTAL, "kind": "XBackend", "name": name}]}
    spec = {"parentRefs": [{"name": "gw"}], "rules": [rule]}
    return {"apiVersion": f"{_API}/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}, "spec": spec}


async def test_an_xbackend_is_reached_by_name_over_tls_of_its_own(tmp_path: Path) -> None:
    host = loopback_address()
    folder = tmp_path / "manifests"
    gw_tree, ca = gateway("gw", host, listener("http", 8080)), authorities("ca", signer())
    context = server_context(signer().leaf(HOST), clients=signer("clients"))
    async with backend(tls=context) as up:
        mutual = {"mode": "ClientAndServer", "clientCertificateRef": {"name": "own"}, "validation": by("ca")}
        write(folder, gw_tree, outside("api"), xbackend("api", up.number, mutual), ca, tls_secret("own", own("us")))
        with running(folder, workers=1) as gw:
            assert (await to_thread(http_get, host, 8080)).body == b"ok"
            session = up.sessions[-1]
            assert session is not None
            assert (session.getpeercert() or {})["subject"] == ((("commonName", "us"),),)
            accepted = {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
            assert conditions(gw, "XBackend", "api", "parents") == accepted
            anonymous = {"mode": "ServerOnly", "validation": by("ca")}
            write(folder, gw_tree, outside("api"), xbackend("api", up.number, anonymous), ca)
            await to_thread(gw.reload)
            assert (await to_thread(http_get, host, 8080)).status == 502  # it asks for a certificate
            heads = len(up.heads)
            write(folder, gw_tree, outside("api"), xbackend("api", up.number, {"mode": "ServerOnly"}))
            await to_thread(gw.reload)  # as "localhost", by the system's authorities: it is neither
            assert refused(await to_thread(http_get, host, 8080), 502, "upstream_tls_failed")
            assert len(up.heads) == heads


async def test_an_xbackend_in_plain_text_is_one_only_where_it_says_so(tmp_path: Path) -> None:
    host = loopback_address()
    folder = tmp_path / "manifests"
    gw_tree = gateway("gw", host, listener("http", 8080))
    async with backend() as up:
        write(folder, gw_tree, outside("api"), xbackend("api", up.number, {"mode": "None"}, "HTTP11"))
        with running(folder, workers=1) as gw:
            assert (await to_thread(http_get, host, 8080)).body == b"ok"
            write(folder, gw_tree, outside("api"), xbackend("api", up.number, {"mode": "None"}, "TCP"))
            await to_thread(gw.reload)
            assert refused(await to_thread(http_get, host, 8080), 500, "unsupported_protocol")
