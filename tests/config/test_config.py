"""Every folder of config/ compiles without a problem; what `check` would tell is silenced where it is meant."""

import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from gatewayproxy.cli import main
from gatewayproxy.compiler.lower import lower
from gatewayproxy.insight import offline
from gatewayproxy.insight.routetests.running import Result, run_tests
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops.sources import read_files, read_paths
from tests.support.plans import without

CONFIG = Path(__file__).parents[2] / "config"
FOLDERS = sorted(folder for folder in CONFIG.iterdir() if list(folder.glob("*.yaml")))
SILENCED = {  # folder -> (code, object) that `check` would tell of, if the object did not say why it is so
    "cilium": [("GW303", "HTTPRoute hr/hr")],
    "genestack": [
        ("GW105", "HTTPRoute grafana/grafana"),
        ("GW109", "HTTPRoute prometheus/alertmanager"),
        ("GW109", "HTTPRoute prometheus/prometheus"),
    ],
    "novaedge": [
        ("GW004", "TCPRoute gateway-system/postgres-route"),
        ("GW004", "TLSRoute gateway-system/redis-tls-route"),
        ("GW504", "Gateway gateway-system/api-gateway"),
    ],
    "nvcf": [("GW303", "HTTPRoute sandbox/sandbox")],
    "shop": [("GW505", "GRPCRoute default/later")],
}


def load_demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("config_demo", CONFIG / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


demo = load_demo()


@pytest.fixture
def copied(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / request.param.name
    shutil.copytree(request.param, folder, ignore=shutil.ignore_patterns("certs"))
    demo.issue_missing(folder)
    return folder


@pytest.mark.parametrize("copied", FOLDERS, ids=lambda folder: folder.name, indirect=True)
def test_check_has_nothing_to_tell_but_what_the_folder_silences(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(copied), "--strict", "-o", "sarif"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert all(each["suppressions"] for each in run["results"])
    told = [
        (each["ruleId"], each["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]) for each in run["results"]
    ]
    assert sorted((code, name.partition(",")[0]) for code, name in told) == SILENCED.get(copied.name, [])


@pytest.mark.parametrize("copied", FOLDERS, ids=lambda folder: folder.name, indirect=True)
def test_every_gateway_is_programmed_and_every_listener_has_a_route_or_a_reason(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["get", "gateways", "-A", "-o", "json", str(copied)]) == 0
    for gateway in json.loads(capsys.readouterr().out)["items"]:
        conditions = {each["type"]: each["status"] for each in gateway["status"]["conditions"]}
        assert conditions["Accepted"] == conditions["Programmed"] == "True"
        idle = [each["name"] for each in gateway["status"]["listeners"] if not each["attachedRoutes"]]
        assert idle in ([], ["http"], ["cluster-http"])  # novaedge and genestack leave a plain listener unused


@pytest.mark.parametrize("copied", FOLDERS, ids=lambda folder: folder.name, indirect=True)
def test_the_route_tests_of_a_folder_pass_and_leave_no_rule_out(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (copied / "tests.yaml").exists()
    assert main(["test", str(copied), "-o", "json", "--require-coverage", "100"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passed"]
    assert told["coverage"]["untested"] == []
    assert told["elapsedMs"] < 2_000  # 2 ms of work, on a machine with other things to do


@pytest.mark.parametrize("copied", FOLDERS, ids=lambda folder: folder.name, indirect=True)
def test_the_route_tests_of_a_folder_notice_whatever_rule_is_gone(copied: Path) -> None:
    sources = read_paths([str(copied)]).sources
    whole = offline.compiled(sources, CompileOptions(), read_files)
    rules = {label_of(result): result for result in run_tests(whole, sources).results if result.rule is not None}
    assert rules
    for result in rules.values():
        assert result.rule is not None
        plan = without(whole.plan, result.rule)
        broken = dataclasses.replace(whole, plan=plan, table=lower(plan, CompileOptions()))
        assert result.name in [each.name for each in run_tests(broken, sources).failed]


def label_of(result: Result) -> str:
    return f"{result.rule.route_text} {result.rule.rule}" if result.rule is not None else ""


def test_every_folder_has_a_page_and_is_listed() -> None:
    listing = (CONFIG / "README.md").read_text()
    for folder in FOLDERS:
        assert (folder / "README.md").exists()
        assert f"({folder.name}/README.md)" in listing


def test_demo_backends_of_all_folders_have_addresses_of_their_own() -> None:
    places = [place for folder in FOLDERS for document in demo.documents(folder) for place in demo.endpoints(document)]
    assert len(places) == len(set(places))


def test_a_certificate_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    shutil.copytree(CONFIG / "quickstart", folder, ignore=shutil.ignore_patterns("certs"))
    (made,) = demo.issue_missing(folder)
    before = made.read_bytes()
    assert demo.issue_missing(folder) == []
    assert made.read_bytes() == before
    assert made.with_suffix(".key").stat().st_mode & 0o077 == 0


def test_privileged_ports_are_moved_up() -> None:
    assert demo.moved_ports(CONFIG / "nvcf") == ["--map-port=80=8080", "--map-port=443=8443"]
    assert demo.moved_ports(CONFIG / "quickstart") == []
