import json
from typing import Any

import pytest
import yaml

from gatewayproxy.errors import UsageError
from gatewayproxy.insight import get
from gatewayproxy.insight.kinds import KINDS, find_kind

GROUP = "gateway.networking.k8s.io"
NOW = 1_700_000_000.0


def condition(type_: str, status: str = "True", reason: str = "") -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason or type_}


def route(name: str, namespace: str, *parents: list[dict[str, str]], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"parentRefs": [{"name": "web", "namespace": "infra", "sectionName": "http"}], **spec},
        "status": {"parents": [{"conditions": conditions} for conditions in parents]},
    }


GATEWAY = {
    "apiVersion": f"{GROUP}/v1",
    "kind": "Gateway",
    "metadata": {"name": "web", "namespace": "infra", "creationTimestamp": "2023-11-14T20:13:20Z"},
    "spec": {"gatewayClassName": "ours"},
    "status": {
        "addresses": [{"type": "IPAddress", "value": "10.0.0.1"}, {"type": "IPAddress", "value": "::1"}],
        "conditions": [condition("Programmed"), condition("Accepted")],
        "listeners": [{"name": "http", "attachedRoutes": 2}, {"name": "https"}],
    },
}
GOOD = route("api", "default", [condition("Accepted"), condition("ResolvedRefs")], hostnames=["a.test", "b.test"])
BAD = route("hr", "hr", [condition("Accepted", "False", "NotAllowedByListeners")], [condition("Accepted")])
CLASS = {
    "apiVersion": f"{GROUP}/v1",
    "kind": "GatewayClass",
    "metadata": {"name": "ours"},
    "spec": {"controllerName": "x/y"},
}
OBJECTS = [BAD, GATEWAY, GOOD, CLASS]


def shown(kind: str, *names: str, output: str = "table", namespace: str | None = "default") -> str:
    asked = get.ask(kind, names, namespace=namespace)
    return get.show(get.choose(OBJECTS, asked), asked, output, now=NOW)


def test_a_table_of_one_namespace() -> None:
    assert shown("httproute") == 'NAME   HOSTNAMES             AGE\napi    ["a.test","b.test"]   <unknown>\n'


def test_all_namespaces_add_a_column_and_sort_by_it() -> None:
    lines = shown("httproutes", namespace=None).splitlines()
    assert lines[0].split() == ["NAMESPACE", "NAME", "HOSTNAMES", "AGE"]
    assert [line.split()[:2] for line in lines[1:]] == [["default", "api"], ["hr", "hr"]]


def test_grpcroutes_show_their_hostnames_and_what_the_parents_say() -> None:
    verdict = [condition("Accepted", "False", "HostnameConflict"), condition("ResolvedRefs")]
    calls = {**route("calls", "default", verdict, hostnames=["c.test"]), "kind": "GRPCRoute"}
    asked = get.ask("grpcroutes", (), namespace="default")
    head, row = get.show(get.choose([*OBJECTS, calls], asked), asked, "wide", now=NOW).splitlines()
    assert head.split() == ["NAME", "HOSTNAMES", "AGE", "PARENTS", "ACCEPTED", "RESOLVED-REFS"]
    assert row.split() == ["calls", '["c.test"]', "<unknown>", "infra/web:http", "False", "(HostnameConflict)", "True"]


def test_a_gateway_shows_what_its_definition_says() -> None:
    head, row = shown("gtw", namespace="infra").splitlines()
    assert head.split() == ["NAME", "CLASS", "ADDRESS", "PROGRAMMED", "AGE"]
    assert row.split() == ["web", "ours", "10.0.0.1,::1", "True", "120m"]


def test_wide_adds_what_one_asks_next() -> None:
    assert shown("gateway", namespace="infra", output="wide").splitlines()[1].split()[-2:] == ["True", "http:2,https:0"]
    row = shown("httproute", "hr", namespace="hr", output="wide").splitlines()[1]
    assert "infra/web:http" in row
    assert "1/2 (NotAllowedByListeners)" in row


def test_cluster_scoped_kinds_have_no_namespace() -> None:
    assert shown("gc").splitlines()[1].split() == ["ours", "x/y", "<none>", "<unknown>"]
    assert "NAMESPACE" not in shown("gc", namespace=None)


def test_all_prints_a_table_for_each_kind_with_full_names() -> None:
    text = shown("all", namespace=None)
    assert f"gatewayclass.{GROUP}/ours" in text
    assert f"httproute.{GROUP}/hr" in text
    assert text.count("\n\n") == 2


def test_one_name_is_an_object_and_several_are_a_list() -> None:
    assert json.loads(shown("httproute", "api", output="json")) == GOOD
    everything = json.loads(shown("all", output="json", namespace=None))
    assert everything["kind"] == "List"
    assert [each["kind"] for each in everything["items"]] == ["GatewayClass", "Gateway", "HTTPRoute", "HTTPRoute"]
    assert yaml.safe_load(shown("httproute", "api", output="yaml")) == GOOD


def test_nothing_found_is_an_empty_list() -> None:
    assert json.loads(shown("tcproutes", output="json"))["items"] == []
    assert shown("tcproutes") == ""


def test_a_missing_name_is_told() -> None:
    found = get.choose(OBJECTS, get.ask("httproute/nope", (), namespace="default"))
    assert found.missing == (f'httproutes.{GROUP} "nope" not found',)


def test_jsonpath_starts_at_the_object_or_the_list() -> None:
    assert shown("gateway", "web", namespace="infra", output="jsonpath={.status.addresses[0].value}") == "10.0.0.1"
    assert shown("httproutes", namespace=None, output="jsonpath={.items[*].metadata.name}") == "api hr"


def test_names_can_be_piped() -> None:
    assert shown("httproute", output="name") == f"httproute.{GROUP}/api\n"


@pytest.mark.parametrize(
    ("kind", "names", "output"),
    [("nonsense", (), "table"), ("all", ("api",), "table"), ("httproute,svc", ("api",), "table"), ("svc", (), "xml")],
)
def test_a_wrong_question_is_refused(kind: str, names: tuple[str, ...], output: str) -> None:
    with pytest.raises(UsageError):
        shown(kind, *names, output=output)


@pytest.mark.parametrize("word", ["Gateway", "gateways", "gtw", "gateways.gateway.networking.k8s.io"])
def test_a_kind_has_several_names(word: str) -> None:
    assert find_kind(word).kind == "Gateway"


def test_a_kind_that_is_misspelt_is_named() -> None:
    with pytest.raises(UsageError, match=r"did you mean httproutes\?"):
        find_kind("httproutez")


def test_no_two_kinds_share_a_name() -> None:
    names = [name for info in KINDS for name in info.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (150, "2m30s"), (600, "10m"), (7200, "120m"), (10_800, "3h"), (12_000, "3h20m"),
     (200_000, "2d7h"), (1_000_000, "11d"), (70_000_000, "2y")],
)  # fmt: skip
def test_an_age_has_at_most_two_units(seconds: int, text: str) -> None:
    assert get.duration(seconds) == text


def test_unknown_shapes_print_as_none() -> None:
    odd = {"apiVersion": f"{GROUP}/v1", "kind": "Gateway", "metadata": {"name": "odd"}, "spec": "?", "status": []}
    asked = get.ask("gateway", (), namespace=None)
    assert "odd" in get.show(get.choose([odd], asked), asked, "wide", now=NOW)


def test_a_service_shows_what_kubectl_shows_and_where_it_listens() -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "db", "annotations": {"gatewayproxy.io/endpoints": "10.0.0.7:5432"}},
        "spec": {"clusterIP": "None", "selector": {"tier": "db", "app": "pg"}, "ports": [{"port": 5432}]},
    }
    asked = get.ask("svc", (), namespace="default")
    head, row = get.show(get.choose([service], asked), asked, "wide", now=NOW).splitlines()
    assert head.split() == "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR ENDPOINTS".split()
    assert row.split() == "db ClusterIP None <none> 5432/TCP <unknown> app=pg,tier=db 10.0.0.7:5432".split()
