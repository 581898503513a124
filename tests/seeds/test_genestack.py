"""System 3, Genestack: 28 listeners with a certificate each, clear text to HTTPS, an internal Gateway beside."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest
import yaml
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from tests.support.certs import client_context
from tests.support.h2client import h2_session
from tests.support.h2websocket import H2WebSocket
from tests.support.peers import require
from tests.support.process import refused, wait_until
from tests.support.seeds import ROOT, Seed, Tree, full_name, http_port, serving

D = "stack.localhost"
FLEX = "envoy-gateway/flex-gateway"
HTTPS = http_port(443)
API = "gateway.networking.k8s.io"


@pytest.fixture(scope="module")
def genestack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    with serving("genestack", tmp_path_factory.mktemp("genestack"), workers=2) as seed:
        yield seed


def https_listeners(seed: Seed) -> list[Tree]:
    return [each for each in seed.tree("Gateway", FLEX)["spec"]["listeners"] if each["protocol"] == "HTTPS"]


def handshake(seed: Seed, name: str) -> ssl.SSLSocket:
    """Return a connection to port 443 that named *name* and trusts the tests' CA for it."""
    raw = socket.create_connection((seed.host, HTTPS), timeout=60)
    try:
        return client_context().wrap_socket(raw, server_hostname=name)
    except BaseException:
        raw.close()
        raise


def s_client(seed: Seed, *options: str) -> str:
    """Return what `openssl s_client` says of port 443."""
    command = [require("openssl"), "s_client", "-connect", f"{seed.host}:{HTTPS}", *options]
    return subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False).stderr


def listener_condition(seed: Seed, name: str, kind: str) -> tuple[str, str]:
    """Return (status, reason) of a condition of a listener of the external Gateway."""
    status = seed.get_json("gateway", "flex-gateway", "-n", "envoy-gateway")["status"]
    (listener,) = (each for each in status["listeners"] if each["name"] == name)
    (found,) = (each for each in listener["conditions"] if each["type"] == kind)
    return found["status"], found["reason"]


class KeepAlive:
    """A TLS connection that is used again and again."""

    def __init__(self, seed: Seed, name: str) -> None:
        self.name = name
        self.tls = handshake(seed, name)
        self.lines = self.tls.makefile("rb")

    def ask(self) -> str:
        """Return which backend answers one more request."""
        self.tls.sendall(f"GET / HTTP/1.1\r\nHost: {self.name}\r\n\r\n".encode())
        assert self.lines.readline() == b"HTTP/1.1 200 OK\r\n"
        length = 0
        while (line := self.lines.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return str(json.loads(self.lines.read(length))["backend"])

    def close(self) -> None:
        self.lines.close()
        self.tls.close()


# --- a base and its patches


@contextmanager
def split_into_patches(seed: Seed) -> Iterator[Path]:
    """Leave two listeners in the external Gateway, give each other one a patch file of its own, as upstream keeps them.

    Yields the folder of the files; everything is put back when the block ends.
    """
    folder = seed.folder / "listeners"
    with seed.changed():
        gateway = seed.tree("Gateway", FLEX)
        gateway["spec"]["listeners"], moved = gateway["spec"]["listeners"][:2], gateway["spec"]["listeners"][2:]
        folder.mkdir()
        for number, listener in enumerate(moved):
            operation = {"op": "add", "path": "/spec/listeners/-", "value": listener}
            (folder / f"{number:02}-{listener['name']}.json").write_text(json.dumps([operation], indent=4))
        merged = {each: gateway[each] for each in ("apiVersion", "kind")}
        merged["metadata"] = {"name": "flex-gateway", "namespace": "envoy-gateway", "annotations": ANNOTATIONS}
        (folder / "letsencrypt.yaml").write_text("---\n" + yaml.safe_dump(merged))
        seed.add(listener_patch("listeners/*.json", "listeners/letsencrypt.yaml"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


ANNOTATIONS = {
    "acme.cert-manager.io/http01-edit-in-place": "true",
    "cert-manager.io/cluster-issuer": "letsencrypt-prod",
}


def listener_patch(*files: str, name: str = "listeners") -> Tree:
    """A Patch of the external Gateway."""
    spec = {"target": {"kind": "Gateway", "name": "flex-gateway"}, "files": list(files)}
    metadata = {"name": name, "namespace": "envoy-gateway"}
    return {"apiVersion": "gatewayproxy.io/v1alpha1", "kind": "Patch", "metadata": metadata, "spec": spec}


def test_G1_a_base_gateway_and_its_patch_files_are_28_listeners(genestack: Seed) -> None:
    before = genestack.gateway.state()["digest"]
    with split_into_patches(genestack) as folder:
        assert len(list(folder.glob("*.json"))) == 26
        assert genestack.reload()["errors"] == 0
        gateway = genestack.get_json("gateway", "flex-gateway", "-n", "envoy-gateway")
        names = [each["name"] for each in gateway["spec"]["listeners"]]
        assert len(names) == len(set(names)) == 28
        assert gateway["metadata"]["annotations"] == ANNOTATIONS
        assert genestack.gateway.state()["digest"] == before  # the very same table as from one file
        assert genestack.curl(f"https://nova.{D}:{HTTPS}/").backend == "openstack/nova"


def test_G1_applying_the_patches_again_changes_nothing(genestack: Seed) -> None:
    with split_into_patches(genestack):
        genestack.reload()
        genestack.add(listener_patch("listeners/*.json", "listeners/letsencrypt.yaml", name="once-more"))
        report = genestack.reload()
        assert (report["result"], report["errors"]) == ("unchanged", 0)


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        pytest.param(
            {"op": "remove", "path": "/spec/listeners/28"}, '"28" is no item of a list of 28', id="no such item"
        ),
        pytest.param(
            {"op": "add", "path": "/spec/listeners/-", "value": {"name": "nova-https", "port": 1, "protocol": "HTTP"}},
            'another item is named "nova-https"', id="P12, a name taken twice",
        ),
    ],
)  # fmt: skip
def test_G1_a_patch_that_fails_is_named_by_file_and_line_and_keeps_the_table(
    genestack: Seed, operation: Tree, told: str
) -> None:
    with split_into_patches(genestack) as folder:
        genestack.reload()
        digest = genestack.gateway.state()["digest"]
        (folder / "99-broken.json").write_text(json.dumps([operation], indent=4))
        report = genestack.gateway.reload()
        assert report["result"] == "failed"
        (problem,) = (each for each in report["problems"] if told in each["message"])
        assert problem["origin"] == f"{folder}/99-broken.json:2"
        assert genestack.gateway.state()["digest"] == digest
        assert genestack.curl(f"https://nova.{D}:{HTTPS}/").backend == "openstack/nova"


# --- certificates


def test_G2_each_name_gets_the_certificate_of_its_listener(genestack: Seed) -> None:
    listeners = https_listeners(genestack)
    assert len(listeners) == 25
    for listener in listeners:
        with handshake(genestack, listener["hostname"]) as tls:
            shown = tls.getpeercert() or {}
        assert shown["subjectAltName"] == (("DNS", listener["hostname"]),)


@pytest.mark.parametrize("name", [f"swift.{D}", D, f"a.nova.{D}", None])
def test_G2_a_name_outside_all_listeners_gets_an_alert(genestack: Seed, name: str | None) -> None:
    said = s_client(genestack, *(["-servername", name] if name else ["-noservername"]))
    assert "alert number 112" in said  # unrecognized_name, RFC 6066 §3
    line = genestack.logged(protocol="tls", host=name, reason="unknown_sni" if name else "no_sni")
    assert (line["listener"], line["backend"]) == (f"{genestack.host}:{HTTPS}", "")  # the port: no listener was chosen


def test_G3_a_listener_without_its_secret_is_fenced_and_the_others_serve(genestack: Seed) -> None:
    keystone, nova, horizon = f"keystone.{D}", f"nova.{D}", f"horizon.{D}"
    with closing(KeepAlive(genestack, nova)) as other:
        assert other.ask() == "openstack/nova"
        with genestack.changed():
            genestack.drop("Secret", "envoy-gateway/keystone-gw-tls-secret")
            genestack.reload()
            refs = listener_condition(genestack, "keystone-https", "ResolvedRefs")
            assert refs == ("False", "InvalidCertificateRef")
            assert listener_condition(genestack, "keystone-https", "Programmed")[0] == "False"
            with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
                handshake(genestack, keystone)
            assert listener_condition(genestack, "nova-https", "Programmed") == ("True", "Programmed")
            assert other.ask() == "openstack/nova"
            assert genestack.curl(f"https://{horizon}:{HTTPS}/").backend == "openstack/horizon"
        # `changed` has put the Secret back: cert-manager has issued it.
        assert listener_condition(genestack, "keystone-https", "ResolvedRefs") == ("True", "ResolvedRefs")
        assert genestack.curl(f"https://{keystone}:{HTTPS}/v3").backend == "openstack/keystone"
        assert other.ask() == "openstack/nova"
        report = genestack.gateway.state()["reload"]
        assert report["connections"]["kept"] >= 1
        assert report["connections"]["cut"] == report["connections"]["draining"] == 0


def test_G3_a_renewed_certificate_file_needs_a_reload_and_nothing_else(genestack: Seed) -> None:
    name = f"glance.{D}"
    secret = genestack.tree("Secret", "envoy-gateway/glance-gw-tls-secret")

    def serial() -> object:
        with handshake(genestack, name) as tls:
            return (tls.getpeercert() or {})["serialNumber"]

    with closing(KeepAlive(genestack, name)) as before:
        first = serial()
        genestack.issue(secret, name, serial=1)
        assert serial() == first
        assert genestack.reload()["result"] == "applied"
        assert serial() != first
        assert before.ask() == "openstack/glance"


# --- clear text


@pytest.mark.parametrize("target", ["/", "/v2.1?limit=1&x=%20", "/a/b/", "/?q"])
def test_G4_clear_text_is_sent_to_https_with_path_and_query_and_no_port(genestack: Seed, target: str) -> None:
    for host in (f"nova.{D}", f"nova.{D}:80", f"NOVA.{D}"):
        answer = genestack.ask(host, target)
        assert (answer.status, answer.backend) == (301, "")
        assert answer.headers["location"].lower() == f"https://nova.{D}{target}"


def test_G4_a_more_specific_listener_is_not_redirected(genestack: Seed) -> None:
    assert genestack.ask(f"loki.{D}", "/ready").backend == "grafana/loki"
    assert genestack.ask(f"a.loki.{D}", "/ready").status == 301  # that is the wildcard's
    with genestack.changed():
        # Isolation: not even a path that only the wildcard's route has may come from there.
        rule = genestack.tree("HTTPRoute", "grafana/loki")["spec"]["rules"][0]
        rule["matches"] = [{"path": {"value": "/ready"}}]
        genestack.reload()
        assert genestack.ask(f"loki.{D}", "/ready").backend == "grafana/loki"
        assert genestack.ask(f"loki.{D}", "/else").status == 404


def test_G5_exact_hosts_on_the_wildcard_listener_beat_its_redirect(genestack: Seed) -> None:
    for name in ("prometheus", "alertmanager"):
        answer = genestack.ask(f"{name}.{D}", "/graph")
        assert (answer.status, answer.backend) == (200, f"prometheus/{name}")
        assert answer.seen["headers"]["x-forwarded-proto"] == "http"
    assert genestack.ask(f"other.{D}", "/graph").status == 301


def test_G6_only_names_the_listener_has_are_routed_and_the_rest_is_reported(genestack: Seed) -> None:
    assert genestack.curl(f"https://grafana.{D}:{HTTPS}/").backend == "grafana/grafana"
    unreachable = ("grafana", "grafana.cluster.local", "grafana.grafana.svc", f"metrics.{D}")
    for name in unreachable:
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            handshake(genestack, name)
    assert genestack.curl(f"https://grafana.{D}:{HTTPS}/", "-H", "Host: grafana").status in (404, 421)
    command = [sys.executable, "-m", "gatewayproxy", "check", "-o", "json", str(genestack.folder)]
    with genestack.changed():
        del genestack.tree("HTTPRoute", "grafana/grafana")["metadata"]["annotations"]  # which silences it
        genestack.save()
        checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr
    (problem,) = (each for each in json.loads(checked.stdout) if each["object"]["name"] == "grafana")
    assert (problem["severity"], problem["field"]) == ("warning", "spec.hostnames")
    assert all(name in problem["message"] for name in unreachable)
    assert f"grafana.{D}" not in problem["message"]


# --- WebSockets


@contextmanager
def websocket_echo() -> Iterator[str]:
    """Run a WebSocket server that sends back every message; yield its endpoint."""

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 0, subprotocols=["binary"]) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield "{}:{}".format(*server.socket.getsockname())
        server.shutdown()
        thread.join(60)


def test_G10_a_websocket_is_upgraded_by_default_and_survives_reloads(genestack: Seed) -> None:
    name = f"novnc.{D}"
    url = f"wss://{name}:{HTTPS}/websockify"
    with websocket_echo() as endpoint, genestack.changed():
        service = genestack.tree("Service", "openstack/novnc")
        service["metadata"]["annotations"]["gatewayproxy.io/endpoints"] = endpoint
        genestack.reload()
        raw = socket.create_connection((genestack.host, HTTPS), timeout=60)
        with connect(url, sock=raw, ssl=client_context(), server_hostname=name, subprotocols=["binary"]) as console:
            assert console.subprotocol == "binary"
            console.send(b"RFB 003.008\n")
            assert console.recv(60) == b"RFB 003.008\n"
            for path in ("/one", "/two"):
                rules = genestack.tree("HTTPRoute", "openstack/nova")["spec"]["rules"]
                rules[0]["matches"] = [{"path": {"value": path}}]
                assert genestack.reload()["result"] == "applied"
                console.send(path)
                assert console.recv(60) == path
            console.send(bytes(1 << 20))
            assert console.recv(60) == bytes(1 << 20)


async def test_G10_a_websocket_over_http2_survives_reloads_too(genestack: Seed) -> None:
    name = f"novnc.{D}"
    tls = client_context(alpn=("h2",))
    with websocket_echo() as endpoint, genestack.changed():
        genestack.tree("Service", "openstack/novnc")["metadata"]["annotations"]["gatewayproxy.io/endpoints"] = endpoint
        genestack.reload()
        async with h2_session(HTTPS, at=genestack.host, tls=tls, name=name) as session:
            console = await H2WebSocket.open(session, f"{name}:{HTTPS}", "/websockify", "binary")
            assert await console.echoes(b"RFB 003.008\n")
            for path in ("/h2-one", "/h2-two"):
                rules = genestack.tree("HTTPRoute", "openstack/nova")["spec"]["rules"]
                rules[0]["matches"] = [{"path": {"value": path}}]
                assert genestack.reload()["result"] == "applied"
                assert await console.echoes(path)
            assert await console.echoes(bytes(1 << 20))


# --- two Gateways


def test_G11_the_same_host_on_two_gateways_does_not_leak_across(genestack: Seed) -> None:
    internal = genestack.addresses["127.0.0.2"]
    host = f"keystone.{D}"
    assert genestack.ask(host, "/v3", at=internal).backend == "openstack/keystone-internal"
    assert genestack.ask(host, "/v3").status == 301
    assert genestack.curl(f"https://{host}:{HTTPS}/v3").backend == "openstack/keystone"
    for only_external in (f"prometheus.{D}", f"loki.{D}", f"nova.{D}"):
        assert genestack.ask(only_external, at=internal).status == 404
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((internal, HTTPS), timeout=60)


def test_G11_a_route_is_external_internal_both_or_skipped(genestack: Seed) -> None:
    internal = genestack.addresses["127.0.0.2"]
    outside = {"name": "flex-gateway", "namespace": "envoy-gateway", "sectionName": "http-wildcard-listener"}
    inside = {"name": "internal-gateway", "namespace": "envoy-gateway"}

    def served(*parents: Tree) -> list[str]:
        with genestack.changed():
            backend = [{"name": "skyline", "port": 80}]
            spec = {"parentRefs": list(parents), "hostnames": [f"g11.{D}"], "rules": [{"backendRefs": backend}]}
            metadata = {"name": "g11", "namespace": "openstack"}
            genestack.add({"apiVersion": f"{API}/v1", "kind": "HTTPRoute", "metadata": metadata, "spec": spec})
            genestack.reload()
            status = genestack.get_json("httproute", "g11", "-n", "openstack").get("status", {"parents": []})
            names = [parent["parentRef"]["name"] for parent in status["parents"]]
            assert names == [parent["name"] for parent in parents]
            return [genestack.ask(f"g11.{D}", at=at).backend for at in (genestack.host, internal)]

    assert served(outside) == ["openstack/skyline", ""]
    assert served(inside) == ["", "openstack/skyline"]
    assert served(outside, inside) == ["openstack/skyline", "openstack/skyline"]
    assert served() == ["", ""]


def test_G11_each_gateway_has_an_address_and_a_class_of_its_own(genestack: Seed) -> None:
    with genestack.changed():
        genestack.tree("Gateway", "envoy-gateway/internal-gateway")["spec"]["gatewayClassName"] = "internal"
        for name, controller in (("internal", "gatewayproxy.io/controller"), ("gatewayproxy", "example.com/other")):
            metadata, spec = {"name": name}, {"controllerName": controller}
            genestack.add({"apiVersion": f"{API}/v1", "kind": "GatewayClass", "metadata": metadata, "spec": spec})
        genestack.reload()
        addresses = {
            full_name(each): each.get("status", {}).get("addresses")
            for each in genestack.get_json("gateways", "-A")["items"]
        }
        internal = genestack.addresses["127.0.0.2"]
        assert addresses == {
            FLEX: None,  # now another controller's
            "envoy-gateway/internal-gateway": [{"type": "IPAddress", "value": internal}],
        }
        assert genestack.ask(f"keystone.{D}", at=internal).backend == "openstack/keystone-internal"
        wait_until(lambda: refused(genestack.host, http_port(80)), "the port to be closed")
    assert genestack.ask(f"loki.{D}", "/ready").backend == "grafana/loki"
