"""/explain of a running gateway: what is in force, whatever has become of the files and of the child that answers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from gatewayproxy.model.plan import Certificate
from tests.support.certs import certificate
from tests.support.manifests import gateway, http_route, listener, service, write
from tests.support.process import Answer, Gateway, http_get, loopback_address, running

REQUEST = "http://a.test:8080/x"


class Site(NamedTuple):
    folder: Path
    gateway: Gateway

    def ask(self, request: str = REQUEST, **rest: str) -> Answer:
        return self.gateway.get("/explain?" + urlencode({"request": request, **rest}))

    def child(self) -> int:
        """Return the pid of the explaining child, 0 if there is none."""
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]
                command = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if parent == str(self.gateway.pid) and b"explain_child" in command:
                return int(name)
        return 0


def save(folder: Path, host: str, path: str = "/") -> None:
    route = http_route("app", "app", hostnames=["a.test"], path=path)
    write(folder, gateway("gw", host, listener("web", 8080)), route, service("app", f"{host}:1"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    save(tmp_path, loopback_address())
    with running(tmp_path, workers=1) as process:
        yield Site(tmp_path, process)


def test_nothing_is_there_before_somebody_asks_and_one_child_answers_all(site: Site) -> None:
    assert site.child() == 0
    first: Any = site.ask().json
    child = site.child()
    assert (first["route"], first["generation"], first["ok"]) == ("default/app", 1, True)
    assert site.ask("http://b.test:8080/").json["answer"]["reason"] == "no_route"
    assert site.child() == child


def test_text_picture_and_json_come_from_one_question(site: Site) -> None:
    told: Any = site.ask(**{"with": "text,svg"}).json
    assert told["text"].startswith(f"GET {REQUEST}\n")
    assert told["text"].endswith("\nin force: generation 1\n")
    assert told["svg"].startswith("<svg ")
    text = site.ask(format="text")
    assert (text.headers["content-type"], text.body.decode()) == ("text/plain; charset=utf-8", told["text"])
    assert site.ask(format="svg").headers["content-type"] == "image/svg+xml"


def test_manifests_that_are_not_in_force_are_not_what_is_told(site: Site) -> None:
    save(site.folder, loopback_address(), path="/elsewhere")
    assert site.ask().json["match"]["text"] == "path under /"
    (site.folder / "all.yaml").write_text("kind: [")
    assert site.gateway.reload()["result"] == "failed"
    told: Any = site.ask().json
    assert (told["match"]["text"], told["generation"], told["note"]) == ("path under /", 1, "")


def test_an_object_that_is_held_is_told_as_it_serves(site: Site) -> None:
    file = site.folder / "all.yaml"
    file.write_text(file.read_text().replace("PathPrefix", "Nonsense"))
    assert site.gateway.reload()["held"] == 1
    assert site.ask().json["match"]["text"] == "path under /"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_the_next_question_has_an_answer_whatever_became_of_the_child(site: Site, number: signal.Signals) -> None:
    site.ask()
    child = site.child()
    os.kill(child, number)
    if number is signal.SIGSTOP:
        late = site.ask()
        assert (late.status, late.body) == (503, b"the answer took longer than 5 s: ask of a smaller request\n")
    assert site.ask().json["route"] == "default/app"
    assert site.child() != child
    assert site.gateway.reload()["result"] == "unchanged"


def test_a_reload_does_not_wait_for_a_question(site: Site) -> None:
    site.ask()
    os.kill(site.child(), signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(site.ask)
        report = site.gateway.reload()
        assert not hanging.done()
        assert report["result"] == "unchanged"
        assert hanging.result().status == 503


def test_a_crowd_is_answered_or_sent_away(site: Site) -> None:
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: site.ask(), range(40)))
    assert {answer.status for answer in answers} <= {200, 503}
    assert sum(answer.status == 200 for answer in answers) >= 8
    assert site.ask().status == 200


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", b"no request"),
        ("request=%22", b"No closing quotation"),
        ("request=x&request=y&format=yaml", b"format is one of json, text, svg"),
        ("requst=x", b"unknown parameter 'requst'"),
        ("request=ftp://a/", b"ftp:// cannot be asked about"),
        ("request=" + "a+" * 300, b"more than 256 words"),
        ("request=" + "&".join(["format=x"] * 20), b"Max number of fields exceeded"),
    ],
)
def test_a_wrong_question_is_told_what_to_write(site: Site, query: str, said: bytes) -> None:
    answer = site.gateway.get(f"/explain?{query}")
    assert answer.status == 400
    assert said in answer.body


def test_proxies_that_the_gateway_believes_are_believed_in_answers_about_it(tmp_path: Path) -> None:
    """The answer is the one that the gateway gives."""
    host = loopback_address()
    route: Any = http_route("up", "none", hostnames=["a.test"])
    route["spec"]["rules"][0] = {"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}]}
    write(tmp_path, gateway("gw", host, listener("web", 8080)), route)
    said = {"host": "a.test", "x-forwarded-proto": "https"}
    words = "-H 'X-Forwarded-Proto: https' -H 'Host: a.test' http://a.test:8080/"
    for flags, told in (([], (302, "redirect")), (["--trusted-hops", "1"], (508, "redirect_loop"))):
        with running(tmp_path, workers=1, arguments=flags) as process:
            answer = Site(tmp_path, process).ask(words).json["backends"][0]["answer"]
            assert (answer["status"], answer["reason"]) == told
            assert http_get(host, 8080, "/", said).status == told[0]


def test_who_is_not_on_this_machine_is_refused_unless_that_was_allowed(tmp_path: Path) -> None:
    save(tmp_path, loopback_address())
    for flags, status in (([], 403), (["--admin-allow-remote"], 200)):
        with running(tmp_path, workers=1, arguments=["--admin", "0.0.0.0:0", *flags]) as process:
            answer = http_get("127.0.0.1", process.admin[1], f"/explain?request={REQUEST}")
            assert answer.status == status


def test_files_that_have_changed_since_are_no_secret(tmp_path: Path) -> None:
    host, made = loopback_address(), [certificate("a.test", serial=serial) for serial in (1, 2)]

    def put(each: Certificate) -> None:
        (tmp_path / "a.crt").write_bytes(each.chain_pem)
        (tmp_path / "a.key").write_bytes(each.key_pem)

    put(made[0])
    files = {"gatewayproxy.io/cert-file": "a.crt", "gatewayproxy.io/key-file": "a.key"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "annotations": files}}
    web = listener("web", 8443, "HTTPS", tls={"certificateRefs": [{"name": "a"}]})
    write(tmp_path, gateway("gw", host, web), http_route("app", "app"), service("app", f"{host}:1"), secret)
    with running(tmp_path, workers=1) as process:
        put(made[1])
        told: Any = Site(tmp_path, process).ask("https://a.test:8443/").json
        assert told["note"].startswith("files that manifests name, such as certificates, have changed")
        assert process.reload()["result"] == "applied"
        told = Site(tmp_path, process).ask("https://a.test:8443/").json
        assert (told["note"], told["generation"]) == ("", 2)
