"""metadata: names, labels, annotations, age. The same for every kind; CRD schemas leave it to the API server. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from re import compile as regex
from typing import Final

from gatewayproxy.fields import ANY_TEXT, Fields, Text
from gatewayproxy.fields.shapes import NAMESPACE, SUBDOMAIN
from gatewayproxy.model.names import Origin, ResourceKey

__all__ = ["DEFAULT_NAMESPACE", "LABEL_VALUE", "MAX_ANNOTATION_BYTES", "Meta", "check_label_keys", "read_meta"]

DEFAULT_NAMESPACE: Final = "default"
MAX_ANNOTATION_BYTES: Final = 262_144  # of all annotations of an object together, as an API server counts
LABEL_VALUE: Final = Text(
    "a label value: letters, digits, '-', '_' and '.', 63 at most",
    r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
    longest=63,
)

_LABEL_NAME: Final = regex(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SERVER_FIELDS: Final = (
    "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generateName", "managedFields",
    "ownerReferences", "resourceVersion", "selfLink",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """Who an object is and where it stands."""

    key: ResourceKey
    origin: Origin
    api_version: str  # "gateway.networking.k8s.io/v1"
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    generation: int = 1
    created: float = 0.0  # Unix seconds of creationTimestamp; 0.0 where there is none
    manifest: Mapping[str, object] = field(default_factory=dict, repr=False)  # the whole object as written

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.key.name

    @property
    def namespace(self) -> str:
        """metadata.namespace, "default" where it is absent; "" for cluster-scoped kinds."""
        return self.key.namespace

    @property
    def age(self) -> tuple[bool, float, str]:
        """Sort key of "oldest first, then by namespace/name": undated objects come after dated ones."""
        return (self.created == 0.0, self.created, self.key.full_name)


def read_meta(root: Fields, *, kind: str, namespaced: bool, name: Text, api_version: str) -> Meta:
    """Read metadata of *root*; *name* is the shape of a name of this kind."""
    fields = root.required_child("metadata")
    own_name = fields.text("name", name)
    namespace = fields.text("namespace", NAMESPACE, "")
    if namespace and not namespaced:
        fields.warn("namespace", f"{kind} belongs to no namespace, ignored", "remove it")
    fields.ignore(*_SERVER_FIELDS)
    fields.text("uid", ANY_TEXT, "")
    return Meta(
        key=ResourceKey(kind, (namespace or DEFAULT_NAMESPACE) if namespaced else "", own_name),
        origin=root.at,
        api_version=api_version,
        labels=_read_labels(fields),
        annotations=_read_annotations(fields),
        generation=fields.integer("generation", 0, 2**63 - 1, 1),
        created=_read_created(fields),
        manifest=root.tree,
    )


def check_label_keys(fields: Fields, name: str, mapping: Mapping[str, str]) -> None:
    """Note an error of each key of *mapping*, field *name*, that no label or annotation can have."""
    for key in mapping:
        if flaw := _flaw_of_label_key(key):
            fields.error_of_key(name, key, flaw, "write a key such as app or example.com/app")


def _flaw_of_label_key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if slash and SUBDOMAIN.flaw(prefix):
        return f'the part before "/" must be a DNS name, not "{prefix[:80]}"'
    if len(name) > 63 or not _LABEL_NAME.fullmatch(name):
        return f'"{name[:80]}" must be 1 to 63 letters, digits, "-", "_" or ".", with a letter or digit at both ends'
    return ""


def _read_labels(fields: Fields) -> dict[str, str]:
    labels = fields.text_map("labels", LABEL_VALUE)
    check_label_keys(fields, "labels", labels)
    return labels


def _read_annotations(fields: Fields) -> dict[str, str]:
    annotations = fields.text_map("annotations")
    check_label_keys(fields, "annotations", annotations)
    n_bytes = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if n_bytes > MAX_ANNOTATION_BYTES:
        fields.error("annotations", f"hold {n_bytes} bytes, {MAX_ANNOTATION_BYTES} is the most", "shorten them")
    return annotations


def _read_created(fields: Fields) -> float:
    text = fields.text("creationTimestamp", ANY_TEXT, "")
    if not text:
        return 0.0
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        date = None
    if date is None or "T" not in text:
        fields.error("creationTimestamp", "is not a date", "write it as 2026-01-31T12:00:00Z, or leave it out")
        return 0.0
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
