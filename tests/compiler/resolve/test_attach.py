"""Namespaces are selected by their labels as Kubernetes selects."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.manifests.selectors import LabelExpression, LabelSelector
from gatewayproxy.compiler.resolve.attach import Namespaces, matches_selector

LABELS = {"tier": "prod", "team": "web"}


def expression(key: str, operator: str, *values: str) -> LabelSelector:
    return LabelSelector(match_expressions=(LabelExpression(key=key, operator=operator, values=values),))


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        pytest.param(LabelSelector(), True, id="an empty selector selects all"),
        pytest.param(LabelSelector(match_labels={"tier": "prod"}), True, id="equal label"),
        pytest.param(LabelSelector(match_labels={"tier": "prod", "team": "db"}), False, id="every label must be equal"),
        pytest.param(LabelSelector(match_labels={"zone": "a"}), False, id="missing label"),
        pytest.param(expression("tier", "In", "dev", "prod"), True, id="In"),
        pytest.param(expression("tier", "In", "dev"), False, id="not In"),
        pytest.param(expression("zone", "In", "a"), False, id="In of a missing label"),
        pytest.param(expression("tier", "NotIn", "dev"), True, id="NotIn"),
        pytest.param(expression("tier", "NotIn", "prod"), False, id="not NotIn"),
        pytest.param(expression("zone", "NotIn", "a"), True, id="NotIn of a missing label"),
        pytest.param(expression("tier", "Exists"), True, id="Exists"),
        pytest.param(expression("zone", "Exists"), False, id="not Exists"),
        pytest.param(expression("zone", "DoesNotExist"), True, id="DoesNotExist"),
        pytest.param(expression("tier", "DoesNotExist"), False, id="not DoesNotExist"),
        pytest.param(expression("tier", "Like", "prod"), False, id="an unknown operator selects nothing"),
    ],
)
def test_a_selector_takes_labels(selector: LabelSelector, selected: bool) -> None:
    assert matches_selector(selector, LABELS) is selected


def test_a_namespace_has_its_name_as_a_label_with_or_without_a_document() -> None:
    namespaces = Namespaces({"web": {"tier": "prod"}})
    assert namespaces.labels("web") == {"tier": "prod", "kubernetes.io/metadata.name": "web"}
    assert namespaces.labels("other") == {"kubernetes.io/metadata.name": "other"}


def test_the_name_label_cannot_be_forged() -> None:
    namespaces = Namespaces({"web": {"kubernetes.io/metadata.name": "infra"}})
    assert namespaces.labels("web") == {"kubernetes.io/metadata.name": "web"}
