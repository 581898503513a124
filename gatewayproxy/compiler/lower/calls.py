"""Lower competing matches of GRPCRoutes to layers of a VirtualHost. Pure.

A call is a path of two segments, "/service/method", so the index of paths finds it too. Its order is that of
`call_rank` as long as what names an exact service stands in a layer before the rest:

    layer     exact              regexes                           prefix
    first     service + method                                     service
    second                       patterns; a method of any service   anything
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gatewayproxy.compiler.lower.paths import Claimed, reachable
from gatewayproxy.compiler.lower.precedence import call_rank
from gatewayproxy.model.plan import GRPCMatch
from gatewayproxy.routing.table import CallTest, Candidate, PathIndex

__all__ = ["call_layers"]


def call_layers(claimed: Iterable[Claimed[GRPCMatch]]) -> tuple[PathIndex, ...]:
    """Return the layers, none of them empty, of all matches of one hostname of a listener."""
    methods: dict[bytes, list[Candidate]] = {}
    services: dict[bytes, list[Candidate]] = {}
    tested: list[Candidate] = []
    every: list[Candidate] = []
    for claim, entry in sorted(claimed, key=lambda each: call_rank(each.claim)):
        match = claim.match
        candidate = Candidate(entry=entry, headers=match.headers, bare=not match.headers)
        if not (match.service or match.method):
            every.append(candidate)
        elif match.regex or not match.service:
            call = CallTest(match.service, match.method, match.regex)
            tested.append(replace(candidate, call=call, bare=False))
        elif match.method:
            methods.setdefault(b"/%b/%b" % (match.service, match.method), []).append(candidate)
        else:
            services.setdefault(b"/" + match.service, []).append(candidate)
    first = PathIndex(exact=reachable(methods), prefix=reachable(services), depth=1 if services else 0)
    second = PathIndex(regexes=tuple(tested), prefix=reachable({b"": every} if every else {}))
    return tuple(layer for layer in (first, second) if layer.exact or layer.regexes or layer.prefix)
