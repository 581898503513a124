"""A listener whose certificate cannot be used: nobody gets its names, and the others of its port serve on."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from tests.support.certs import certificate, client_context
from tests.support.manifests import Tree, gateway, http_route, listener, service, tls_secret, write
from tests.support.peers import require
from tests.support.process import Gateway, http_get, loopback_address, running
from tests.support.threaded_backend import Backend, backend

SECRET = "secret.example.com"
OTHER = "other.example.com"


def https(name: str, hostname: str, secret: str, port: int = 8443) -> Tree:
    return listener(name, port, "HTTPS", hostname=hostname, tls={"certificateRefs": [{"name": secret}]})


def objects(host: str, wide: Backend, narrow: Backend, *secrets: Tree) -> list[Tree]:
    """Return a Gateway with a listener for one name, whose Secret is among *secrets* or not, and one for all."""
    return [
        gateway("gw", host, https("wide", "*.example.com", "wide"), https("secret", SECRET, "secret")),
        http_route("wide", "wide", section="wide"), http_route("secret", "secret", section="secret"),
        service("wide", wide.endpoint), service("secret", narrow.endpoint),
        tls_secret("wide", certificate("*.example.com")), *secrets,
    ]  # fmt: skip


def whole() -> Tree:
    return tls_secret("secret", certificate(SECRET))


def shown(host: str, name: str) -> tuple[int, str]:
    """Return what `openssl s_client` ends with, and says."""
    command = [require("openssl"), "s_client", "-connect", f"{host}:8443", "-servername", name]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
    )
    return done.returncode, done.stdout.decode()


class Client(http.client.HTTPSConnection):
    """A connection to *host* whose ClientHello names *name*."""

    def __init__(self, host: str, name: str) -> None:
        self._tls, self._name = client_context(), name
        super().__init__(host, 8443, timeout=60, context=self._tls)

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)

    def ask(self, host: str) -> tuple[int, str]:
        """Return status, and which backend answered."""
        self.request("GET", "/", headers={"host": host})
        answer = self.getresponse()
        body = answer.read()
        return answer.status, json.loads(body)["backend"] if answer.status == 200 else ""


@contextmanager
def asking(host: str, name: str) -> Iterator[Client]:
    client = Client(host, name)
    try:
        yield client
    finally:
        client.close()


def test_names_without_a_certificate_are_refused_and_others_serve(tmp_path: Path) -> None:
    host = loopback_address()
    with backend("wide") as wide, backend("narrow") as narrow:
        write(tmp_path, *objects(host, wide, narrow))
        with running(tmp_path, workers=1) as gw:
            code, said = shown(host, SECRET)
            assert code != 0
            assert "no peer certificate available" in said
            assert "unrecognized name" in said
            assert "unrecognized name" in shown(host, "other.example.org")[1]
            assert "subject=" in shown(host, OTHER)[1]
            with asking(host, OTHER) as client:
                assert client.ask(OTHER) == (200, "wide")
                assert client.ask(SECRET) == (421, "")
            counted = 'gatewayproxy_local_answers_total{listener="default/gw/secret",reason="no_certificate"} 1.0'
            gw.wait_until(lambda: counted in gw.get("/metrics").body.decode(), "the refusal to be counted")
            _everybody_is_told(gw)
            write(tmp_path, *objects(host, wide, narrow, whole()))
            gw.reload()
            with asking(host, SECRET) as client:
                assert client.ask(SECRET) == (200, "narrow")


def _everybody_is_told(gw: Gateway) -> None:
    status = gw.objects()["Gateway", "gw"]["status"]["listeners"][1]
    conditions = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
    assert (status["name"], status["attachedRoutes"], conditions["Accepted"][0]) == ("secret", 1, "True")
    assert conditions["ResolvedRefs"] == ("False", "InvalidCertificateRef")
    assert conditions["Programmed"] == ("False", "Invalid")
    told = gw.get("/explain?" + urlencode({"request": f"https://{SECRET}:8443/"})).json
    assert told["answer"]["reason"] == "no_certificate"
    assert told["answer"]["detail"] == "listener default/gw/secret has this name, but cannot serve: see its status"
    assert (told["listener"], told["ok"]) == ("default/gw/secret", False)


def test_a_secret_that_goes_bad_is_held_and_one_that_goes_takes_its_names_along(tmp_path: Path) -> None:
    host = loopback_address()
    bad = {**whole(), "stringData": 7}
    with backend("wide") as wide, backend("narrow") as narrow:
        write(tmp_path, *objects(host, wide, narrow, whole()))
        with running(tmp_path, workers=1) as gw, asking(host, SECRET) as kept:
            assert kept.ask(SECRET) == (200, "narrow")
            write(tmp_path, *objects(host, wide, narrow, bad))
            assert gw.reload()["held"] == 1
            with asking(host, SECRET) as client:
                assert client.ask(SECRET) == (200, "narrow")
            assert kept.ask(SECRET) == (200, "narrow")
            write(tmp_path, *objects(host, wide, narrow))
            assert gw.reload()["result"] == "applied"
            assert "unrecognized name" in shown(host, SECRET)[1]
            assert kept.ask(SECRET) == (421, "")
            with asking(host, OTHER) as client:
                assert client.ask(OTHER) == (200, "wide")


def test_a_port_of_which_no_listener_has_a_certificate_is_not_there(tmp_path: Path) -> None:
    host = loopback_address()
    with backend() as app:
        write(
            tmp_path, gateway("gw", host, listener("http", 8080), https("https", "*.example.com", "missing")),
            http_route("r", "app"), service("app", app.endpoint),
        )  # fmt: skip
        with running(tmp_path, workers=1), socket.socket() as client:
            assert client.connect_ex((host, 8443)) != 0


def test_names_of_listeners_that_cannot_serve_for_other_reasons_stay_theirs(tmp_path: Path) -> None:
    host = loopback_address()
    no_kind = {"kinds": [{"kind": "UDPRoute"}]}
    with backend("wide") as wide:
        write(
            tmp_path,
            gateway(
                "gw", host, listener("http", 8080, hostname="*.example.com"),
                listener("idle", 8080, hostname=SECRET, allowedRoutes=no_kind),
                https("https", "*.example.com", "wide"),
                {**https("idle-https", SECRET, "wide"), "allowedRoutes": no_kind},
                https("ends", "both.example.com", "wide"),
                listener("passes", 8443, "TLS", hostname="both.example.com", tls={"mode": "Passthrough"}),
            ),
            http_route("wide", "wide"), service("wide", wide.endpoint),
            tls_secret("wide", certificate("*.example.com")),
        )  # fmt: skip
        with running(tmp_path, workers=1):
            assert [http_get(host, 8080, headers={"host": name}).status for name in (OTHER, SECRET)] == [200, 404]
            with asking(host, OTHER) as client:
                assert client.ask(OTHER) == (200, "wide")
                assert client.ask("both.example.com") == (421, "")
            with asking(host, SECRET) as client:
                assert client.ask(SECRET) == (404, "")
            assert "unrecognized name" in shown(host, "both.example.com")[1]
