"""Hosts whose requests need the consent of authorization servers."""

from __future__ import annotations

from typing import Any

from gatewayproxy.model.headops import HeadEdit
from gatewayproxy.model.plan import Cluster, ExternalAuth
from gatewayproxy.routing.table import Auth, BackendChoice, HostIndex, Mirror, RouteEntry
from tests.support.worker import cluster, entry, vhost

__all__ = ["auth_cluster", "guarded", "guarded_entry"]


def auth_cluster(*ports: int) -> Cluster:
    return cluster(*ports, name="default/auth:80")


def guarded(number: int, *servers: ExternalAuth, **rest: Any) -> HostIndex:
    return HostIndex(default=vhost({b"": guarded_entry(number, *servers, **rest)}))


def guarded_entry(
    number: int, *servers: ExternalAuth, before: HeadEdit | None = None, mirrors: tuple[Mirror, ...] = (), **rest: Any
) -> RouteEntry:
    target = cluster(number)
    auths = tuple(Auth(server=each, before=before) for each in servers)
    return entry(BackendChoice(name=target.name, cluster=target, mirrors=mirrors), auths=auths, **rest)
