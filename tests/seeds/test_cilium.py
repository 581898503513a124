"""System 5, Cilium's tutorial: one Gateway in infra-ns, shared across namespaces by label."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.support.seeds import Seed, Tree, http_port, serving

GATEWAY = "infra-ns/shared-gateway"
LABELLED = {"shared-gateway-access": "true"}
ANY = "203.0.113.7"  # the tutorial asks by address: no route names a host


@pytest.fixture(scope="module")
def cilium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    with serving("cilium", tmp_path_factory.mktemp("cilium"), workers=2) as seed:
        yield seed


def claim(namespace: str, name: str, path: str, created: str | None = None) -> Tree:
    """An HTTPRoute of *namespace* for *path*, to the Service named as its namespace."""
    metadata = {"name": name, "namespace": namespace} | ({"creationTimestamp": created} if created else {})
    rule = {"matches": [{"path": {"value": path}}], "backendRefs": [{"name": namespace, "port": 9080}]}
    spec = {"parentRefs": [{"name": "shared-gateway", "namespace": "infra-ns"}], "rules": [rule]}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata, "spec": spec}


def test_C1_labelled_namespaces_are_served_and_the_unlabelled_is_404(cilium: Seed) -> None:
    for path, backend in (("/product", "product/product"), ("/careers/apply?id=1", "careers/careers")):
        answer = cilium.ask(ANY, path)
        assert (answer.status, answer.backend, answer.seen["path"]) == (200, backend, path)
    answer = cilium.ask(ANY, "/hr")
    assert (answer.status, answer.backend) == (404, "")
    cilium.logged(target="/hr", status=404, reason="no_rule", route="")
    assert cilium.backends["hr/hr"][0].n_requests == 0


def test_C2_the_rejected_route_says_why_and_counts_nowhere(cilium: Seed) -> None:
    assert cilium.conditions("httproute", "hr/hr")["Accepted"] == ("False", "NotAllowedByListeners")
    for route in ("product/product", "careers/careers"):
        assert cilium.conditions("httproute", route) == {
            "Accepted": ("True", "Accepted"),
            "ResolvedRefs": ("True", "ResolvedRefs"),
        }
    assert cilium.attached(GATEWAY) == {"http": 2}
    with cilium.changed():
        cilium.drop("HTTPRoute", "hr/hr")
        report = cilium.reload()
        assert report["result"] == "unchanged"  # without it the very same table
        assert cilium.attached(GATEWAY) == {"http": 2}


def test_C3_a_label_lets_hr_in_and_out_while_open_connections_of_others_live(cilium: Seed) -> None:
    with Open(cilium, "/product") as product, Open(cilium, "/careers") as careers:
        with cilium.changed():
            cilium.tree("Namespace", "hr")["metadata"]["labels"] = LABELLED
            report = cilium.reload()
            assert report["result"] == "applied"
            assert report["connections"]["kept"] >= 4
            assert report["connections"]["draining"] == report["connections"]["cut"] == 0
            assert cilium.ask(ANY, "/hr").backend == "hr/hr"
            assert cilium.conditions("httproute", "hr/hr")["Accepted"] == ("True", "Accepted")
            assert cilium.attached(GATEWAY) == {"http": 3}
            product.check()
            careers.check()
        assert cilium.ask(ANY, "/hr").status == 404
        assert cilium.attached(GATEWAY) == {"http": 2}
        product.check()
        careers.check()


def test_C4_hr_cannot_steal_product_while_it_is_not_admitted(cilium: Seed) -> None:
    with cilium.changed():
        cilium.add(claim("hr", "a-thief", "/product", created="2001-01-01T00:00:00Z"))
        cilium.add(claim("hr", "b-thief", "/product/deeper"))
        assert cilium.reload()["result"] == "unchanged"
        assert cilium.ask(ANY, "/product").backend == "product/product"
        assert cilium.ask(ANY, "/product/deeper").backend == "product/product"
        assert cilium.conditions("httproute", "hr/a-thief")["Accepted"] == ("False", "NotAllowedByListeners")


@pytest.mark.parametrize(
    ("dates", "winner"),
    [
        pytest.param({"product": "2024-01-01T00:00:00Z", "hr": "2024-01-01T00:00:01Z"}, "product", id="older by 1 s"),
        pytest.param({"product": "2024-01-01T00:00:00Z"}, "product", id="dated before undated"),
        pytest.param({"product": "2024-01-01T00:00:00Z", "hr": "2024-01-01T00:00:00Z"}, "hr", id="same age, by name"),
        pytest.param({}, "hr", id="undated, by name"),
    ],
)
def test_C4_admitted_ties_go_to_the_older_then_to_namespace_and_name(
    cilium: Seed, dates: dict[str, str], winner: str
) -> None:
    claims = [claim(namespace, "claim", "/tie", dates.get(namespace)) for namespace in ("product", "hr")]
    for first, second in itertools.permutations(claims):  # file order does not matter
        with cilium.changed():
            cilium.tree("Namespace", "hr")["metadata"]["labels"] = LABELLED
            cilium.add(first, file="a.yaml")
            cilium.add(second, file="b.yaml")
            cilium.reload()
            assert cilium.ask(ANY, "/tie").backend == f"{winner}/{winner}"


class Open:
    """A keep-alive connection and a WebSocket to the app at *path*, open until the block ends."""

    def __init__(self, seed: Seed, path: str) -> None:
        self.address = (seed.host, http_port(80))
        self.path = path

    def __enter__(self) -> Open:
        with ExitStack() as stack:
            self.http = stack.enter_context(closing(http.client.HTTPConnection(*self.address, timeout=60)))
            self.tunnel = stack.enter_context(socket.create_connection(self.address, timeout=60))
            upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            key = f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n"
            self.tunnel.sendall(f"GET {self.path} HTTP/1.1\r\nHost: {ANY}\r\n{upgrade}{key}\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                piece = self.tunnel.recv(1)
                assert piece, head
                head += piece
            assert head.startswith(b"HTTP/1.1 101 "), head
            self.http.connect()
            self.first = self.http.sock
            self.check()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def check(self) -> None:
        """Use both connections, which are still the first ones."""
        self.http.request("GET", self.path, headers={"Host": ANY})
        seen = json.loads(self.http.getresponse().read())
        assert seen["path"] == self.path
        assert self.http.sock is self.first
        self.tunnel.sendall(b"ping\n")
        assert self.tunnel.recv(5) == b"ping\n"
