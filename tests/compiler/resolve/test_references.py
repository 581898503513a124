"""A ReferenceGrant permits exactly what it names."""

from __future__ import annotations

import pytest

from gatewayproxy.compiler.manifests.meta import Meta
from gatewayproxy.compiler.manifests.referencegrant import GrantFrom, GrantTo, ReferenceGrant
from gatewayproxy.compiler.resolve.references import Grants, Subject
from gatewayproxy.model.names import Origin, ResourceKey

GROUP = "gateway.networking.k8s.io"
ROUTE = Subject(GROUP, "HTTPRoute", "web")


def grants(to: GrantTo, *, namespace: str = "data", subject: Subject = ROUTE) -> Grants:
    meta = Meta(key=ResourceKey("ReferenceGrant", namespace, "g"), origin=Origin("g.yaml"), api_version=f"{GROUP}/v1")
    return Grants([ReferenceGrant(meta=meta, from_=(GrantFrom(*subject),), to=(to,))])


@pytest.mark.parametrize(
    ("given", "subject", "permitted"),
    [
        pytest.param(grants(GrantTo("", "Service", None)), ROUTE, True, id="every Service"),
        pytest.param(grants(GrantTo("", "Service", "db")), ROUTE, True, id="this Service"),
        pytest.param(grants(GrantTo("", "Service", "cache")), ROUTE, False, id="another Service"),
        pytest.param(grants(GrantTo("", "Secret", None)), ROUTE, False, id="another kind"),
        pytest.param(grants(GrantTo("apps", "Service", None)), ROUTE, False, id="another group"),
        pytest.param(
            grants(GrantTo("", "Service", None), namespace="web"), ROUTE, False, id="in the route's namespace"
        ),
        pytest.param(
            grants(GrantTo("", "Service", None)), ROUTE._replace(kind="TCPRoute"), False, id="from another kind"
        ),
        pytest.param(
            grants(GrantTo("", "Service", None)), ROUTE._replace(namespace="dev"), False, id="from another namespace"
        ),
        pytest.param(grants(GrantTo("", "Service", None)), ROUTE._replace(group=""), False, id="from another group"),
        pytest.param(Grants([]), ROUTE, False, id="no grant"),
        pytest.param(Grants([]), ROUTE._replace(namespace="data"), True, id="the own namespace needs none"),
    ],
)
def test_a_grant_permits_what_it_names(given: Grants, subject: Subject, permitted: bool) -> None:
    assert given.permits(subject, group="", kind="Service", namespace="data", name="db") is permitted
