"""Read one filter as a manifest would be read."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gatewayproxy.compiler.documents import parse
from gatewayproxy.fields import Reading
from gatewayproxy.filters import FILTERS, FilterSpec
from gatewayproxy.model.source import Source


def read_filter(kind: str, value: Mapping[str, object]) -> tuple[FilterSpec, list[str]]:
    """Return the Spec of filter type *kind* and its problems, as "field: message"."""
    (document,) = parse(Source("f.yaml", json.dumps(value).encode())).documents
    reading = Reading(document.file)
    spec = FILTERS[kind].read(reading.open(document.tree))
    reading.finish()
    return spec, [f"{problem.field}: {problem.message}" for problem in reading.problems(None, document.origins)]
