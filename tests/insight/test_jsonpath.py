import pytest

from gatewayproxy.errors import UsageError
from gatewayproxy.insight.jsonpath import render

TREE = {
    "items": [
        {
            "metadata": {"name": "api", "labels": {"a.b/c": "d"}},
            "spec": {"hostnames": ["x.test", "y.test"], "port": 80, "on": True, "none": None},
            "conditions": [
                {"type": "Accepted", "status": "True", "n": 1},
                {"type": "Programmed", "status": "False", "n": 20},
            ],
        },
        {"metadata": {"name": "web"}},
    ]
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        pytest.param("{.items[0].metadata.name}", "api", id="a path"),
        pytest.param("{$.items[0].metadata.name}", "api", id="from the root"),
        pytest.param("{.items[*].metadata.name}", "api web", id="every item, joined by a space"),
        pytest.param("{.items[-1].metadata.name}", "web", id="from the end"),
        pytest.param("{.items[0:1].metadata.name}", "api", id="a slice"),
        pytest.param("{.items[0,1].metadata.name}", "api web", id="a union"),
        pytest.param("{.items[0].metadata['name']}", "api", id="a quoted field"),
        pytest.param(r"{.items[0].metadata.labels.a\.b/c}", "d", id="an escaped dot"),
        pytest.param("{..name}", "api web", id="descendants"),
        pytest.param("{.items[0].metadata.*.*}", "d", id="wildcard fields"),
        pytest.param("{.items[0].spec.port} {.items[0].spec.on}", "80 true", id="scalars"),
        pytest.param("{.items[0].spec.none}", "", id="null prints nothing"),
        pytest.param("{.items[0].spec.hostnames}", '["x.test","y.test"]', id="a list is JSON"),
        pytest.param("{.items[9].metadata.name}{.nothing.here}", "", id="a missing key prints nothing"),
        pytest.param('a{"\\t"}b{"\\n"}', "a\tb\n", id="quoted text with escapes"),
        pytest.param(r"{'it\'s {}'}", "it's {}", id="braces and quotes within quotes"),
        pytest.param('{.items[0].conditions[?(@.type=="Programmed")].status}', "False", id="a filter by text"),
        pytest.param("{.items[0].conditions[?(@.n>1)].type}", "Programmed", id="a filter by number"),
        pytest.param("{.items[?(@.spec)].metadata.name}", "api", id="a filter by presence"),
        pytest.param('{.items[0].conditions[?(@.type<3)].type}{"."}', ".", id="types that do not compare do not match"),
        pytest.param(
            '{range .items[*]}{.metadata.name}: {.spec.hostnames[*]}{"\\n"}{end}',
            "api: x.test y.test\nweb: \n",
            id="a range",
        ),
        pytest.param(
            "{range .items[*]}{range .conditions[*]}{@.type},{end};{end}", "Accepted,Programmed,;;", id="ranges nest"
        ),
        pytest.param("plain", "plain", id="text without braces"),
    ],
)
def test_a_template_prints_what_kubectl_prints(template: str, text: str) -> None:
    assert render(template, TREE) == text


@pytest.mark.parametrize(
    "template",
    [
        "{",
        "{.a",
        "{end}",
        "{range .a}",
        "{.a[}",
        "{.a[0}",
        "{.a[?(@.b=c)]}",
        "{.a[?(@.b==c)]}",
        "{a b}",
        "{.a[x]}",
        "{..}",
    ],
)
def test_a_template_that_cannot_be_read_is_refused(template: str) -> None:
    with pytest.raises(UsageError):
        render(template, TREE)
