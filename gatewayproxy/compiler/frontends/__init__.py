"""Frontends: one per dialect of configuration, from resources to Plan and status. `FRONTENDS` is the registry. Pure."""

from __future__ import annotations

from typing import Final

from gatewayproxy.compiler.frontends import gateway_api
from gatewayproxy.compiler.frontends.gateway_api import Resolved

__all__ = ["FRONTENDS", "Resolved"]

FRONTENDS: Final = {"gateway_api": gateway_api.resolve}
