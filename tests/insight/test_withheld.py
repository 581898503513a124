"""What is shown of manifests: everything as written, but nothing that a Secret holds."""

from __future__ import annotations

from base64 import b64encode

import pytest

from gatewayproxy.compiler.documents import parse
from gatewayproxy.insight.withheld import shown_texts
from gatewayproxy.model.source import Source

KEY = "-----BEGIN EC PRIVATE KEY-----\nhushhushhush\n-----END EC PRIVATE KEY-----\n"
PACKED = b64encode(KEY.encode()).decode()
ROUTE = "# ours\nkind: HTTPRoute\nmetadata: {name: r}  # a comment\n"


def shown(text: str, file: str = "a.yaml", **others: str) -> str:
    sources = [Source(file, text.encode()), *(Source(f"{name}.yaml", more.encode()) for name, more in others.items())]
    return shown_texts(sources)[0][1]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(ROUTE, id="one object"),
        pytest.param(f"{ROUTE}---\n# between\n---\n{ROUTE}", id="several"),
        pytest.param("", id="nothing"),
        pytest.param("# only a comment\n", id="a comment"),
        pytest.param(f"kind: ConfigMap\nmetadata: {{name: c}}\ndata: {{a: {'QUJD' * 30}}}\n", id="base64 of no key"),
    ],
)
def test_what_holds_no_secret_is_shown_as_it_was_written(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("kind: Secret\nmetadata: {name: s}\ndata: {tls.key: hush}\n", id="data"),
        pytest.param(
            "kind: Secret\nmetadata: {name: s}\nstringData:\n  tls.key: |\n    hush\n    hush\n", id="a block"
        ),
        pytest.param("{kind: Secret, metadata: {name: s}, data: {tls.key: hush}}\n", id="in braces"),
        pytest.param("kind: secret\nmetadata: {name: s}\nstringdata: {tls.key: hush}\n", id="misspelt"),
        pytest.param("kind: Secret\nmetadata: {name: s, annotations: {last: hush}}\ndata: {}\n", id="an annotation"),
        pytest.param("kind: Secret\n# hush\nmetadata: {name: s}\n", id="a comment within"),
        pytest.param("kind: Secret\nmetadata: &m {name: s, note: &n hush}\ndata: {a: *n}\n", id="an alias"),
        pytest.param("kind: List\nitems:\n- kind: Secret\n  metadata: {name: s}\n  data: {a: hush}\n", id="in a list"),
        pytest.param("kind: Secret\nmetadata: {name: s}\ndata: {a: hush\n", id="cut short"),
        pytest.param("kind: HTTPRoute\nkind: Secret\nmetadata: {name: s}\ndata: {a: hush}\n", id="of two kinds"),
        pytest.param("- kind: Secret\n  data: {a: hush}\n", id="no object"),
        pytest.param(f"kind: ConfigMap\nmetadata: {{name: s}}\ndata:\n  k: {KEY!r}\n", id="a key elsewhere"),
        pytest.param(
            f"# {KEY}".replace("\n", "\n# ") + "\nkind: Gateway\nmetadata: {name: s}\n", id="a key in comments"
        ),
    ],
)
def test_nothing_that_a_secret_holds_is_shown(text: str) -> None:
    between = f"{ROUTE}---\n{text}"
    assert "hush" not in shown(between)


@pytest.mark.parametrize("width", [None, 64, 76])
def test_private_keys_in_base64_are_withheld_wherever_they_are(width: int | None) -> None:
    lines = [PACKED] if width is None else [PACKED[at : at + width] for at in range(0, len(PACKED), width)]
    body = "".join(f"    {line}\n" for line in lines)
    text = f"kind: ConfigMap\nmetadata: {{name: c}}\ndata:\n  key: |\n{body}  other: plain\n"
    found = shown(text)
    assert not any(line in found for line in lines)
    assert "other: plain" in found or "plain" in found


def test_the_names_of_a_secret_and_what_is_around_it_are_shown() -> None:
    secret = "kind: Secret\nmetadata: {name: s, namespace: n}\ndata: {tls.key: hush}\n"
    text = f"{ROUTE}---\n# the key\n{secret}---\n{ROUTE}"
    found = shown(text)
    assert found.startswith(f"{ROUTE}---\n# the key\n")
    assert found.endswith(f"---\n{ROUTE}")
    tree = parse(Source("a.yaml", found.encode())).documents[1].tree
    assert (tree["kind"], tree["metadata"]) == ("Secret", {"name": "s", "namespace": "n"})
    assert tree["data"] == {"tls.key": "(withheld)"}


def test_a_list_with_a_secret_is_yaml_still() -> None:
    secret = "- kind: Secret\n  metadata: {name: s}\n  data: {a: hush}\n"
    text = f"kind: List\nitems:\n{secret}- kind: Gateway\n  metadata: {{name: g}}\n"
    assert [each.tree["kind"] for each in parse(Source("a.yaml", shown(text).encode())).documents] == [
        "Secret",
        "Gateway",
    ]


def test_json_is_json_still() -> None:
    text = '{"kind":"List","items":[{"kind":"Secret","metadata":{"name":"s"},"data":{"a":"hush"}},{"kind":"Gateway"}]}'
    found = shown(text, "a.json")
    assert "hush" not in found
    assert [each.tree["kind"] for each in parse(Source("a.json", found.encode())).documents] == ["Secret", "Gateway"]


@pytest.mark.parametrize(("kind", "visible"), [("Secret", False), ("Gateway", True)])
def test_patches_of_secrets_are_not_shown(kind: str, visible: bool) -> None:
    patch = f"kind: Patch\nmetadata: {{name: p}}\nspec: {{target: {{kind: {kind}, name: s}}, files: [patch*.yaml]}}\n"
    found = shown("- {op: add, path: /data/a, value: hush}\n", "patch-1.yaml", patches=patch)
    assert ("hush" in found) is visible
