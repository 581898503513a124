"""GW0: texts that do not say what their author meant. All are found where manifests are read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatewayproxy.insight.lint.rule import ERROR, Lint

__all__ = ["LINTS"]

LINTS: Final[Mapping[str, Lint]] = {
    "GW001": Lint(
        title="malformed manifest",
        meaning="The text is not YAML, or a field has a value that the API does not take. The object does not serve.",
        fix="Write what the message asks for.",
        severity=ERROR,
    ),
    "GW002": Lint(
        title="object that is passed over",
        meaning="No kind of this name and API group is served here. Nothing comes of the object.",
        fix="Correct kind and apiVersion. If the object is for another program, silence it or move it elsewhere.",
    ),
    "GW003": Lint(
        title="field or annotation that is ignored",
        meaning="The API has the field, or somebody wished it had; the gateway does nothing with it.",
        fix="Remove it, or correct its name.",
    ),
    "GW004": Lint(
        title="deprecated version of a kind",
        meaning="The version still serves, and a later release will refuse it.",
        fix="Write the apiVersion that the message names; the fields are the same.",
    ),
    "GW005": Lint(
        title="name that is not a DNS name",
        meaning="Names of objects and hostnames are DNS names (RFC 1123): no underscore, no upper case. "
        "An API server refuses the object, and so does the gateway.",
        fix='Write lower-case letters, digits, "-" and ".", with a letter or digit at both ends.',
        severity=ERROR,
    ),
    "GW006": Lint(
        title="object that is declared twice",
        meaning="Two objects have one kind, namespace and name. The first counts, the other does not serve.",
        fix="Remove one of the two, or give them different names.",
        severity=ERROR,
    ),
    "GW007": Lint(
        title="unknown field",
        meaning="The kind has no such field. The object does not serve, since what the field was for is not known.",
        fix="Correct its name; the message says which one is near.",
        severity=ERROR,
    ),
    "GW008": Lint(
        title="patch that cannot be applied",
        meaning="A Patch names no object or file, or an operation in it fails. A reload keeps what serves.",
        fix="Correct spec.target and spec.files, or the operation that the message names.",
        severity=ERROR,
        on_object=False,
    ),
}
