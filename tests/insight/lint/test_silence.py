"""Annotations keep codes from being told of one object, and of no other; one without use is told."""

from __future__ import annotations

import pytest

from gatewayproxy.insight.lint import Judged, lint
from gatewayproxy.model.source import CompileOptions, Source

GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: any, listeners: [{name: http, port: 8080, protocol: HTTP}]}
"""
ISSUER = """\
apiVersion: acme.example/v1
kind: Thing
metadata: {name: other, annotations: {gatewayproxy.io/lint-ignore: "%s"}}
"""


def route(name: str, ignore: str = "") -> str:
    """Return a route whose Gateway does not exist (GW301), with *ignore* as its silence."""
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {name}
  annotations: {{gatewayproxy.io/lint-ignore: "{ignore}"}}
spec:
  parentRefs: [{{name: nowhere}}]
  rules: [{{filters: [{{type: RequestRedirect, requestRedirect: {{port: 81}}}}]}}]
"""


def judged(*documents: str) -> Judged:
    return lint([Source("a.yaml", "---\n".join(documents).encode())], CompileOptions(), lambda _: {})[1]


def told(found: Judged) -> list[tuple[str, str]]:
    return [(each.code, each.key.name if each.key else "") for each in found.told]


def test_a_silence_holds_for_its_object_only() -> None:
    found = judged(route("a", "GW301"), route("b"))
    assert told(found) == [("GW301", "b")]
    assert [(each.code, each.key and each.key.name) for each in found.silenced] == [("GW301", "a")]


@pytest.mark.parametrize("written", ["GW301,GW101", "GW101, GW301", " GW301  GW101 ", "GW301, GW101, GW301"])
def test_codes_stand_apart_by_commas_and_blanks(written: str) -> None:
    found = judged(route("a", written))
    assert told(found) == [("GW901", "a")]
    assert found.told[0].message == "GW101 is not found here: nothing is silenced"


def test_a_silence_without_use_is_told_at_its_line() -> None:
    (useless,) = judged(GATEWAY, route("a", "GW301"), route("b", "GW301, GW1234")).told
    assert useless.message == "there is no code GW1234"
    assert useless.field == "metadata.annotations[gatewayproxy.io/lint-ignore]"
    assert str(useless.origin) == "a.yaml:19"


def test_the_telling_of_useless_silences_cannot_be_silenced() -> None:
    assert told(judged(route("a", "GW301, GW901"))) == [("GW901", "a")]


def test_an_object_of_an_unknown_kind_can_be_silenced() -> None:
    assert told(judged(ISSUER % "GW002")) == []
    assert told(judged(ISSUER % "GW001")) == [("GW002", "other"), ("GW901", "other")]


def test_an_object_with_errors_can_be_silenced() -> None:
    broken = route("a", "GW007").replace("spec:", "spec:\n  sock: 1")
    assert told(judged(broken)) == []


def test_a_silence_that_is_no_text_is_malformed() -> None:
    assert [code for code, _ in told(judged(route("a").replace('lint-ignore: ""', "lint-ignore: [GW301]")))][:1] == [
        "GW001"
    ]


@pytest.mark.parametrize("code", ["GW301", "gw301"])
def test_codes_are_written_as_they_are_told(code: str) -> None:
    assert (told(judged(route("a", code))) == []) is (code == "GW301")
