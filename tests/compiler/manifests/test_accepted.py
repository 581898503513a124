"""The last good version of an object, reload by reload: texts in, what serves and what is told out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gatewayproxy.compiler.pipeline import Compiled, Compiler
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.source import CompileOptions, HeldObject, Source
from gatewayproxy.model.status import Problem, Severity
from tests.support.certs import certificate

API = "gateway.networking.k8s.io/v1"
GATEWAY = f"""\
apiVersion: {API}
kind: Gateway
metadata: {{name: gw}}
spec:
  gatewayClassName: any
  listeners:
  - {{name: http, port: 80, protocol: HTTP}}
"""
BAD_GATEWAY = GATEWAY.replace("port: 80,", "port: 99999,")
ROUTE = f"""\
apiVersion: {API}
kind: HTTPRoute
metadata: {{name: r}}
spec: {{parentRefs: [{{name: gw}}], rules: [{{backendRefs: [{{name: app, port: 80}}]}}]}}
"""
SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: app}, spec: {ports: [{port: 80, targetPort: 8080}]}}\n"
GOOD = {"gw.yaml": GATEWAY, "r.yaml": ROUTE, "app.yaml": SERVICE}
GW = ResourceKey("Gateway", "default", "gw")


class Run:
    """A run of the gateway."""

    def __init__(self) -> None:
        self.compiler = Compiler()
        self.generation = 0
        self.texts = dict(GOOD)
        self.files: Mapping[str, bytes | None] = {}

    def reload(self, **changes: str | None) -> Compiled:
        """Compile after *changes*, and serve that."""
        found = self.attempt(**changes)
        self.generation += 1
        self.compiler.adopt(self.generation)
        return found

    def attempt(self, **changes: str | None) -> Compiled:
        """Compile after *changes* to files, by name without suffix; None removes one."""
        changed = {f"{name}.yaml": text for name, text in changes.items()}
        self.texts = {name: text for name, text in {**self.texts, **changed}.items() if text is not None}
        return self.compiler.compile(self.sources, CompileOptions(generation=self.generation + 1), self.files)

    @property
    def sources(self) -> list[Source]:
        return [Source(name, text.encode()) for name, text in self.texts.items()]


def ports(found: Compiled) -> list[int]:
    return [listener.port for listener in found.plan.listeners]


def errors(found: Compiled) -> list[Problem]:
    return [problem for problem in found.status.problems if problem.severity is Severity.ERROR]


def held(found: Compiled) -> list[tuple[str, int]]:
    return [(str(each.key), each.generation) for each in found.status.held]


def shown(found: Compiled, kind: str) -> Mapping[str, Any]:
    return next(each.manifest for each in found.status.objects if each.key.kind == kind)


def test_a_gateway_that_goes_bad_serves_as_before_and_says_so() -> None:
    run = Run()
    before = run.reload()
    after = run.reload(gw="# a comment\n" + BAD_GATEWAY)
    assert after.plan == before.plan
    assert after.table.digest == before.table.digest
    assert [each.status for each in after.status.objects] == [each.status for each in before.status.objects]
    (told,) = errors(after)
    assert (told.origin, told.key, told.field) == (Origin("gw.yaml", 8), GW, "spec.listeners[0].port")
    assert told.hint == "write a number from 1 to 65535; until then the version of generation 1 stays in force"
    assert after.status.held == ((GW, Origin("gw.yaml", 2), 1),)


def test_it_stays_through_other_changes_until_the_text_is_good_again() -> None:
    run = Run()
    assert held(run.reload()) == []
    assert held(run.reload(gw=BAD_GATEWAY)) == [("Gateway default/gw", 1)]
    third = run.reload(r=ROUTE.replace("name: r}", "name: other}"))
    assert held(third) == [("Gateway default/gw", 1)]
    assert ports(third) == [80]
    assert [attached.route.key.full_name for attached in third.plan.listeners[0].attachments] == ["default/other"]
    assert held(run.reload(gw=BAD_GATEWAY.replace("99999", "zero"))) == [("Gateway default/gw", 1)]
    mended = run.reload(gw=GATEWAY.replace("port: 80,", "port: 81,"))
    assert (held(mended), ports(mended), errors(mended)) == ([], [81], [])
    assert held(run.reload(gw=BAD_GATEWAY)) == [("Gateway default/gw", run.generation - 1)]


def test_status_shows_the_object_in_force() -> None:
    run = Run()
    run.reload()
    assert shown(run.reload(gw=BAD_GATEWAY), "Gateway")["spec"]["listeners"][0]["port"] == 80


def test_an_object_that_was_never_good_is_fenced() -> None:
    run = Run()
    for _ in range(2):
        found = run.reload(gw=BAD_GATEWAY)
        assert (ports(found), held(found)) == ([], [])
        assert "stays in force" not in errors(found)[0].hint


def test_a_version_that_was_not_handed_over_is_not_kept() -> None:
    run = Run()
    run.reload()
    run.attempt(gw=GATEWAY.replace("port: 80,", "port: 81,"))
    assert ports(run.reload(gw=BAD_GATEWAY)) == [80]


def test_a_deleted_object_is_gone_and_does_not_come_back() -> None:
    run = Run()
    run.reload()
    run.reload(gw=BAD_GATEWAY)
    assert ports(run.reload(gw=None)) == []
    assert ports(run.reload(gw=BAD_GATEWAY)) == []


def test_a_deletion_that_was_not_handed_over_deletes_nothing() -> None:
    run = Run()
    run.reload()
    run.attempt(gw=None)
    assert ports(run.reload(gw=BAD_GATEWAY)) == [80]


def test_an_object_may_move_to_another_file_while_it_is_bad() -> None:
    run = Run()
    run.reload()
    found = run.reload(gw=None, moved=BAD_GATEWAY)
    assert ports(found) == [80]
    assert found.status.held[0].origin == Origin("moved.yaml", 1)


def test_a_name_that_is_no_other_object_but_another_namespace_is() -> None:
    run = Run()
    run.reload()
    found = run.reload(gw=BAD_GATEWAY.replace("name: gw}", "name: gw, namespace: other}"))
    assert (ports(found), held(found)) == ([], [])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param(("v1\n", "v2\n"), "apiVersion", id="version"),
        pytest.param(("gatewayClassName", "gatewayClasName"), "spec.gatewayClasName", id="unknown field"),
        pytest.param(("metadata: {name: gw}", "metadata: {name: gw, labels: 3}"), "metadata.labels", id="metadata"),
    ],
)
def test_whatever_is_wrong_with_it_the_object_is_held(change: tuple[str, str], field: str) -> None:
    run = Run()
    run.reload()
    found = run.reload(gw=GATEWAY.replace(*change))
    assert (ports(found), held(found)) == ([80], [("Gateway default/gw", 1)])
    assert field in [problem.field for problem in errors(found)]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("kind: Gateway", "kind: Gatway"), id="kind"),
        pytest.param((API, "gateway.netwroking.k8s.io/v1"), id="group"),
        pytest.param((API, "v1"), id="no group"),
    ],
)
def test_a_slip_in_what_it_is_takes_no_object_away(change: tuple[str, str]) -> None:
    run = Run()
    run.reload()
    found = run.reload(gw=GATEWAY.replace(*change))
    assert (ports(found), held(found)) == ([80], [("Gateway default/gw", 1)])
    (told,) = errors(found)
    assert told.hint.startswith("did you mean ")
    assert told.hint.endswith("until then the version of generation 1 stays in force")
    assert held(run.reload(other=GATEWAY)) == []  # it is there, after all


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        pytest.param("networking.istio.io/v1", "Gateway", id="another system's Gateway"),
        pytest.param("serving.knative.dev/v1", "Service", id="another system's Service"),
        pytest.param(API, "GRPCRoute", id="a kind of its own"),
    ],
)
def test_an_object_of_another_kind_holds_nothing(api_version: str, kind: str) -> None:
    run = Run()
    run.reload()
    other = f"{{apiVersion: {api_version}, kind: {kind}, metadata: {{name: %s}}}}\n"
    found = run.reload(gw=other % "gw", r=other % "r", app=other % "app")
    assert (ports(found), held(found)) == ([], [])


def test_a_class_with_a_slip_in_its_kind_is_held() -> None:
    run = Run()
    text = f"apiVersion: {API}\nkind: GatewayClass\nmetadata: {{name: any}}\nspec: {{controllerName: example.com/b}}\n"
    assert ports(run.reload(**{"class": text})) == []
    assert ports(run.reload(**{"class": text.replace("GatewayClass", "GatewayClas")})) == []


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        pytest.param("r", ROUTE, ROUTE.replace("port: 80", "port: 0"), id="route"),
        pytest.param("app", SERVICE, SERVICE.replace("port: 80,", "port: 0,"), id="service"),
    ],
)
def test_what_refers_to_it_goes_on(name: str, good: str, bad: str) -> None:
    run = Run()
    before = run.reload()
    after = run.reload(**{name: bad})
    assert after.plan == before.plan
    assert len(held(after)) == 1
    assert [p.key and p.key.name for p in after.status.problems] == [name]  # dependents have nothing to complain of
    assert run.reload(**{name: good}).plan == before.plan


def test_dependents_change_around_the_version_in_force() -> None:
    run = Run()
    run.reload()
    run.reload(app=SERVICE.replace("port: 80,", "port: 0,"))
    found = run.reload(r=ROUTE.replace("port: 80", "port: 81"))
    assert [problem.message for problem in found.status.problems if problem.severity is Severity.WARNING] == [
        "BackendNotFound: Service default/app has no TCP port 81; it has 80"
    ]


def test_a_secret_is_kept_with_the_files_it_names() -> None:
    run = Run()
    issued = certificate("a.example.com")
    run.files = {"certs/a.crt": issued.chain_pem, "certs/a.key": issued.key_pem}
    secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: tls\n  annotations:\n"
    secret += "    {gatewayproxy.io/cert-file: certs/a.crt, gatewayproxy.io/key-file: certs/a.key}\n"
    https = GATEWAY.replace("80, protocol: HTTP", "443, protocol: HTTPS, tls: {certificateRefs: [{name: tls}]}")
    before = run.reload(gw=https, tls=secret)
    assert ports(before) == [443]
    assert run.reload(tls=secret + "tyep: Opaque\n").plan == before.plan
    assert run.compiler.wanted_files(run.sources) == {"certs/a.crt", "certs/a.key"}


def test_of_two_with_one_key_the_first_is_held_and_no_other() -> None:
    run = Run()
    run.reload()
    found = run.reload(gw=f"{BAD_GATEWAY}---\n{GATEWAY.replace('port: 80', 'port: 81')}")
    assert (ports(found), held(found)) == ([80], [("Gateway default/gw", 1)])
    found = run.reload(gw=f"{GATEWAY.replace('port: 80', 'port: 81')}---\n{BAD_GATEWAY}")
    assert (ports(found), held(found)) == ([81], [])


def test_a_problem_of_the_version_in_force_points_to_the_text_that_is_there() -> None:
    run = Run()
    ours = ROUTE + "---\n" + GATEWAY.replace("name: http,", "name: http, allowedRoutes: {namespaces: {from: None}},")
    run.reload(gw=None, r=ours)
    found = run.reload(r="# moved down\n" * 3 + ours.replace("rules:", "ruels:"))
    assert {
        p.origin for p in found.status.problems if p.key and p.key.kind == "HTTPRoute" and p.field != "spec.ruels"
    } == {Origin("r.yaml", 4)}


PATCH = "apiVersion: gatewayproxy.io/v1alpha1\nkind: Patch\nmetadata: {name: p}\n"
PATCH += "spec: {target: {kind: Gateway, name: gw}, files: [port.yaml]}\n"
SET_PORT = "- {op: replace, path: /spec/listeners/0/port, value: %s}\n"


def test_a_patch_that_spoils_its_target_leaves_the_patched_version_in_force() -> None:
    run = Run()
    assert ports(run.reload(patch=PATCH, port=SET_PORT % 81)) == [81]
    found = run.reload(port=SET_PORT % 99999)
    assert (ports(found), held(found)) == ([81], [("Gateway default/gw", 1)])


def test_a_patch_that_cannot_be_applied_is_for_the_whole_reload_to_judge() -> None:
    run = Run()
    run.reload(patch=PATCH, port=SET_PORT % 81)
    assert [problem.key for problem in errors(run.reload(port="- {op: remove, path: /spec/nothing}\n"))] == [None]


def test_a_compiler_that_starts_anew_knows_what_it_is_told() -> None:
    run = Run()
    run.reload(patch=PATCH, port=SET_PORT % 81)
    before = run.reload(port=SET_PORT % 99999)
    told = run.compiler.held_objects()
    assert [(each.file, each.line, each.generation) for each in told] == [("gw.yaml", 1, 1)]
    run.compiler = Compiler()
    run.compiler.recall(run.sources, told)
    run.compiler.adopt(run.generation)
    after = run.reload(app=SERVICE.replace("port: 80,", "port: 0,"))
    assert after.plan == before.plan
    assert held(after) == [("Gateway default/gw", 1), ("Service default/app", 2)]


def test_a_held_object_that_means_nothing_any_more_is_forgotten() -> None:
    run = Run()
    run.compiler.recall(run.sources, [HeldObject("gw.yaml", 1, 1, {"kind": "Gateway"})])
    assert ports(run.reload(gw=BAD_GATEWAY)) == []


def test_without_an_earlier_compilation_nothing_is_held() -> None:
    run = Run()
    run.attempt()
    assert held(run.reload(gw=BAD_GATEWAY)) == []
