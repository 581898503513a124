"""Where the specification's own data is: CRDs and example manifests. Tests that need it skip where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["find_crds", "find_spec", "needs_spec"]


def find_spec() -> Path | None:
    """Return the folder with crds/ and examples/: $GATEWAYPROXY_SPEC, or shared/spec beside or above the repository."""
    named = os.environ.get("GATEWAYPROXY_SPEC")
    root = Path(__file__).resolve().parents[2]
    places = [Path(named)] if named else [folder / "shared" / "spec" for folder in (root, *root.parents)]
    return next((place for place in places if (place / "crds").is_dir()), None)


def find_crds() -> list[Path]:
    """Return the folders of CustomResourceDefinitions: the specification's, and every channel of $GATEWAY_API.

    That is a checkout of kubernetes-sigs/gateway-api.
    """
    spec = find_spec()
    folders = [spec / "crds"] if spec is not None else []
    checkout = os.environ.get("GATEWAY_API")
    return folders + (sorted(Path(checkout, "config", "crd").glob("*/")) if checkout else [])


needs_spec = pytest.mark.skipif(
    find_spec() is None,
    reason="the Gateway API's CRDs are not here: set GATEWAYPROXY_SPEC to the folder that has crds/",
)
