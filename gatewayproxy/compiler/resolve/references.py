"""ReferenceGrant: who may refer to an object in another namespace. Pure.

A grant lives in the namespace of the target; `from` is exact in group, kind and namespace, `to` in group and kind,
and in name where it gives one (ReferenceGrantSpec).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gatewayproxy.compiler.manifests.referencegrant import ReferenceGrant

__all__ = ["Grants", "Subject"]


class Subject(NamedTuple):
    """Who refers."""

    group: str
    kind: str
    namespace: str


class Grants:
    """All ReferenceGrants, as one set of permissions."""

    def __init__(self, grants: Iterable[ReferenceGrant]) -> None:
        self._granted = {
            (Subject(source.group, source.kind, source.namespace), grant.meta.namespace, to.group, to.kind, to.name)
            for grant in grants
            for source in grant.from_
            for to in grant.to
        }

    def permits(self, subject: Subject, *, group: str, kind: str, namespace: str, name: str) -> bool:
        """Tell whether *subject* may refer to the object."""
        if subject.namespace == namespace:
            return True
        granted = self._granted
        return (subject, namespace, group, kind, name) in granted or (subject, namespace, group, kind, None) in granted
