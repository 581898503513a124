"""The command line as a person types it; `main` is called with its words, files and answers are real."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayproxy.cli import limit_flag, main
from gatewayproxy.model.limits import LIMITS, Limits
from gatewayproxy.ops import supervisor
from gatewayproxy.ops.interfaces import host_address
from gatewayproxy.ops.options import RunOptions

GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: ours
  addresses: [{type: IPAddress, value: 127.0.0.1}]
  listeners: [{name: http, protocol: HTTP, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{name: web}]
  hostnames: [api.test]
  rules: [{backendRefs: [{name: api, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: api, annotations: {gatewayproxy.io/endpoints: "127.0.0.1:1"}}
spec: {ports: [{port: 80}]}
"""
TYPO = GATEWAY.replace("hostnames:", "hostnmaes:")


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.yaml"
    file.write_text(GATEWAY)
    return file


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[RunOptions]:
    """Collect what `run` would have started."""
    seen: list[RunOptions] = []
    monkeypatch.setattr(supervisor, "run", lambda options: seen.append(options) or 0)
    return seen


def test_run_passes_every_choice_on(started: list[RunOptions]) -> None:
    words = "run a b.yaml --workers 3 --admin [::1]:0 --access-log - --access-log-format text --log-format json"
    words += " --controller-name x/y --cluster-domain k.local --map-port 80=8080 --map-port 443=8443"
    words += " --address-pool 10.0.0.5 --address-pool 2001:DB8::5 --address-pool 10.0.0.5"
    words += " --drain 2.5 --head-bytes 1000 --upstream-queue-wait 1 --drain-delay 4 --log-level debug"
    assert main(words.split()) == 0
    assert started == [
        RunOptions(
            paths=("a", "b.yaml"),
            workers=3,
            admin=("::1", 0),
            access_log="-",
            access_log_format="text",
            log_format="json",
            log_level="debug",
            controller_name="x/y",
            cluster_domain="k.local",
            port_map={80: 8080, 443: 8443},
            address_pool=("10.0.0.5", "2001:db8::5"),
            limits=Limits(drain_s=2.5, head_bytes=1000, upstream_queue_s=1.0),
            drain_delay_s=4.0,
        )
    ]


def test_words_may_stand_after_flags(started: list[RunOptions]) -> None:
    assert main(["run", "a", "--workers", "2", "b", "c"]) == 0
    assert started[0].paths == ("a", "b", "c")


def test_run_without_flags_has_the_documented_defaults(started: list[RunOptions]) -> None:
    assert main(["run", "a"]) == 0
    assert started == [RunOptions(paths=("a",), address_pool=(host_address(),))]


def test_every_limit_has_a_flag_of_its_own(started: list[RunOptions]) -> None:
    flags = [limit_flag(limit) for limit in LIMITS]
    assert len(set(flags)) == len(flags)
    assert main(["run", "a", *(word for flag in flags for word in (flag, "7"))]) == 0
    assert started[0].limits == Limits(**{limit.name: type(limit.default)(7) for limit in LIMITS})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["run"], "CONFIG", id="no manifests"),
        pytest.param(["run", "a", "--map-port", "80"], "80=8080", id="half a port pair"),
        pytest.param(["run", "a", "--map-port", "80=0"], "80=8080", id="port zero"),
        pytest.param(["run", "a", "--drain", "30s"], "a number of seconds without a unit", id="a unit"),
        pytest.param(
            ["run", "a", "--address-pool", "10.0.0.0/8"], "write an IPv4 or IPv6 address", id="a range of addresses"
        ),
        pytest.param(["run", "a", "--admin", "9901"], "127.0.0.1:9901", id="an admin address without host"),
        pytest.param(["run", "a", "--workers", "0"], "1 or more", id="no workers"),
        pytest.param(["run", "a", "--drain", "-1"], "0 or more", id="negative seconds"),
        pytest.param(["run", "a", "--drain", "nan"], "0 or more", id="not a number"),
        pytest.param(["run", "a", "--drian", "1"], "did you mean --drain?", id="an unknown flag"),
        pytest.param(["run", "a", "--controller-name", "x"], "example.com/gateway", id="a controller without domain"),
        pytest.param(["get", "svc", "-o", "jsonpath"], "-o jsonpath='{", id="jsonpath without a template"),
        pytest.param(["get", "svc", "-o", "xml"], "none of table, wide", id="an unknown output"),
        pytest.param(["get"], "required: KIND\n", id="get nothing"),
        pytest.param(["get", "svc", "-A", "-n", "x"], "not allowed with", id="one and all namespaces"),
        pytest.param([], "COMMAND", id="nothing at all"),
        pytest.param(["watch"], "one of: run, check", id="an unknown command"),
        pytest.param(["rnu", "a"], "unknown command rnu; did you mean run?", id="a mistyped command"),
        pytest.param(["check", "--stict"], "did you mean --strict?", id="a mistyped flag, and what else is missing"),
    ],
)
def test_a_wrong_command_exits_2_and_says_what_to_write(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert said in message
    assert "--help" in message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            ["run", "a", "--map-port", "80=1", "--map-port", "80=2"], "keep one", id="a port with two answers"
        ),
        pytest.param(["get", "gatewais", "-A"], "gateways", id="an unknown kind"),
        pytest.param(["get", "svc", "./x", "--server", "http://x"], "not both", id="files and a server"),
        pytest.param(["explain", "x", "http://a.test/"], "write -- before the request", id="a request without --"),
        pytest.param(["explain", "x", "--"], "no request", id="-- without a request"),
    ],
)
def test_choices_that_contradict_exit_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_check_is_silent_about_good_manifests(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(manifests)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "3 objects, no errors, no warnings\n"


def test_manifests_that_no_listener_serves_are_told_to_be_checked_in_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "theirs.yaml"
    theirs = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: ours}\n"
    file.write_text(f"{theirs}spec: {{controllerName: example.com/other}}\n---\n{GATEWAY}")
    main(["check", str(file)])
    assert "no listener serves: what rules do to each other is not checked before one does" in capsys.readouterr().err
    main(["check", str(file), "--controller-name", "example.com/other"])
    assert "no listener serves" not in capsys.readouterr().err


def test_files_without_a_gateway_are_told_to_serve_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "service.yaml"
    file.write_text(GATEWAY.split("---\n")[2])
    assert main(["check", str(file)]) == 0
    assert "no Gateway among them: nothing is served" in capsys.readouterr().err
    assert main(["explain", str(file), "--", "http://api.test/"]) == 1
    assert "no listener serves: see gatewayproxy check " in capsys.readouterr().err


def test_a_request_that_cannot_be_read_loses_to_no_listener(
    manifests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {"time": "2026-11-20T09:00:00.1Z", "protocol": "http/1.1", "method": "GET", "target": "/\x1b[2J"}
    line |= {"listener": "default/web/http", "host": "api.test", "status": 200}
    assert main(["explain", str(manifests), "--", json.dumps(line)]) == 1
    out = capsys.readouterr().out
    assert "400  bad_request_line" in out
    assert "the request is refused before its host is asked for" in out
    assert "\x1b" not in out


def test_diff_says_what_to_do_about_a_folder_that_cannot_be_read(
    manifests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["diff", str(empty), str(manifests)]) == 2
    assert capsys.readouterr().err.splitlines()[1].startswith("    -> put at least one *.yaml")


def test_check_names_place_object_field_and_remedy(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifests.write_text(TYPO)
    assert main(["check", str(manifests)]) == 1
    out = capsys.readouterr().out
    line = 1 + TYPO[: TYPO.index("hostnmaes")].count("\n")
    assert f"{manifests}:{line}: error:" in out
    assert "HTTPRoute default/api" in out
    assert "hostnames" in out


def test_check_speaks_json(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifests.write_text(TYPO)
    assert main(["check", str(manifests), "-o", "json"]) == 1
    assert [each["object"]["kind"] for each in json.loads(capsys.readouterr().out)] == ["HTTPRoute"]


def test_a_path_that_is_not_there_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err


def test_get_reads_files(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "gateway", "web", str(manifests), "-o", "jsonpath={.status.addresses[0].value}"]) == 0
    assert capsys.readouterr().out == "127.0.0.1"
    assert main(["get", "httproute", "-f", str(manifests), "-o", "wide"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["NAME", "HOSTNAMES"]
    assert row.split() == ["api", '["api.test"]', "<unknown>", "web", "True", "True"]


def test_get_says_what_it_did_not_find(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "httproute", "nope", str(manifests)]) == 1
    assert '"nope" not found' in capsys.readouterr().err
    assert main(["get", "httproute", "-n", "other", str(manifests)]) == 0
    assert "No resources found in other namespace" in capsys.readouterr().err
    assert main(["get", "gatewayclass", str(manifests)]) == 0
    assert capsys.readouterr().err == "No resources found\n"


class StatusServer(http.server.BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/status" else 404)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), StatusServer) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_get_asks_a_running_gateway(
    server: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # an admin address is never asked through a proxy
    item = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"}}
    StatusServer.body = json.dumps({"kind": "List", "items": [item]}).encode()
    assert main(["get", "svc", "-o", "name", "--server", f"127.0.0.1:{server.server_port}"]) == 0
    assert capsys.readouterr().out == "service/api\n"


def test_get_says_when_the_answer_is_not_ours(
    server: http.server.HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    StatusServer.body = b"<html>"
    assert main(["get", "svc", "--server", f"http://127.0.0.1:{server.server_port}"]) == 1
    assert "not a gatewayproxy admin address" in capsys.readouterr().err


class Stranger(http.server.BaseHTTPRequestHandler):
    """Answers everything with what is no object of ours."""

    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("body", [b"<html>", b"[]"], ids=["no JSON", "no object"])
@pytest.mark.parametrize(
    "words",
    [
        "get svc", "explain http://a.test/", "misses", "rules",
        "history", "history diff 1 2", "show 1", "rollback 1", "promote",
    ],
)  # fmt: skip
def test_commands_say_when_the_answer_is_not_ours(
    words: str, body: bytes, server: http.server.HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.RequestHandlerClass = Stranger
    Stranger.body = body
    command, *rest = words.split()
    asked = [command, "--server", f"127.0.0.1:{server.server_port}", *(["--"] if command == "explain" else []), *rest]
    assert main(asked) == 1
    assert "not a gatewayproxy admin address" in (said := capsys.readouterr().err)
    assert "see --admin of run" in said


def test_get_says_when_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "svc", "--server", "http://127.0.0.1:1"]) == 1
    assert "is it running?" in (said := capsys.readouterr().err)
    assert "give CONFIG" in said


@pytest.mark.parametrize("command", ["misses", "rules", "history", "promote"])
def test_commands_that_read_no_files_do_not_say_to_give_some(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--server", "http://127.0.0.1:1"]) == 1
    assert "is it running?" in (said := capsys.readouterr().err)
    assert "CONFIG" not in said


def test_promote_says_how_a_candidate_comes_beside_a_gateway(
    server: http.server.HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["promote", "--server", f"127.0.0.1:{server.server_port}"]) == 1
    assert "start it with run manifests/ --shadow CANDIDATE" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["run"], ["check"], ["get"], ["version"], ["completion"]])
def test_help_shows_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "usage: gatewayproxy" in text
    if command and command[0] in ("run", "check", "get"):
        assert "examples:" in text


@pytest.mark.parametrize("word", ["version", "--version"])
def test_version_names_what_matters(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    text = capsys.readouterr().out
    assert text.startswith("gatewayproxy ")
    assert "OpenSSL" in text


def test_a_reader_that_leaves_early_is_no_error(manifests: Path) -> None:
    command = [sys.executable, "-m", "gatewayproxy", "get", "all", "-A", "-o", "json", str(manifests)]
    reader, writer = os.pipe()
    os.close(reader)  # before there is anything to read
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_starting_needs_neither_the_compiler_nor_the_data_plane() -> None:
    script = "import sys, gatewayproxy.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "gatewayproxy.cli" in loaded
    assert not {"gatewayproxy.compiler", "gatewayproxy.dataplane", "uvloop"} & set(loaded)
