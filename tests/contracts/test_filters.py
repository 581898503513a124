"""What holds for every filter: registered, read and lowered alike."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

import gatewayproxy.filters
from gatewayproxy.filters import FILTERS, FilterSpec
from gatewayproxy.model.plan import Cluster, FilterChain
from tests.support.filters import read_filter
from tests.support.plans import cluster

FOLDER = Path(gatewayproxy.filters.__file__).parent

EXAMPLES: Mapping[str, Mapping[str, object]] = {
    "RequestHeaderModifier": {"set": [{"name": "X-A", "value": "1"}]},
    "ResponseHeaderModifier": {"remove": ["X-A"]},
    "RequestRedirect": {"scheme": "https"},
    "URLRewrite": {"hostname": "b.example"},
    "RequestMirror": {"backendRef": {"name": "copy", "port": 80}},
    "CORS": {"allowOrigins": ["https://app.example.com"]},
    "ExternalAuth": {"protocol": "HTTP", "backendRef": {"name": "auth", "port": 80}, "http": {}},
}

pytestmark = pytest.mark.parametrize("kind", FILTERS)


def example(kind: str) -> FilterSpec:
    spec, problems = read_filter(kind, EXAMPLES[kind])
    assert problems == []
    return spec


def clusters_of(spec: FilterSpec) -> dict[object, Cluster]:
    return {reference: cluster(reference.name) for reference in spec.references}


def test_its_file_is_registered_under_its_type(kind: str) -> None:
    member = FILTERS[kind].member
    files = {path.stem.replace("_", "") for path in FOLDER.glob("[!_]*.py")}
    assert files == {each.member.lower() for each in FILTERS.values()}
    assert member.lower() == kind.lower()


def test_its_spec_is_frozen_and_travels(kind: str) -> None:
    spec = example(kind)
    name = fields(spec)[0].name  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        setattr(spec, name, None)
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_it_lowers_to_something_and_to_the_same_every_time(kind: str) -> None:
    spec = example(kind)
    chain = spec.lower(clusters_of(spec))  # type: ignore[arg-type]
    assert chain != FilterChain()
    assert chain == spec.lower(clusters_of(spec))  # type: ignore[arg-type]


def test_it_does_without_a_backend_that_did_not_resolve(kind: str) -> None:
    chain = example(kind).lower({})
    assert (chain.refusal is not None) == (kind == "ExternalAuth")  # who cannot be asked has not consented
    assert chain.mirrors == chain.auths == ()


@pytest.mark.parametrize("value", [{}, {"nonsense": 1}, {"path": 1}, {"set": {}}, {"backendRef": []}], ids=str)
def test_it_reads_anything_without_raising(kind: str, value: Mapping[str, object]) -> None:
    spec, _ = read_filter(kind, value)
    spec.lower({})


def test_it_refuses_a_field_it_does_not_know(kind: str) -> None:
    _, problems = read_filter(kind, {**EXAMPLES[kind], "nonsense": 1})
    assert problems == ["nonsense: unknown field"]
