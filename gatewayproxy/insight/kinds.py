"""The kinds `get` knows: how one may call them, and which columns a table of them has.

Columns follow kubectl: those of the Gateway API CRDs (`additionalPrinterColumns`) and of the built-in kinds. Wide
columns marked "computed" are ours: what one wants to know of a gateway without reading conditions. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from gatewayproxy.errors import UsageError
from gatewayproxy.fields import close_match

__all__ = ["KINDS", "Column", "KindInfo", "find_kind"]

Object = Mapping[str, Any]  # a Kubernetes object
_ENDPOINTS: Final = "gatewayproxy.io/endpoints"


class Column(NamedTuple):
    """A column: its heading, and the cell of an object ("" prints as <none>)."""

    title: str
    cell: Callable[[Object], str]
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KindInfo:
    """A kind as the command line and tables know it."""

    kind: str
    plural: str
    group: str = ""
    short: tuple[str, ...] = ()
    namespaced: bool = True
    columns: tuple[Column, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every word that means this kind, in lower case."""
        full = (f"{self.plural}.{self.group}",) if self.group else ()
        return (self.plural, self.kind.lower(), *self.short, *full)

    @property
    def resource(self) -> str:
        """Return `gateways.gateway.networking.k8s.io`, as kubectl names it in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def label(self, name: str) -> str:
        """Return `gateway.gateway.networking.k8s.io/<name>`, the name in a list of several kinds."""
        singular = self.kind.lower()
        return f"{singular}.{self.group}/{name}" if self.group else f"{singular}/{name}"


def find_kind(word: str) -> KindInfo:
    """Return the kind that *word* means (singular, plural, short, any case); raise UsageError."""
    found = _BY_NAME.get(word.lower())
    if found is None:
        near = close_match(word, _BY_NAME)
        known = ", ".join(info.plural for info in KINDS)
        raise UsageError(
            f"no kind is called {word!r}; "
            + (f"did you mean {_BY_NAME[near].plural}?" if near else f"known: all, {known}")
        )
    return found


# --- cells


def field(*path: str) -> Callable[[Object], str]:
    """Return the cell that shows the scalar at *path*."""
    return lambda tree: _text(_at(tree, *path))


def _at(tree: Any, *path: str) -> Any:
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    return "" if value is None else str(value)


def _items(tree: Object, *path: str) -> list[Any]:
    value = _at(tree, *path)
    return list(value) if isinstance(value, list | tuple) else []


def _condition(type_: str) -> Callable[[Object], str]:
    return lambda tree: ",".join(
        _text(each.get("status")) for each in _items(tree, "status", "conditions") if each.get("type") == type_
    )


def _parent_condition(type_: str) -> Callable[[Object], str]:
    """Show one condition of a route for all its parents: True, False with the reasons, or 1/2 True."""

    def cell(tree: Object) -> str:
        conditions = [
            condition
            for parent in _items(tree, "status", "parents")
            for condition in parent.get("conditions", ())
            if condition.get("type") == type_
        ]
        reasons = sorted({each.get("reason", "") for each in conditions if each.get("status") != "True"})
        if not reasons:
            return "True" if conditions else ""
        holding = sum(each.get("status") == "True" for each in conditions)
        counted = f"{holding}/{len(conditions)}" if holding else "False"
        return f"{counted} ({', '.join(reasons)})"

    return cell


def _addresses(tree: Object) -> str:
    return ",".join(_text(each.get("value")) for each in _items(tree, "status", "addresses"))


def _attached(tree: Object) -> str:
    """Show `http:2,https:0`: attached routes by listener."""
    return ",".join(
        f"{each.get('name')}:{each.get('attachedRoutes', 0)}" for each in _items(tree, "status", "listeners")
    )


def _parents(tree: Object) -> str:
    """Show `infra/shared:http`: the parents a route names."""
    own = _at(tree, "metadata", "namespace")
    names = []
    for ref in _items(tree, "spec", "parentRefs"):
        namespace = ref.get("namespace", own)
        section = f":{ref['sectionName']}" if ref.get("sectionName") else ""
        names.append(("" if namespace == own else f"{namespace}/") + f"{ref.get('name')}{section}")
    return ",".join(names)


def _gateway(tree: Object) -> str:
    """Show `infra/shared`: the Gateway of a ListenerSet."""
    namespace, name = (_text(_at(tree, "spec", "parentRef", field)) for field in ("namespace", "name"))
    return f"{namespace}/{name}" if namespace not in ("", _at(tree, "metadata", "namespace")) else name


def _hostnames(tree: Object) -> str:
    names = _items(tree, "spec", "hostnames")
    return "[" + ",".join(f'"{name}"' for name in names) + "]" if names else ""


def _service_ports(tree: Object) -> str:
    return ",".join(f"{each.get('port')}/{each.get('protocol', 'TCP')}" for each in _items(tree, "spec", "ports"))


def _selector(tree: Object) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted((_at(tree, "spec", "selector") or {}).items()))


def _slice_ports(tree: Object) -> str:
    return ",".join(_text(each.get("port")) for each in _items(tree, "ports"))


def _slice_endpoints(tree: Object) -> str:
    addresses = [address for each in _items(tree, "endpoints") for address in each.get("addresses", ())]
    more = f" + {len(addresses) - 3} more..." if len(addresses) > 3 else ""
    return ",".join(addresses[:3]) + more


def _data_count(tree: Object) -> str:
    names = {name for part in ("data", "stringData", "binaryData") for name in _at(tree, part) or ()}
    return str(len(names))


def _grant(side: str) -> Callable[[Object], str]:
    def one(each: Mapping[str, Any]) -> str:
        return "/".join(part for part in (each.get("namespace"), each.get("kind"), each.get("name")) if part)

    return lambda tree: ",".join(one(each) for each in _items(tree, "spec", side))


def _targets(tree: Object) -> str:
    """Show `web:https,api`: the objects a policy is for, with the part of each that it names."""
    refs = _items(tree, "spec", "targetRefs")
    return ",".join(":".join(filter(None, (each.get("name"), each.get("sectionName")))) for each in refs)


def _external_host(tree: Object) -> str:
    """Show `api.example.com:443`: where an XBackend leads."""
    host = _text(_at(tree, "spec", "externalHostname", "hostname"))
    return f"{host}:{_text(_at(tree, 'spec', 'port', 'port'))}" if host else ""


def _target(tree: Object) -> str:
    return f"{_at(tree, 'spec', 'target', 'kind')}/{_at(tree, 'spec', 'target', 'name')}"


def _patch_files(tree: Object) -> str:
    return ",".join(map(_text, _items(tree, "spec", "files")))


_ACCEPTED: Final = Column("ACCEPTED", _parent_condition("Accepted"), wide=True)
_RESOLVED: Final = Column("RESOLVED-REFS", _parent_condition("ResolvedRefs"), wide=True)
_ROUTE_WIDE: Final = (Column("PARENTS", _parents, wide=True), _ACCEPTED, _RESOLVED)
_GATEWAY_API: Final = "gateway.networking.k8s.io"
_EXPERIMENTAL: Final = "gateway.networking.x-k8s.io"

KINDS: Final = (
    KindInfo(
        kind="GatewayClass", plural="gatewayclasses", group=_GATEWAY_API, short=("gc",), namespaced=False,
        columns=(
            Column("CONTROLLER", field("spec", "controllerName")),
            Column("ACCEPTED", _condition("Accepted")),
            Column("DESCRIPTION", field("spec", "description"), wide=True),
        ),
    ),
    KindInfo(
        kind="Gateway", plural="gateways", group=_GATEWAY_API, short=("gtw",),
        columns=(
            Column("CLASS", field("spec", "gatewayClassName")),
            Column("ADDRESS", _addresses),
            Column("PROGRAMMED", _condition("Programmed")),
            Column("ACCEPTED", _condition("Accepted"), wide=True),
            Column("ATTACHED", _attached, wide=True),
        ),
    ),
    KindInfo(
        kind="ListenerSet", plural="listenersets", group=_GATEWAY_API, short=("lset",),
        columns=(
            Column("ACCEPTED", _condition("Accepted")),
            Column("PROGRAMMED", _condition("Programmed")),
            Column("GATEWAY", _gateway, wide=True),
            Column("ATTACHED", _attached, wide=True),
        ),
    ),
    KindInfo(
        kind="HTTPRoute", plural="httproutes", group=_GATEWAY_API,
        columns=(Column("HOSTNAMES", _hostnames), *_ROUTE_WIDE),
    ),
    KindInfo(
        kind="GRPCRoute", plural="grpcroutes", group=_GATEWAY_API,
        columns=(Column("HOSTNAMES", _hostnames), *_ROUTE_WIDE),
    ),
    KindInfo(
        kind="TLSRoute", plural="tlsroutes", group=_GATEWAY_API,
        columns=(Column("HOSTNAMES", _hostnames, wide=True), *_ROUTE_WIDE),
    ),
    KindInfo(kind="TCPRoute", plural="tcproutes", group=_GATEWAY_API, columns=_ROUTE_WIDE),
    KindInfo(kind="UDPRoute", plural="udproutes", group=_GATEWAY_API, columns=_ROUTE_WIDE),
    KindInfo(
        kind="ReferenceGrant", plural="referencegrants", group=_GATEWAY_API, short=("refgrant",),
        columns=(Column("FROM", _grant("from"), wide=True), Column("TO", _grant("to"), wide=True)),
    ),
    KindInfo(
        kind="BackendTLSPolicy", plural="backendtlspolicies", group=_GATEWAY_API, short=("btlspolicy",),
        columns=(Column("TARGETS", _targets, wide=True),),
    ),
    KindInfo(
        kind="XBackend", plural="xbackends", group=_EXPERIMENTAL,
        columns=(
            Column("HOST", _external_host, wide=True),
            Column("PROTOCOL", field("spec", "protocol"), wide=True),
            Column("TLS", lambda tree: _text(_at(tree, "spec", "tls", "mode")) or "None", wide=True),
            _ACCEPTED,
        ),
    ),
    KindInfo(
        kind="XBackendTrafficPolicy", plural="xbackendtrafficpolicies", group=_EXPERIMENTAL, short=("xbtrafficpolicy",),
        columns=(Column("TARGETS", _targets, wide=True),),
    ),
    KindInfo(
        kind="Service", plural="services", short=("svc",),
        columns=(
            Column("TYPE", lambda tree: _text(_at(tree, "spec", "type")) or "ClusterIP"),
            Column("CLUSTER-IP", field("spec", "clusterIP")),
            Column("EXTERNAL-IP", field("spec", "externalName")),
            Column("PORT(S)", _service_ports),
            Column("SELECTOR", _selector, wide=True),
            Column("ENDPOINTS", field("metadata", "annotations", _ENDPOINTS), wide=True),
        ),
    ),
    KindInfo(
        kind="EndpointSlice", plural="endpointslices", group="discovery.k8s.io",
        columns=(
            Column("ADDRESSTYPE", field("addressType")),
            Column("PORTS", _slice_ports),
            Column("ENDPOINTS", _slice_endpoints),
        ),
    ),
    KindInfo(
        kind="Secret", plural="secrets",
        columns=(Column("TYPE", lambda tree: _text(tree.get("type")) or "Opaque"), Column("DATA", _data_count)),
    ),
    KindInfo(
        kind="Patch", plural="patches", group="gatewayproxy.io",
        columns=(Column("TARGET", _target), Column("FILES", _patch_files)),
    ),
    KindInfo(
        kind="RouteTest", plural="routetests", group="gatewayproxy.io",
        columns=(Column("TESTS", lambda tree: str(len(_items(tree, "spec", "tests")))),),
    ),
    KindInfo(kind="ConfigMap", plural="configmaps", short=("cm",), columns=(Column("DATA", _data_count),)),
    KindInfo(
        kind="Namespace", plural="namespaces", short=("ns",), namespaced=False,
        columns=(Column("STATUS", lambda tree: _text(_at(tree, "status", "phase")) or "Active"),),
    ),
)  # fmt: skip

_BY_NAME: Final = {name: info for info in KINDS for name in info.names}
