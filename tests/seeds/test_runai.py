"""System 4, NVIDIA Run:ai: nested wildcards with a certificate each, by host and by path, Knative behind."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from threading import Thread

import pytest
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from tests.support.certs import client_context
from tests.support.seed_peers import streaming
from tests.support.seeds import Seed, Tree, curl, hasty, http_port, serving

C = "runai.localhost"
GATEWAY = "runai/runai-gateway"
HTTPS = http_port(443)
KOURIER, NOTEBOOK = "knative-serving/kourier-internal", "runai-team-a/notebook"


@pytest.fixture(scope="module")
def runai(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    with serving("runai", tmp_path_factory.mktemp("runai")) as seed:
        yield seed


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    """The same with every timeout at half a second, so that outliving them takes little more than one."""
    folder = tmp_path_factory.mktemp("hurried")
    with serving("runai", folder, peers=(KOURIER, NOTEBOOK), arguments=hasty()) as seed:
        clear = {"name": "clear", "protocol": "HTTP", "port": http_port(80)}  # for `outlive_timeouts`
        seed.tree("Gateway", GATEWAY)["spec"]["listeners"].append(clear)
        seed.reload()
        yield seed


def url(host: str, path: str = "/") -> str:
    return f"https://{host}:{HTTPS}{path}"


def names_of(seed: Seed, name: str) -> list[str]:
    """Return the names in the certificate that the client of server *name* gets, valid for *name* or not."""
    context = client_context()
    context.check_hostname = False
    raw = socket.create_connection((seed.host, HTTPS), timeout=10)
    with context.wrap_socket(raw, server_hostname=name) as tls:
        return [value for _, value in tls.getpeercert()["subjectAltName"]]


# --- R1, R2: which certificate, which routes


@pytest.mark.parametrize(
    ("host", "certificate", "backend"),
    [
        (C, C, "runai-backend/runai-frontend"),
        (f"team-a-notebook.{C}", f"*.{C}", NOTEBOOK),
        (f"team-b-other.{C}", f"*.{C}", "runai-backend/runai-frontend"),
        (f"llama.inference.{C}", f"*.inference.{C}", KOURIER),
    ],
)
def test_R1_R2_the_longest_name_that_fits_has_certificate_and_routes(
    runai: Seed, host: str, certificate: str, backend: str
) -> None:
    assert names_of(runai, host) == [certificate]
    answer = runai.curl(url(host))  # curl trusts the certificate for this name
    assert (answer.status, answer.backend) == (200, backend)


def test_R1_hundreds_of_generated_workloads_share_one_listener_by_path(runai: Seed) -> None:
    workloads = [(f"project-{p}", f"workload-{w}") for p in range(20) for w in range(20)]
    with runai.changed():
        listeners = runai.tree("Gateway", GATEWAY)["spec"]["listeners"]
        listeners[:] = [each for each in listeners if each["name"] == "control-plane"]
        runai.add(*(by_path(project, workload) for project, workload in workloads))
        report = runai.reload()
        assert report["result"] == "applied"
        runai.gateway.wait_log(rf"generation={report['generation']} .* rules_added={len(workloads)} ")
        with runai.http(C, port=443) as connection:

            def marked(path: str) -> tuple[str | None, str]:
                connection.request("GET", path, headers={"Host": C})
                response = connection.getresponse()
                return response.getheader("x-workload"), json.loads(response.read())["path"]

            for project, workload in workloads:
                path = f"/{project}/{workload}/lab?token=1"
                assert marked(path) == (f"{project}/{workload}", path)
            assert marked("/project-1/workload-1")[0] == "project-1/workload-1"
            assert marked("/project-1/workload-1x")[0] is None  # the control plane's
            assert marked("/project-1/")[0] is None
    with runai.http(C, port=443) as connection:
        connection.request("GET", "/project-1/workload-1", headers={"Host": C})
        assert json.loads(connection.getresponse().read())["backend"] == "runai-backend/runai-frontend"


def by_path(project: str, workload: str) -> Tree:
    """The route of a workload, as the platform generates it; answers carry its name."""
    mark = {"set": [{"name": "X-Workload", "value": f"{project}/{workload}"}]}
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": f"/{project}/{workload}"}}],
        "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": mark}],
        "backendRefs": [{"name": "training", "port": 8888}],
    }
    parent = {"name": "runai-gateway", "namespace": "runai", "sectionName": "control-plane"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": f"{project}-{workload}", "namespace": "runai-team-a"},
        "spec": {"parentRefs": [parent], "hostnames": [C], "rules": [rule]},
    }


def test_R2_a_name_of_the_inner_wildcard_never_falls_to_the_outer_one(runai: Seed) -> None:
    host = f"llama.inference.{C}"
    with runai.changed():
        runai.drop("HTTPRoute", "knative-serving/knative-serving")
        runai.reload()
        assert names_of(runai, host) == [f"*.inference.{C}"]
        answer = runai.curl(url(host))
        assert (answer.status, answer.backend) == (404, "")
        assert runai.attached(GATEWAY)["inference"] == 0
        assert runai.curl(url(f"other.{C}")).status == 200


def test_R2_depth_does_not_matter_and_the_bare_suffix_is_the_outer_wildcards(runai: Seed) -> None:
    assert names_of(runai, f"a.b.inference.{C}") == [f"*.inference.{C}"]
    assert names_of(runai, f"LLAMA.Inference.{C}") == [f"*.inference.{C}"]
    assert names_of(runai, f"inference.{C}") == [f"*.{C}"]
    assert names_of(runai, f"xinference.{C}") == [f"*.{C}"]
    assert names_of(runai, f"a.b.{C}") == [f"*.{C}"]


# --- R4: Knative routes by Host once more


@pytest.mark.parametrize("host", [f"llama.inference.{C}", f"llama.inference.{C}:{HTTPS}", f"Llama.Inference.{C}:443"])
def test_R4_kourier_gets_the_host_as_it_came_and_where_it_came_from(runai: Seed, host: str) -> None:
    answer = runai.curl(url(f"llama.inference.{C}", "/v1/models"), "-H", f"Host: {host}")
    assert (answer.status, answer.backend, answer.seen["path"]) == (200, KOURIER, "/v1/models")
    fields = answer.seen["headers"]
    assert fields["host"] == fields["x-forwarded-host"] == host
    assert (fields["x-forwarded-proto"], fields["x-forwarded-port"]) == ("https", "443")


# --- R5: scale from zero, streams, notebooks


def test_R5_a_first_answer_and_a_stream_may_take_longer_than_every_timeout(hurried: Seed) -> None:
    host = f"llama.inference.{C}"
    with (
        hurried.http(host, port=443) as connection,
        streaming(hurried.endpoint(KOURIER), connection, host) as (answer, go_on),
    ):
        hurried.outlive_timeouts()  # a pod is scheduled, a model is loaded
        go_on()
        response = answer()
        go_on()
        assert response.readline() == b"data: one\n"
        hurried.outlive_timeouts()
        go_on()
        assert response.read() == b"\ndata: [DONE]\n\n"


def test_R5_notebooks_speak_websocket_without_asking_and_may_be_silent(hurried: Seed) -> None:
    host = f"team-a-notebook.{C}"

    def kernel(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(kernel, *hurried.endpoint(NOTEBOOK)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            with connect(
                f"wss://{host}/api/kernels/7/channels", sock=socket.create_connection((hurried.host, HTTPS)),
                ssl=client_context(), server_hostname=host, ping_interval=None, open_timeout=10, close_timeout=10,
            ) as client:  # fmt: skip
                client.send("1+1")
                assert client.recv(10) == "1+1"
                hurried.outlive_timeouts()
                client.send(bytes(range(256)) * 1000)
                assert client.recv(10) == bytes(range(256)) * 1000
        finally:
            server.shutdown()
            thread.join()
    hurried.logged(host=host, status=101, reason=None)


# --- R6: before DNS is switched


def test_R6_curl_resolve_names_the_host_before_dns_does(runai: Seed) -> None:
    answer = curl(url(C), "--resolve", f"{C}:{HTTPS}:{runai.host}", "--cacert", str(runai.authority))
    assert (answer.status, answer.backend) == (200, "runai-backend/runai-frontend")


def test_R6_without_a_server_name_the_handshake_ends_with_an_alert_that_is_explained(runai: Seed) -> None:
    with pytest.raises(AssertionError, match=r"curl: exit 35: .*unrecognized name"):
        curl("-k", "-H", f"Host: {C}", f"https://{runai.host}:{HTTPS}/")
    line = runai.logged(protocol="tls", reason="no_sni")
    assert line["detail"] == "no listener takes clients without a server name"


def test_R6_a_listener_without_hostname_takes_clients_without_a_server_name(runai: Seed) -> None:
    with runai.changed():
        listeners = runai.tree("Gateway", GATEWAY)["spec"]["listeners"]
        listeners.append({**listeners[0], "name": "any"})
        del listeners[-1]["hostname"]
        probe = by_path("probe", "any")
        probe["spec"]["parentRefs"][0]["sectionName"] = "any"
        del probe["spec"]["hostnames"]
        runai.add(probe)
        runai.reload()
        bare = f"https://{runai.host}:{HTTPS}"
        answer = curl("-k", f"{bare}/probe/any")
        assert (answer.status, answer.headers["x-workload"]) == (200, "probe/any")
        # A host of another listener is not answered here: that listener may ask more of its clients.
        assert curl("-k", "-H", f"Host: {C}", f"{bare}/").status == 421
