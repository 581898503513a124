"""The table of cross-field rules (tests/compiler/manifests/rules.yaml), and objects that are about one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gatewayproxy.compiler.manifests import KINDS

__all__ = ["Rule", "Site", "load_rules"]

Tree = dict[str, Any]
TABLE = Path(__file__).parents[1] / "compiler" / "manifests" / "rules.yaml"

_SPECS: dict[str, Tree] = {  # the least that an object of each kind must say
    "Gateway": {"gatewayClassName": "a", "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}]},
    "ListenerSet": {"parentRef": {"name": "a"}, "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}]},
    "TLSRoute": {"hostnames": ["a.example.com"], "rules": [{"backendRefs": [{"name": "a", "port": 80}]}]},
    "TCPRoute": {"rules": [{"backendRefs": [{"name": "a", "port": 80}]}]},
    "UDPRoute": {"rules": [{"backendRefs": [{"name": "a", "port": 80}]}]},
    "BackendTLSPolicy": {
        "targetRefs": [{"group": "", "kind": "Service", "name": "a"}],
        "validation": {"hostname": "a.example.com", "wellKnownCACertificates": "System"},
    },
    "XBackend": {"type": "ExternalHostname", "externalHostname": {"hostname": "a.example.com"}, "port": {"port": 443}},
    "XBackendTrafficPolicy": {"targetRefs": [{"group": "", "kind": "Service", "name": "a"}]},
}
_BESIDE: dict[str, Tree] = {  # what must stand beside a field, if that is where a rule is
    "filters[].requestMirror": {"type": "RequestMirror"},
    "filters[].requestRedirect": {"type": "RequestRedirect"},
    "filters[].urlRewrite": {"type": "URLRewrite"},
    "filters[].cors": {"type": "CORS"},
    "filters[].externalAuth": {"type": "ExternalAuth"},
    "externalAuth.backendRef": {"protocol": "HTTP", "http": {"path": "/a"}},
    "backendRefs[].filters": {"name": "a", "port": 80},
    "listeners[].tls": {"name": "a", "port": 443, "protocol": "HTTPS"},
    "requestMirror.fraction": {"backendRef": {"name": "a", "port": 80}},
    "frontend.perPort": {"default": {}},
    "tls.validation": {"mode": "ServerOnly"},
    "validation.subjectAltNames": {"hostname": "a.example.com", "wellKnownCACertificates": "System"},
}
_WITHIN: dict[str, Tree] = {"requestMirror": {"backendRef": {"name": "a", "port": 80}}}


class Site(NamedTuple):
    """Where a rule stands: a path of a kind's schema, such as "spec.rules[].filters"."""

    kind: str
    path: str

    @property
    def group(self) -> str:
        return "gateway.networking.x-k8s.io" if self.kind.startswith("X") else "gateway.networking.k8s.io"

    @property
    def is_read(self) -> bool:
        """Tell whether objects of the kind are read at all."""
        return (self.group, self.kind) in KINDS

    @property
    def field(self) -> str:
        """The place in the objects that `holding` makes."""
        return self.path.replace("[]", "[0]")

    def holding(self, node: Any, *, bare: bool = False) -> Tree:
        """Return an object with *node* in this place; what must stand within is added, unless it is *bare*."""
        steps = self.path.split(".")
        tree = deepcopy(node)
        if isinstance(tree, dict) and not bare:
            tree = {**_WITHIN.get(steps[-1], {}), **tree}
        for depth in range(len(steps) - 1, 0, -1):
            name, is_item = steps[depth].removesuffix("[]"), steps[depth].endswith("[]")
            beside = _BESIDE.get(f"{steps[depth - 1]}.{name}", {})
            tree = deepcopy({**beside, name: [tree] if is_item else tree})
        whole = bare and self.path == "spec"
        spec = tree if whole else {**deepcopy(_SPECS.get(self.kind, {})), **tree}
        version = KINDS[self.group, self.kind].versions[0]
        return {"apiVersion": f"{self.group}/{version}", "kind": self.kind, "metadata": {"name": "a"}, "spec": spec}


class Rule(NamedTuple):
    """A rule, what it admits at one place, and what it refuses there."""

    name: str
    site: Site
    sound: Tree
    flawed: Tree
    field: str  # that is refused
    says: str  # part of the message

    def __str__(self) -> str:
        return re.sub(r"\W+", "-", f"{self.name}-{self.site.kind}-{self.site.path.removeprefix('spec.')}").strip("-")


def load_rules() -> Iterator[Rule]:
    """Yield every rule, once for each place where it stands."""
    for row in yaml.safe_load(TABLE.read_text()):
        for place in row["at"]:
            site = Site(*place.split(" "))
            if not site.is_read:
                continue
            sound, flawed = (site.holding(row[side], bare=row.get("bare", False)) for side in ("sound", "flawed"))
            yield Rule(row["name"], site, sound, flawed, site.field + row["field"], row["says"])
