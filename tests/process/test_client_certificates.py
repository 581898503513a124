"""Client certificates on the real process: one configuration a port, and authorities that change while we serve."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import trustme

from tests.support.certs import certificate, client_context
from tests.support.manifests import Tree, gateway, http_route, listener, service, tls_secret, write
from tests.support.process import Gateway, http_get, loopback_address, running
from tests.support.threaded_backend import backend


@cache
def ca(name: str) -> trustme.CA:
    return trustme.CA(organization_name=name)


def context_of(client: str) -> ssl.SSLContext:
    context = client_context()
    if client != "none":
        ca(client).issue_cert("client.test").configure_cert(context)
    return context


def _bundle(name: str, *trusted: str) -> Tree:
    text = "".join(ca(each).cert_pem.bytes().decode() for each in trusted)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": text}}


def _validation(bundle: str, **rest: object) -> Tree:
    return {"validation": {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": bundle}], **rest}}


def _objects(host: str, endpoint: str, *trusted: str) -> list[Tree]:
    """Return a Gateway whose port 8443 takes clients of *trusted*, 9443 those of "theirs", and 9444 anyone."""
    tls = {"tls": {"certificateRefs": [{"name": "site"}]}}
    web = gateway(
        "gw",
        host,
        listener("plain", 8080),
        *(listener(f"https-{port}", port, "HTTPS", hostname="a.test", **tls) for port in (8443, 9443, 9444)),
    )
    spec = web["spec"]
    assert isinstance(spec, dict)
    per_port = [
        {"port": 9443, "tls": _validation("theirs")},
        {"port": 9444, "tls": _validation("theirs", mode="AllowInsecureFallback")},
    ]
    spec["tls"] = {"frontend": {"default": _validation("default"), "perPort": per_port}}
    return [
        web, _bundle("default", *trusted), _bundle("theirs", "theirs"), http_route("r", "app"),
        service("app", endpoint), tls_secret("site", certificate("a.test")),
    ]  # fmt: skip


@contextmanager
def serving(tmp_path: Path) -> Iterator[tuple[Gateway, str, str]]:
    host = loopback_address()
    with backend("app") as app:
        write(tmp_path, *_objects(host, app.endpoint, "ours"))
        with running(tmp_path, workers=1) as gw:
            yield gw, host, app.endpoint


class Client(http.client.HTTPSConnection):
    """A connection to *host* that asks for a.test, whatever the address."""

    def __init__(self, host: str, port: int, client: str) -> None:
        self._tls = context_of(client)
        super().__init__(host, port, timeout=60, context=self._tls)

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname="a.test")

    def ask(self) -> int:
        self.request("GET", "/", headers={"host": "a.test"})
        answer = self.getresponse()
        answer.read()
        return answer.status


def let_in(host: str, port: int, client: str) -> bool:
    connection = Client(host, port, client)
    try:
        return connection.ask() == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def test_each_port_asks_by_its_own_configuration_and_plain_http_never_does(tmp_path: Path) -> None:
    with serving(tmp_path) as (gw, host, _):
        found = {
            (port, client): let_in(host, port, client)
            for port in (8443, 9443, 9444)
            for client in ("ours", "theirs", "none")
        }
        assert found == {
            (8443, "ours"): True, (8443, "theirs"): False, (8443, "none"): False,
            (9443, "ours"): False, (9443, "theirs"): True, (9443, "none"): False,
            (9444, "ours"): True, (9444, "theirs"): True, (9444, "none"): True,
        }  # fmt: skip
        assert http_get(host, 8080, headers={"host": "a.test"}).status == 200
        conditions = {each["type"]: each for each in gw.objects()["Gateway", "gw"]["status"]["conditions"]}
        insecure = conditions["InsecureFrontendValidationMode"]
        assert (insecure["status"], insecure["reason"]) == ("True", "ConfigurationChanged")
        assert "port 9444" in insecure["message"]


@pytest.mark.parametrize(
    ("trusted", "kept"),
    [
        pytest.param(("theirs",), 421, id="another authority"),
        pytest.param(("theirs", "ours"), 421, id="a further one: the connection was not judged by this bundle"),
        pytest.param(("ours",), 200, id="the same one"),
    ],
)
def test_an_authority_that_is_replaced_counts_for_the_next_request(
    tmp_path: Path, trusted: tuple[str, ...], kept: int
) -> None:
    with serving(tmp_path) as (gw, host, endpoint):
        old = Client(host, 8443, "ours")
        assert old.ask() == 200
        write(tmp_path, *_objects(host, endpoint, *trusted))
        gw.reload()
        assert old.ask() == kept
        old.close()
        for client in ("ours", "theirs"):
            assert let_in(host, 8443, client) is (client in trusted)
        assert not let_in(host, 8443, "none")


def test_a_port_whose_authority_is_gone_serves_nobody_and_says_what_to_do(tmp_path: Path) -> None:
    with serving(tmp_path) as (gw, host, endpoint):
        assert let_in(host, 9443, "theirs")
        left = [each for each in _objects(host, endpoint, "ours") if each["metadata"] != {"name": "theirs"}]
        write(tmp_path, *left)
        gw.reload()
        assert not let_in(host, 9443, "theirs")
        assert let_in(host, 8443, "ours")
        status = gw.objects()["Gateway", "gw"]["status"]
        listeners = {each["name"]: {c["type"]: c for c in each["conditions"]} for each in status["listeners"]}
        verdict = listeners["https-9443"]["Accepted"]
        assert (verdict["status"], verdict["reason"]) == ("False", "NoValidCACertificate")
        assert "ConfigMap default/theirs: does not exist; add it" in verdict["message"]
