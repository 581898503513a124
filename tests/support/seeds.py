"""Serve a folder of config/ by the real process, on loopback addresses of its own, with a backend for each Service.

    with serving("nvcf", tmp_path) as nvcf:
        assert nvcf.ask("api.nvcf.localhost", "/health").backend == "nvcf/api"
        with nvcf.changed():
            del nvcf.tree("Namespace", "envoy-gateway")["metadata"]["labels"]
            nvcf.reload()

Addresses, endpoints and certificates are ours; all else is as the folder has it. Services named in *peers* get no
backend: the test serves their endpoints itself.
"""

from __future__ import annotations

import copy
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import yaml

from gatewayproxy.cli import limit_flag
from gatewayproxy.model.limits import LIMITS
from tests.support import certs, manifests
from tests.support.peers import require
from tests.support.process import Answer, Gateway, loopback_address, running, wait_until
from tests.support.threaded_backend import Backend, backend

__all__ = ["Seed", "Served", "curl", "hasty", "http_port", "serving"]

ROOT = Path(__file__).parents[2]
ENDPOINTS = "gatewayproxy.io/endpoints"
CERT_FILE, KEY_FILE = "gatewayproxy.io/cert-file", "gatewayproxy.io/key-file"
NAMES = "demo.gatewayproxy.io/names"
Tree = dict[str, Any]


def http_port(port: int) -> int:
    """Return the port bound for a listener's *port*: privileged ones are moved up, as `make run` does."""
    return port + 8000 if port < 1024 else port


class Served(Answer):
    """An answer through the gateway; if a backend gave it, also what that saw."""

    @property
    def backend(self) -> str:
        """ "namespace/name" of the Service that answered; "" if the gateway did."""
        return str(self.seen.get("backend", ""))

    @property
    def seen(self) -> Mapping[str, Any]:
        """Method, path and header fields as the backend saw them; {} if the gateway answered."""
        if self.headers.get("content-type") != "application/json":
            return {}
        seen: Mapping[str, Any] = json.loads(self.body)
        return seen


class Seed:
    """A copy of config/<name>, its backends, and the gateway once it runs."""

    gateway: Gateway

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder / name
        self.addresses = {"127.0.0.1": loopback_address(), "127.0.0.2": loopback_address()}
        self.host = self.addresses["127.0.0.1"]
        self.backends: dict[str, list[Backend]] = {}
        self.authority = folder / "ca.pem"
        certs.authority().cert_pem.write_to_path(str(self.authority))
        self.folder.mkdir()
        self._written: set[str] = set()
        self.files: dict[str, list[Tree]] = {}
        for file in sorted((ROOT / "config" / name).glob("*.yaml")):
            self.files[file.name] = copy.deepcopy(list(yaml.safe_load_all(file.read_text())))
        for tree in self.trees("Gateway"):
            for address in tree["spec"]["addresses"]:
                address["value"] = self.addresses[address["value"]]

    def trees(self, kind: str) -> list[Tree]:
        """Return the manifests of *kind*; changes to them count from the next `save` or `reload`."""
        return [tree for trees in self.files.values() for tree in trees if tree["kind"] == kind]

    def tree(self, kind: str, name: str) -> Tree:
        """Return one manifest by "namespace/name", or "name" if it has no namespace."""
        (found,) = (tree for tree in self.trees(kind) if full_name(tree) == name)
        return found

    def add(self, *trees: Tree, file: str = "zz-added.yaml") -> None:
        """Add manifests."""
        self.files.setdefault(file, []).extend(trees)

    def drop(self, kind: str, name: str) -> None:
        """Remove a manifest."""
        gone = self.tree(kind, name)
        for trees in self.files.values():
            trees[:] = [tree for tree in trees if tree is not gone]

    def save(self) -> None:
        """Write the manifests; a file without any is removed."""
        for file, trees in self.files.items():
            if trees:
                manifests.write(self.folder, *trees, name=file)
        for file in self._written - {name for name, trees in self.files.items() if trees}:
            (self.folder / file).unlink()
        self._written = {name for name, trees in self.files.items() if trees}

    def reload(self) -> Any:
        """Save, reload, and return the report of a reload that was applied."""
        self.save()
        report = self.gateway.reload()
        assert report["result"] in ("applied", "unchanged"), report
        return report

    @contextmanager
    def changed(self) -> Iterator[None]:
        """Put the manifests back, and reload, when the block ends."""
        before = copy.deepcopy(self.files)
        try:
            yield
        finally:
            self.files = before
            self.reload()

    def start_backends(self, stack: ExitStack, peers: Iterable[str]) -> None:
        """Run a backend for each endpoint of each Service; those of *peers* only move to our addresses."""
        for tree in self.trees("Service"):
            annotations = tree["metadata"].get("annotations", {})
            if ENDPOINTS not in annotations:
                continue
            endpoints = [each.strip() for each in annotations[ENDPOINTS].split(",")]
            name = full_name(tree)
            if name in peers:
                moved = [f"{self.addresses[host]}:{port}" for host, _, port in (e.rpartition(":") for e in endpoints)]
            else:
                self.backends[name] = [stack.enter_context(backend(name)) for _ in endpoints]
                moved = [each.endpoint for each in self.backends[name]]
            annotations[ENDPOINTS] = ", ".join(moved)

    def issue_certificates(self) -> None:
        """Write the certificate of each Secret that names files, signed by the tests' CA."""
        issue_all(self.folder, self.trees("Secret"))

    def issue(self, secret: Tree, *names: str, serial: int = 0) -> None:
        """Write a certificate for *names* where *secret* says."""
        issue(self.folder, secret, *names, serial=serial)

    def endpoint(self, service: str) -> tuple[str, int]:
        """Return the first endpoint of Service "namespace/name"."""
        first = self.tree("Service", service)["metadata"]["annotations"][ENDPOINTS].split(",")[0]
        host, _, port = first.rpartition(":")
        return host, int(port)

    def port_flags(self) -> list[str]:
        """Return the flags that move privileged ports up."""
        ports = {each["port"] for tree in self.trees("Gateway") for each in tree["spec"]["listeners"]}
        return [f"--map-port={port}={http_port(port)}" for port in sorted(ports) if http_port(port) != port]

    def ask(
        self, host: str, path: str = "/", *, method: str = "GET", port: int = 80, at: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Served:  # fmt: skip
        """Return the answer of the HTTP listener on *port* to one request with `Host: host`."""
        connection = http.client.HTTPConnection(at or self.host, http_port(port), timeout=60)
        try:
            connection.request(method, path, headers={"Host": host, **(headers or {})})
            answer = connection.getresponse()
            return Served(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    @contextmanager
    def http(self, name: str = "", *, port: int = 80) -> Iterator[http.client.HTTPConnection]:
        """Yield an open connection to the HTTP listener on *port*; with a server *name* to the HTTPS one."""
        with ExitStack() as stack:
            sock = stack.enter_context(socket.create_connection((self.host, http_port(port)), timeout=60))
            connection = stack.enter_context(closing(http.client.HTTPConnection(self.host, http_port(port))))
            if name:
                sock = stack.enter_context(certs.client_context().wrap_socket(sock, server_hostname=name))
            connection.sock = sock
            yield connection

    def certificate(self, name: str, *, port: int = 443) -> bytes:
        """Return the certificate that the client of server *name* gets, in DER; it is valid for the name."""
        with self.http(name, port=port) as connection:
            assert isinstance(connection.sock, ssl.SSLSocket)
            return connection.sock.getpeercert(binary_form=True) or b""

    def curl(self, url: str, *options: str, at: str = "") -> Served:
        """Return what curl gets from *url*, whose name it is told to resolve to our address; trusts the tests' CA."""
        name, _, port = url.partition("://")[2].partition("/")[0].partition(":")
        return curl(url, "--resolve", f"{name}:{port}:{at or self.host}", "--cacert", str(self.authority), *options)

    def get(self, *arguments: str) -> str:
        """Return what `gatewayproxy get ... --server` prints."""
        host, port = self.gateway.admin
        return cli("get", *arguments, "--server", f"http://{host}:{port}")

    def get_json(self, *arguments: str) -> Any:
        """Return what `gatewayproxy get ... -o json` prints, read."""
        return json.loads(self.get(*arguments, "-o", "json"))

    def attached(self, gateway: str) -> dict[str, int]:
        """Return attachedRoutes by listener of Gateway "namespace/name"."""
        namespace, _, name = gateway.rpartition("/")
        status = self.get_json("gateway", name, "-n", namespace or "default")["status"]
        return {each["name"]: each["attachedRoutes"] for each in status["listeners"]}

    def conditions(self, kind: str, route: str, parent: int = 0) -> dict[str, tuple[str, str]]:
        """Return a route's conditions for one parentRef, as type -> (status, reason)."""
        namespace, _, name = route.rpartition("/")
        parents = self.get_json(kind, name, "-n", namespace or "default")["status"]["parents"]
        return {each["type"]: (each["status"], each["reason"]) for each in parents[parent]["conditions"]}

    def outlive_timeouts(self) -> None:
        """Return when the gateway has closed an idle connection twice, after --idle-timeout each.

        Where every other timeout is set to the same, each has then passed, by the gateway's own clock.
        """
        for _ in range(2):
            with socket.create_connection((self.host, http_port(80)), timeout=60) as idle:
                idle.sendall(b"GET /idle HTTP/1.1\r\nHost: idle.invalid\r\n\r\n")
                answer = b""
                while data := idle.recv(4096):
                    answer += data
                assert answer.startswith(b"HTTP/1.1 404 "), answer

    def logged(self, **fields: object) -> dict[str, Any]:
        """Wait for a line of the access log with these *fields*; return it."""

        def found() -> dict[str, Any] | None:
            lines = map(json.loads, self.gateway.output)
            return next((each for each in lines if all(each.get(k) == v for k, v in fields.items())), None)

        try:
            return wait_until(found, f"{fields} in the access log")
        except AssertionError as error:
            raise AssertionError("\n".join([f"{error}; its end:", *self.gateway.output[-20:]])) from None


def hasty(seconds: float = 1.5) -> list[str]:
    """Return flags that set every timeout which is on by default to *seconds*; draining is none, and age is none."""
    no_timeouts = ("drain_s", "_age_s")
    timeouts = (x for x in LIMITS if x.name.endswith("_s") and x.default and not x.name.endswith(no_timeouts))
    return [f"{limit_flag(each)}={seconds}" for each in timeouts]


def full_name(tree: Tree) -> str:
    """Return "namespace/name" of a manifest, or its name where the kind has no namespace."""
    metadata = tree["metadata"]
    if tree["kind"] in ("Namespace", "GatewayClass"):
        return str(metadata["name"])
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}"


def cli(*arguments: str) -> str:
    """Return what `gatewayproxy ...` prints."""
    command = [sys.executable, "-m", "gatewayproxy", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def issue(folder: Path, secret: Tree, *names: str, serial: int = 0) -> None:
    """Write a certificate for *names* where *secret*, of a manifest in *folder*, says."""
    made = certs.certificate(*names, serial=serial)
    annotations = secret["metadata"]["annotations"]
    for file, content in ((annotations[CERT_FILE], made.chain_pem), (annotations[KEY_FILE], made.key_pem)):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(content)


def issue_all(folder: Path, secrets: Iterable[Tree]) -> None:
    """Write the certificate of each of *secrets* that names files, signed by the tests' CA."""
    for secret in secrets:
        annotations = secret["metadata"].get("annotations", {})
        if NAMES in annotations:
            issue(folder, secret, *(name.strip() for name in annotations[NAMES].split(",")))


def copied(name: str, folder: Path) -> Path:
    """Copy config/*name* into *folder* as it stands, with certificates for its Secrets; return the copy."""
    copy = folder / name
    shutil.copytree(ROOT / "config" / name, copy, ignore=shutil.ignore_patterns("certs"))
    trees = [tree for file in copy.glob("*.yaml") for tree in yaml.safe_load_all(file.read_text())]
    issue_all(copy, (tree for tree in trees if tree is not None and tree["kind"] == "Secret"))
    return copy


def curl(*arguments: str) -> Served:
    """Return the last answer that curl got; AssertionError with its exit code and words if it got none."""
    command = [require("curl"), "-sS", "-i", "--http1.1", "--max-time", "60", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, f"curl: exit {done.returncode}: {done.stderr.decode()}"
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    pairs = (field.partition(":") for field in fields)
    return Served(int(line.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}, body)


@contextmanager
def serving(
    name: str, folder: Path, *, peers: Iterable[str] = (), workers: int = 1, arguments: Sequence[str] = ()
) -> Iterator[Seed]:
    """Serve config/*name*, copied into *folder*."""
    seed = Seed(name, folder)
    with ExitStack() as stack:
        seed.start_backends(stack, set(peers))
        seed.issue_certificates()
        seed.save()
        options = ["--access-log", "-", *seed.port_flags(), *arguments]
        seed.gateway = stack.enter_context(running(seed.folder, workers=workers, arguments=options))
        yield seed
