"""What each filter reads and lowers to."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gatewayproxy.filters import combine
from gatewayproxy.model.headops import Add, Host, Path, Prefix, Redirect, Remove, Set
from gatewayproxy.model.plan import FilterChain, MirrorTo, Refusal
from tests.support.filters import read_filter
from tests.support.plans import cluster

MODIFIER = {
    "set": [{"name": "X-Set", "value": "1"}],
    "add": [{"name": "X-Add", "value": "a, b"}],
    "remove": ["X-Gone"],
}
OPS = (Set(b"X-Set", b"1"), Add(b"X-Add", b"a, b"), Remove(b"X-Gone"))


@pytest.mark.parametrize(
    ("kind", "value", "chain"),
    [
        pytest.param("RequestHeaderModifier", MODIFIER, FilterChain(request=OPS), id="request headers"),
        pytest.param("ResponseHeaderModifier", MODIFIER, FilterChain(response=OPS), id="response headers"),
        pytest.param("RequestRedirect", {}, FilterChain(redirect=Redirect()), id="redirect, defaults"),
        pytest.param(
            "RequestRedirect",
            {
                "scheme": "https",
                "hostname": "b.example",
                "port": 8443,
                "statusCode": 308,
                "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x"},
            },
            FilterChain(redirect=Redirect(scheme="https", host="b.example", port=8443, status=308, path=Prefix(b"/x"))),
            id="redirect, every part",
        ),
        pytest.param(
            "URLRewrite",
            {"hostname": "b.example", "path": {"type": "ReplaceFullPath", "replaceFullPath": "/n"}},
            FilterChain(request=(Host(b"b.example"), Path(b"/n"))),
            id="rewrite",
        ),
        pytest.param(
            "URLRewrite",
            {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": ""}},
            FilterChain(request=(Prefix(b""),)),
            id="an empty prefix",
        ),
    ],
)
def test_a_filter_lowers_to_what_it_says(kind: str, value: Mapping[str, object], chain: FilterChain) -> None:
    spec, problems = read_filter(kind, value)
    assert problems == []
    assert spec.lower({}) == chain


@pytest.mark.parametrize(
    ("share", "numerator", "denominator"),
    [
        pytest.param({}, 1, 1, id="every request"),
        pytest.param({"percent": 25}, 25, 100, id="percent"),
        pytest.param({"fraction": {"numerator": 1}}, 1, 100, id="fraction of 100"),
        pytest.param({"fraction": {"numerator": 2, "denominator": 3}}, 2, 3, id="fraction"),
    ],
)
def test_a_mirror_copies_its_share(share: Mapping[str, object], numerator: int, denominator: int) -> None:
    spec, problems = read_filter("RequestMirror", {"backendRef": {"name": "copy", "port": 80}, **share})
    (reference,) = spec.references
    assert problems == []
    to = MirrorTo(cluster=cluster("copy"), numerator=numerator, denominator=denominator)
    assert spec.lower({reference: cluster("copy")}).mirrors == (to,)


def test_a_mirror_of_nothing_is_no_mirror() -> None:
    spec, _ = read_filter("RequestMirror", {"backendRef": {"name": "copy", "port": 80}, "percent": 0})
    (reference,) = spec.references
    assert spec.lower({reference: cluster("copy")}) == FilterChain()


def header(name: str, value: str = "1") -> dict[str, object]:
    return {"set": [{"name": name, "value": value}]}


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        pytest.param("RequestHeaderModifier", header("Host"), "set[0].name: Host is the gateway's own", id="Host"),
        pytest.param(
            "ResponseHeaderModifier",
            header("transfer-encoding"),
            "set[0].name: transfer-encoding is the gateway's own",
            id="framing",
        ),
        pytest.param(
            "RequestHeaderModifier",
            {"remove": ["Connection"]},
            "remove[0]: Connection is the gateway's",
            id="hop by hop",
        ),
        pytest.param("RequestHeaderModifier", header("X", "a\r\nY: b"), "set[0].value: ", id="a line break"),
        pytest.param("RequestHeaderModifier", header("X A"), "set[0].name: ", id="no token"),
        pytest.param(
            "RequestHeaderModifier",
            {**header("X-A"), "remove": ["x-a"]},
            "remove[0]: x-a has an action already",
            id="two actions on one name",
        ),
        pytest.param(
            "URLRewrite",
            {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/a?b"}},
            "path.replaceFullPath: ",
            id="a query in a path",
        ),
        pytest.param(
            "URLRewrite",
            {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "a"}},
            "path.replacePrefixMatch: ",
            id="a relative path",
        ),
        pytest.param(
            "URLRewrite",
            {"path": {"type": "ReplacePrefixMatch", "replaceFullPath": "/a"}},
            "path.replacePrefixMatch: is required",
            id="the wrong member",
        ),
        pytest.param("RequestRedirect", {"statusCode": 304}, "statusCode: 304 is not", id="no redirect"),
        pytest.param("RequestRedirect", {"statusCode": 200}, "statusCode: 200 is not", id="no redirect at all"),
        pytest.param("RequestRedirect", {"scheme": "ftp"}, "scheme: ", id="another scheme"),
        pytest.param("RequestMirror", {}, "backendRef: is required", id="no backend"),
        pytest.param(
            "RequestMirror",
            {"backendRef": {"name": "c", "port": 1}, "percent": 1, "fraction": {"numerator": 1}},
            "percent: cannot go with fraction",
            id="two shares",
        ),
        pytest.param(
            "RequestMirror",
            {"backendRef": {"name": "c", "port": 1}, "fraction": {"numerator": 3, "denominator": 2}},
            "fraction.numerator: 3 is more",
            id="more than all",
        ),
    ],
)
def test_a_filter_that_would_mislead_is_refused(kind: str, value: Mapping[str, object], problem: str) -> None:
    _, problems = read_filter(kind, value)
    assert problems
    assert problems[0].startswith(problem)


def test_filters_combine_in_list_order() -> None:
    first = FilterChain(request=(Set(b"a", b"1"),), redirect=Redirect(status=301))
    second = FilterChain(request=(Remove(b"b"),), redirect=Redirect(), refusal=Refusal(500, "x"))
    both = combine([first, second])
    assert both.request == (Set(b"a", b"1"), Remove(b"b"))
    assert both.redirect == Redirect(status=301)
    assert both.refusal == Refusal(500, "x")
