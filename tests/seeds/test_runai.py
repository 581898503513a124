"""System 4, NVIDIA Run:ai: nested wildcards with a certificate each, by host and by path, Knative behind."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Semaphore, Thread

import pytest
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from tests.support.certs import client_context
from tests.support.h2client import H2Session, h2_session
from tests.support.h2websocket import H2WebSocket
from tests.support.seed_peers import streaming, tokens
from tests.support.seeds import Seed, Tree, curl, hasty, http_port, serving
from tests.support.threaded_peer import peer

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
    raw = socket.create_connection((seed.host, HTTPS), timeout=60)
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


# --- R3: connections that browsers share


@pytest.mark.parametrize(
    ("authority", "status", "backend"),
    [
        pytest.param(f"team-a-notebook.{C}", 200, NOTEBOOK, id="its own name"),
        pytest.param(f"team-b-other.{C}", 200, "runai-backend/runai-frontend", id="another name of its listener"),
        pytest.param(f"llama.inference.{C}", 421, "", id="a name of the inner wildcard"),
        pytest.param(C, 421, "", id="the exact name"),
        pytest.param("elsewhere.example.com", 404, "", id="a name of no listener"),
    ],
)
async def test_R3_a_shared_connection_is_no_way_to_another_listener(
    runai: Seed, authority: str, status: int, backend: str
) -> None:
    first = f"team-a-notebook.{C}"
    async with h2_session(HTTPS, at=runai.host, tls=client_context(alpn=("h2",)), name=first) as session:
        assert (await session.ask("/", host=first, scheme="https")).status == 200
        answer = await session.ask("/", host=f"{authority}:{HTTPS}", scheme="https")
        assert answer.status == status
        assert (json.loads(answer.body)["backend"] if status == 200 else "") == backend
        assert (await session.ask("/", host=first, scheme="https")).status == 200  # the connection goes on


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

    with (
        notebook(hurried),
        connect(
            f"wss://{host}/api/kernels/7/channels", sock=socket.create_connection((hurried.host, HTTPS)),
            ssl=client_context(), server_hostname=host, ping_interval=None, open_timeout=60, close_timeout=60,
        ) as client,
    ):  # fmt: skip
        client.send("1+1")
        assert client.recv(60) == "1+1"
        hurried.outlive_timeouts()
        client.send(bytes(range(256)) * 1000)
        assert client.recv(60) == bytes(range(256)) * 1000
    hurried.logged(host=host, status=101, reason=None)


@contextmanager
def notebook(seed: Seed) -> Iterator[None]:
    """Run the notebook's server, which sends back every message."""

    def kernel(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(kernel, *seed.endpoint(NOTEBOOK)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


async def test_R5_over_http2_answers_streams_and_notebooks_may_take_longer_too(hurried: Seed) -> None:
    host = f"llama.inference.{C}"
    steps, arrived = Semaphore(0), Event()
    with peer(hurried.endpoint(KOURIER), tokens(steps, lambda _: arrived.set())):
        async with h2_session(HTTPS, at=hurried.host, tls=client_context(alpn=("h2",)), name=host) as session:
            stream_id = session.request("/v1/chat/completions", host=host, scheme="https")
            answer = session.answers[stream_id]
            await outlive(hurried, session)  # a pod is scheduled, a model is loaded
            assert arrived.is_set()
            steps.release(2)
            await session.until(lambda: bytes(answer.body) == b"data: one\n\n")
            await outlive(hurried, session)
            steps.release(1)
            assert (await session.answer(stream_id)).body == b"data: one\n\ndata: [DONE]\n\n"
    name = f"team-a-notebook.{C}"
    with notebook(hurried):
        async with h2_session(HTTPS, at=hurried.host, tls=client_context(alpn=("h2",)), name=name) as session:
            kernel = await H2WebSocket.open(session, name, "/api/kernels/7/channels")
            assert await kernel.echoes("1+1")
            await outlive(hurried, session)
            assert await kernel.echoes(bytes(range(256)) * 1000)


async def outlive(seed: Seed, session: H2Session) -> None:
    """Return when every timeout has passed; the client does nothing meanwhile but read, and answer PINGs."""
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(session.until(lambda: False))
        await asyncio.to_thread(seed.outlive_timeouts)
        reading.cancel()


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
