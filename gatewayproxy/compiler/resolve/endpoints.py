"""Where a Service port leads: EndpointSlices, the endpoints annotation, externalName, or DNS. Pure.

A cluster would supply EndpointSlices; without them file mode asks, in this order, the annotation
`gatewayproxy.io/endpoints`, `externalName`, and the cluster's DNS name of the Service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from gatewayproxy.compiler.manifests.endpointslice import EndpointSlice
from gatewayproxy.compiler.manifests.service import Service, ServicePort
from gatewayproxy.model.plan import Endpoint

__all__ = ["EndpointsError", "fallback_name", "from_annotation", "from_slices"]

MAX_ANNOTATED: Final = 1_000

_ENTRY: Final = re.compile(
    r"(?:(?P<label>[a-z0-9]([-a-z0-9]*[a-z0-9])?)=)?"
    r"(?:unix:(?P<path>/[^\s,\x00]{1,107})"
    r"|(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[A-Za-z0-9_](?:[-A-Za-z0-9_.]*[A-Za-z0-9_])?))"
    r"(?::(?P<port>[0-9]{1,5}))?)"
)
_HINT: Final = 'write "10.0.0.7:8080, [::1]:9090, unix:/run/app.sock", or "http=10.0.0.7:8080" for one port of several'


class EndpointsError(ValueError):
    """The annotation does not read; the message says where and what to write."""


def from_slices(slices: Iterable[EndpointSlice], port: ServicePort) -> tuple[Endpoint, ...]:
    """Return the ready endpoints of a Service port, sorted; slices carry target ports under the port's name."""
    found: set[Endpoint] = set()
    for part in slices:
        numbers = [p.port for p in part.ports if p.name == port.name and p.protocol == port.protocol]
        for number in numbers:
            # A slice port without a number stands for every port: the Service's own target applies.
            at = number or target_port(port)
            found.update(Endpoint(e.addresses[0], at) for e in part.endpoints if e.ready and e.addresses)
    return tuple(sorted(found))


def target_port(port: ServicePort) -> int:
    """Return the numeric target port; a named one is known only to slices, so the Service's port stands in."""
    return port.target_port if isinstance(port.target_port, int) else port.port


def fallback_name(service: Service, port: ServicePort, cluster_domain: str) -> Endpoint:
    """Return the DNS name and port of a Service that has neither slices nor an annotation.

    A cluster IP, known from an exported manifest, listens on the Service's port. Anything else that a name may lead
    to (pods of a headless Service, a host outside a cluster) listens on the target port.
    """
    if service.type == "ExternalName":
        return Endpoint(service.external_name, target_port(port))
    name = f"{service.meta.name}.{service.meta.namespace}.svc.{cluster_domain}"
    return Endpoint(name, port.port if service.cluster_ip else target_port(port))


def from_annotation(text: str, port: ServicePort) -> tuple[Endpoint, ...]:
    """Return the endpoints that the annotation gives *port*, in its order; raise EndpointsError.

    Entries labelled with the port's name or number are for it alone; unlabelled ones serve every port that has no
    labelled entry. An address without a port uses the target port.
    """
    entries = [entry.strip() for entry in text.split(",")]
    if len(entries) > MAX_ANNOTATED:
        raise EndpointsError(f"has {len(entries)} entries, at most {MAX_ANNOTATED} are read; use EndpointSlices")
    own: list[Endpoint] = []
    common: list[Endpoint] = []
    for entry in entries:
        label, endpoint = _read_entry(entry, port)
        if not label:
            common.append(endpoint)
        elif label in {port.name, str(port.port)}:
            own.append(endpoint)
    return tuple(dict.fromkeys(own or common))


def _read_entry(entry: str, port: ServicePort) -> tuple[str, Endpoint]:
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise EndpointsError(f"entry {entry[:80]!r} is not an address; {_HINT}")
    label = found["label"] or ""
    if found["path"]:
        return label, Endpoint(f"unix:{found['path']}", 0)
    number = int(found["port"]) if found["port"] else target_port(port)
    if not 1 <= number <= 65_535:
        raise EndpointsError(f"entry {entry!r} has a port outside 1-65535")
    return label, Endpoint(_host(found["v6"], found["host"], entry), number)


def _host(v6: str | None, host: str | None, entry: str) -> str:
    text = v6 or host or ""
    looks_like_ip = v6 is not None or text.replace(".", "").isdigit()
    if not looks_like_ip:
        return text.lower()
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise EndpointsError(f"entry {entry!r} is not a valid IP address; {_HINT}") from error
