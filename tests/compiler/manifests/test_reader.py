"""From a text to typed objects: kinds, versions, metadata, and what happens to the objects that are not for us."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.documents import MAX_FILE_PROBLEMS
from gatewayproxy.compiler.manifests import Resources
from gatewayproxy.compiler.manifests.configmap import ConfigMap
from gatewayproxy.compiler.manifests.gateway import Gateway
from gatewayproxy.compiler.manifests.gatewayclass import GatewayClass
from gatewayproxy.compiler.manifests.httproute import HTTPRoute
from gatewayproxy.compiler.manifests.reader import gather_files, read_source
from gatewayproxy.model.names import Origin, ResourceKey
from gatewayproxy.model.plan import PathKind
from gatewayproxy.model.source import Source
from gatewayproxy.model.status import Problem, Severity

GATEWAY = "apiVersion: gateway.networking.k8s.io/v1\n"


def resources(*texts: str) -> Resources:
    return gather_files(read_source(Source(f"{n}.yaml", text.encode())) for n, text in enumerate(texts))


def problem(*texts: str) -> Problem:
    (found,) = resources(*texts).problems
    return found


def config_map(metadata: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\n"


def test_an_http_route_with_its_defaults() -> None:
    text = GATEWAY + "kind: HTTPRoute\nmetadata: {name: r}\nspec:\n  parentRefs: [{name: gw}]\n"
    text += "  rules:\n  - backendRefs: [{name: web, port: 80}]\n"
    (route,) = resources(text).of(HTTPRoute)
    (rule,) = route.rules
    (match,) = rule.matches
    (parent,) = route.parent_refs
    (backend,) = rule.backend_refs
    assert route.meta.key == ResourceKey("HTTPRoute", "default", "r")
    assert (match.path_kind, match.path, match.method, match.headers) == (PathKind.PREFIX, "/", None, ())
    assert (parent.group, parent.kind, parent.namespace) == ("gateway.networking.k8s.io", "Gateway", None)
    assert (backend.ref.group, backend.ref.kind, backend.weight, backend.filters) == ("", "Service", 1, ())
    assert (rule.at, backend.ref.at, backend.ref.path) == (
        Origin("0.yaml", 7),
        Origin("0.yaml", 7),
        "spec.rules[0].backendRefs[0]",
    )


def test_a_route_without_rules_matches_everything() -> None:
    (route,) = resources(GATEWAY + "kind: HTTPRoute\nmetadata: {name: r}\nspec: {}\n").of(HTTPRoute)
    assert [(m.path_kind, m.path) for rule in route.rules for m in rule.matches] == [(PathKind.PREFIX, "/")]


def test_metadata() -> None:
    text = config_map(
        "{name: c, namespace: n, labels: {a: b}, annotations: {x.io/y: any}, generation: 7, uid: u,"
        " creationTimestamp: 2026-01-31T12:00:00Z, resourceVersion: '9', managedFields: [{x: 1}]}"
    )
    (found,) = resources(text).of(ConfigMap)
    meta = found.meta
    assert (meta.namespace, meta.name, meta.labels, meta.annotations) == ("n", "c", {"a": "b"}, {"x.io/y": "any"})
    assert (meta.generation, meta.created, meta.origin) == (7, 1769860800.0, Origin("0.yaml", 1))
    assert meta.manifest["kind"] == "ConfigMap"


@pytest.mark.parametrize("text", ["null", '""', "~"])
def test_an_empty_creation_timestamp_is_none(text: str) -> None:
    (found,) = resources(config_map(f"{{name: c, creationTimestamp: {text}}}")).of(ConfigMap)
    assert found.meta.created == 0.0


def test_objects_age_by_time_then_by_name_and_undated_ones_are_youngest() -> None:
    dated = "creationTimestamp: 202{}-01-01T00:00:00Z"
    text = "---\n".join(
        config_map(metadata)
        for metadata in (
            "{name: z}",
            "{name: a-b, namespace: n}",
            "{name: late, " + dated.format(2) + "}",
            "{name: early, " + dated.format(1) + "}",
        )
    )
    names = [c.meta.name for c in sorted(resources(text).of(ConfigMap), key=lambda c: c.meta.age)]
    assert names == ["early", "late", "z", "a-b"]


@pytest.mark.parametrize(
    ("metadata", "field", "message"),
    [
        pytest.param("{}", "metadata.name", "is required", id="no name"),
        pytest.param("{name: A}", "metadata.name", '"A" has the wrong form', id="upper case"),
        pytest.param("{name: a_b}", "metadata.name", '"a_b" has the wrong form', id="underscore"),
        pytest.param(f"{{name: {'a' * 254}}}", "metadata.name", "has 254 characters, 253 is the most", id="long name"),
        pytest.param("{name: 5}", "metadata.name", "must be a string, not the number 5", id="number"),
        pytest.param(
            "{name: a, namespace: a.b}", "metadata.namespace", '"a.b" has the wrong form', id="dotted namespace"
        ),
        pytest.param(
            "{name: a, labels: {x: 'a b'}}", "metadata.labels.x", '"a b" has the wrong form', id="label value"
        ),
        pytest.param(
            "{name: a, labels: {x: true}}", "metadata.labels.x", "must be a string, not the boolean true", id="true"
        ),
        pytest.param(
            "{name: a, labels: {-x: a}}",
            'metadata.labels["-x"]',
            '"-x" must be 1 to 63 letters, digits, "-", "_" or ".", with a letter or digit at both ends',
            id="label key",
        ),
        pytest.param(
            "{name: a, annotations: {A_b/x: a}}",
            'metadata.annotations["A_b/x"]',
            'the part before "/" must be a DNS name, not "A_b"',
            id="annotation prefix",
        ),
        pytest.param("{name: a, creationTimestamp: soon}", "metadata.creationTimestamp", "is not a date", id="date"),
        pytest.param("{name: a, generation: -1}", "metadata.generation", "-1 is out of range", id="generation"),
        pytest.param("{name: a, nmaespace: b}", "metadata.nmaespace", "unknown field", id="unknown field"),
        pytest.param("word", "metadata", 'must be a mapping, not the string "word"', id="no mapping"),
        pytest.param(
            f"{{name: a, annotations: {{x: {'a' * 262_144}}}}}",
            "metadata.annotations",
            "hold 262145 bytes, 262144 is the most",
            id="large annotations",
        ),
    ],
)
def test_bad_metadata_fences_the_object(metadata: str, field: str, message: str) -> None:
    found = resources(config_map(metadata))
    assert [(p.field, p.message) for p in found.problems] == [(field, message)]
    assert found.of(ConfigMap) == ()
    is_named = found.problems[0].key is not None
    assert [meta.name for meta in found.fenced] == (["a"] if is_named else [])
    assert is_named == (field not in {"metadata", "metadata.name", "metadata.namespace"})


@pytest.mark.parametrize("metadata", ["{name: A}", "{nmae: a}", "{name: a, namespace: 7}", "[a]"])
def test_an_object_without_a_sound_name_stands_for_none(metadata: str) -> None:
    found = resources(config_map(metadata), config_map("{name: a}"), config_map("{name: A}"))
    assert [c.meta.name for c in found.of(ConfigMap)] == ["a"]
    assert {p.key for p in found.problems} == {None}


def test_a_gateway_name_of_253_characters_works() -> None:
    text = GATEWAY + f"kind: Gateway\nmetadata: {{name: {'a' * 253}}}\n"
    text += "spec: {gatewayClassName: c, listeners: [{name: l, port: 80, protocol: HTTP}]}\n"
    assert len(resources(text).of(Gateway)) == 1


def test_cluster_scoped_kinds_have_no_namespace() -> None:
    text = GATEWAY + "kind: GatewayClass\nmetadata: {name: c, namespace: n}\nspec: {controllerName: a.io/b}\n"
    found = resources(text)
    assert found.of(GatewayClass)[0].meta.key == ResourceKey("GatewayClass", "", "c")
    assert [(p.severity.value, p.field) for p in found.problems] == [("warning", "metadata.namespace")]


def test_of_two_objects_with_one_key_the_first_counts() -> None:
    found = resources(config_map("{name: a}") + "data: {x: '1'}\n", config_map("{name: a, namespace: default}"))
    assert [c.data for c in found.of(ConfigMap)] == [{"x": b"1"}]
    (told,) = found.problems
    assert (told.origin, told.message) == (
        Origin("1.yaml", 1),
        "ConfigMap default/a is already declared at 0.yaml:1; that one counts",
    )


def test_a_broken_first_object_is_not_replaced_by_its_twin() -> None:
    found = resources(config_map("{name: a, labels: 3}"), config_map("{name: a}"))
    assert found.of(ConfigMap) == ()
    assert len(found.problems) == 2


def test_an_object_with_an_error_does_not_harm_its_neighbours() -> None:
    text = config_map("{name: a}") + "---\n" + config_map("{name: B}") + "---\n" + config_map("{name: c}")
    found = resources(text)
    assert [c.meta.name for c in found.of(ConfigMap)] == ["a", "c"]
    assert [meta.name for meta in found.metas] == ["a", "c"]


@pytest.mark.parametrize(
    ("api_version", "kind", "severity", "message", "hint"),
    [
        pytest.param(
            "gateway.networking.x-k8s.io/v1alpha1", "XMesh", "warning",
            "XMesh is not implemented yet, passed over", "nothing serves it here: do not rely on it", id="later",
        ),
        pytest.param(
            "gateway.networking.k8s.io/v1", "HttpRoute", "warning",
            "unknown kind 'HttpRoute', passed over", "did you mean HTTPRoute?", id="misspelt",
        ),
        pytest.param(
            "gateway.networking.k8s.io/v2", "HTTPRoute", "error", "HTTPRoute has no version 'v2'",
            "write one of: gateway.networking.k8s.io/v1, gateway.networking.k8s.io/v1beta1", id="version",
        ),
        pytest.param(
            "v1", "HTTPRoute", "warning", "'HTTPRoute' of API group '' is not known here, passed over",
            "did you mean apiVersion gateway.networking.k8s.io/v1?", id="group forgotten",
        ),
        pytest.param(
            "kustomize.config.k8s.io/v1beta1", "Kustomization", "warning",
            "'Kustomization' of API group 'kustomize.config.k8s.io' is not known here, passed over",
            "it is no manifest: render it first (kustomize build FOLDER)", id="what has to be rendered",
        ),
        pytest.param(
            "apps/v1", "Deployment", "warning", "'Deployment' of API group 'apps' is not known here, passed over",
            "", id="none of our business",
        ),
    ],
)  # fmt: skip
def test_kinds_we_do_not_serve_are_told_and_passed_over(
    api_version: str, kind: str, severity: str, message: str, hint: str
) -> None:
    told = problem(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\nanything: {{goes: here}}\n")
    assert (told.severity.value, told.message, told.hint) == (severity, message, hint)
    assert told.key == ResourceKey(kind, "default", "x")


def test_an_object_of_a_version_that_is_not_served_is_fenced() -> None:
    found = resources("apiVersion: gateway.networking.k8s.io/v2\nkind: Gateway\nmetadata: {name: x}\nspec: {new: 1}\n")
    assert [(meta.key, meta.api_version) for meta in found.fenced] == [
        (ResourceKey("Gateway", "default", "x"), "gateway.networking.k8s.io/v2")
    ]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        pytest.param("kind: ConfigMap\n", ["apiVersion"], id="no apiVersion"),
        pytest.param("apiVersion: v1\n", ["kind"], id="no kind"),
        pytest.param("a: 1\n", [""], id="neither: told once"),
        pytest.param("apiVersion: [v1]\nkind: {}\n", ["apiVersion", "kind"], id="wrong types"),
    ],
)
def test_an_object_without_a_kind_is_an_error(text: str, fields: list[str]) -> None:
    assert [(p.severity.value, p.field) for p in resources(text).problems] == [("error", field) for field in fields]


def test_a_file_of_another_program_is_told_to_go_elsewhere() -> None:
    told = problem("services: {web: {image: nginx}}\n")
    assert told.message == "is no Kubernetes object: it has neither apiVersion nor kind"
    assert "move it elsewhere" in told.hint


def test_status_as_a_cluster_writes_it_is_passed_over() -> None:
    text = GATEWAY + "kind: HTTPRoute\nmetadata: {name: r}\nspec: {}\nstatus: {parents: [{anything: 1}]}\n"
    assert resources(text).problems == ()


def test_a_text_full_of_errors_costs_little() -> None:
    text = "---\n".join(config_map(f"{{name: a{n}, labels: 3}}") for n in range(3 * MAX_FILE_PROBLEMS))
    found = resources(text)
    assert len(found.fenced) == 3 * MAX_FILE_PROBLEMS
    assert len(found.problems) == 3 * MAX_FILE_PROBLEMS
    assert found.problems[-1].origin.line == len(text.splitlines()) - 2  # the object's line: fields are not looked up


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param("useDefaultGateways: All", "spec.useDefaultGateways", id="default Gateways"),
    ],
)
def test_what_is_not_served_yet_gets_a_warning(spec: str, field: str) -> None:
    told = problem(GATEWAY + f"kind: HTTPRoute\nmetadata: {{name: r}}\nspec: {{{spec}}}\n")
    assert (told.severity.value, told.field, told.message) == ("warning", field, "is not implemented yet, ignored")


def test_a_filter_that_is_not_served_is_kept_as_such() -> None:
    text = GATEWAY + "kind: HTTPRoute\nmetadata: {name: r}\nspec:\n  rules:\n  - filters:\n"
    text += "    - {type: ExtensionRef, extensionRef: {group: a.io, kind: F, name: f}}\n"
    (route,) = resources(text).of(HTTPRoute)
    assert [(f.type, f.spec, f.references) for f in route.rules[0].filters] == [
        ("ExtensionRef", None, ()),
    ]


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        pytest.param(
            "kind: Service\nmetadata: {name: a, annotations: {gatewayproxy.io/endpoint: '1'}}\nspec: {}",
            "gatewayproxy.io/endpoint", "did you mean gatewayproxy.io/endpoints?", id="misspelt",
        ),
        pytest.param(
            "kind: ConfigMap\nmetadata: {name: a, annotations: {gatewayproxy.io/cert-file: a}}",
            "gatewayproxy.io/cert-file", "known here: none", id="of another kind",
        ),
    ],
)  # fmt: skip
def test_an_annotation_of_ours_that_means_nothing_is_told(text: str, key: str, hint: str) -> None:
    found = problem(f"apiVersion: v1\n{text}\n")
    assert (found.severity, found.field, found.hint) == (Severity.WARNING, f'metadata.annotations["{key}"]', hint)


def test_annotations_of_others_are_their_business() -> None:
    assert resources(config_map("{name: a, annotations: {example.com/x: y}}")).problems == ()


def test_a_slice_of_no_service_is_told() -> None:
    found = problem(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\nendpoints: []\n"
    )
    assert (found.severity, found.hint) == (Severity.WARNING, "add the label kubernetes.io/service-name")
