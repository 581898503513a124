"""A naive reading of the Gateway API: which listeners are accepted, which routes they take, who answers a request.

Written from the text of Listener, ListenerSetSpec, ParentReference and GRPCRouteSpec.hostnames, without a look at
`compiler.resolve`. What we decided is in it, too: undated objects are the youngest (docs/decisions/010, 014), and a
listener that cannot serve keeps its names (016).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from math import inf

from tests.properties.clusters import TIERS, Admission, Child, Parent, Ref, Spot
from tests.properties.oracle import host_fits

__all__ = ["Place", "Reading", "kinds_of", "place_of"]

Place = tuple[str, str, str, str]  # kind, namespace and name of the parent, name of the listener
_KINDS = {"HTTP": ("HTTPRoute", "GRPCRoute"), "TCP": ("TCPRoute",), "UDP": ("UDPRoute",)}


def place_of(parent: Parent, spot: Spot) -> Place:
    return parent.kind, parent.namespace, parent.name, spot.name


def kinds_of(spot: Spot) -> set[str]:
    """Return the kinds of routes that a listener takes."""
    return set(_KINDS[spot.protocol]) & set(spot.kinds or _KINDS[spot.protocol])


class Reading:
    """What becomes of a Gateway, its ListenerSets and some routes."""

    def __init__(self, parents: Sequence[Parent], children: Sequence[Child]) -> None:
        gateway, *sets = parents
        allowed = [each for each in sets if admits(gateway.sets, gateway.namespace, each.namespace)]
        self.parents = [gateway, *sorted(allowed, key=age)]
        self.accepted: dict[Place, bool] = {}
        self.attached: dict[Place, list[tuple[Child, list[str]]]] = {}
        self.verdicts: dict[tuple[str, str], list[str]] = {}
        self._judge(gateway)
        for child in sorted(children, key=lambda each: (*age(each), each.kind == "GRPCRoute")):
            self._attach(child)

    def _judge(self, gateway: Parent) -> None:
        taken: list[Spot] = list(gateway.spots)  # what is lost to a conflict is nobody's
        for spot in gateway.spots:
            alone = all(each.protocol == spot.protocol for each in gateway.spots if shares(each, spot))
            self.accepted[place_of(gateway, spot)] = alone
        for parent in self.parents[1:]:
            for spot in parent.spots:
                free = all(fit_together(each, spot) for each in taken)
                self.accepted[place_of(parent, spot)] = free
                taken += [spot] if free else []
        self.attached = {place: [] for place in self.accepted}

    def _attach(self, child: Child) -> None:
        joined: dict[Place, list[str]] = {}
        verdicts = self.verdicts[child.kind, child.name] = []
        for ref in child.refs:
            found = self._find(child, ref)
            verdicts.append(found if isinstance(found, str) else "Accepted")
            joined |= found if isinstance(found, dict) else {}
        for place, names in joined.items():
            self.attached[place].append((child, names))

    def _find(self, child: Child, ref: Ref) -> str | dict[Place, list[str]]:
        spots = ref.parent.spots if ref.parent in self.parents else ()
        chosen = [each for each in spots if ref.section in (None, each.name) and ref.port in (None, each.port)]
        if not chosen:
            return "NoMatchingParent"
        willing = [
            each
            for each in chosen
            if child.kind in kinds_of(each) and admits(each.routes, ref.parent.namespace, child.namespace)
        ]
        if not willing:
            return "NotAllowedByListeners"
        own = child.hostnames or ("",)
        meeting = {
            place_of(ref.parent, each): [name for name in own if overlap(each.hostname, name)] for each in willing
        }
        met = {place: names for place, names in meeting.items() if names}
        if not met:
            return "NoMatchingListenerHostname"
        hostnames = {place_of(ref.parent, each): each.hostname for each in willing}
        free = {place: names for place, names in met.items() if not self._rivals(child, place, hostnames[place], names)}
        return free or "HostnameConflict"

    def _rivals(self, child: Child, place: Place, hostname: str, names: Sequence[str]) -> bool:
        """Return whether a route of the other kind has a name of the listener that *child* wants, too."""
        return any(
            overlap(narrower(hostname, theirs), narrower(hostname, ours))
            for other, other_names in self.attached[place]
            if {other.kind, child.kind} == {"HTTPRoute", "GRPCRoute"}
            for theirs in other_names
            for ours in names
        )

    def answer(self, port: int, host: str, path: str) -> tuple[str, int] | None:
        """Return the rule that takes a request, None where the gateway has none."""
        own = self.parents[0].spots
        if not any(self.accepted[place_of(self.parents[0], spot)] for spot in own):
            return None
        fitting = [
            (spot.hostname == host, len(spot.hostname), place_of(parent, spot))
            for parent in self.parents
            for spot in parent.spots
            if (spot.protocol, spot.port) == ("HTTP", port) and host_fits(spot.hostname, host)
            if self.accepted[place_of(parent, spot)]
        ]
        return min(self._claims(max(fitting)[-1], host, path), default=(None,))[-1] if fitting else None

    def _claims(self, place: Place, host: str, path: str) -> Iterator[tuple[object, ...]]:
        for child, names in self.attached[place]:
            for name in (name for name in names if host_fits(name, host)):
                for index, (value, exact) in enumerate(child.rules):
                    prefix = value.rstrip("/")
                    if child.kind == "GRPCRoute":
                        precedence = (0, 0)
                    elif path == value if exact else (path + "/").startswith(prefix + "/"):
                        precedence = (0, -len(value)) if exact else (1, -len(prefix))
                    else:
                        continue
                    winner = (f"{child.namespace}/{child.name}", index)
                    yield (name != host, -len(name), *precedence, *age(child), index, winner)


def age(item: Parent | Child) -> tuple[float, str]:
    created = inf if item.created is None else datetime.fromisoformat(item.created).timestamp()
    return created, f"{item.namespace}/{item.name}"


def admits(admission: Admission, own: str, namespace: str) -> bool:
    if admission.source == "Selector":
        return TIERS[namespace] == admission.tier
    return admission.source == "All" or (admission.source == "Same" and own == namespace)


def shares(one: Spot, other: Spot) -> bool:
    """Return whether two listeners want one port."""
    return one.port == other.port and (one.protocol == "UDP") == (other.protocol == "UDP")


def fit_together(one: Spot, other: Spot) -> bool:
    return not shares(one, other) or (one.protocol == other.protocol and one.hostname != other.hostname)


def overlap(one: str, other: str) -> bool:
    """Return whether there is a host that two hostnames both have."""
    samples = (name.replace("*", "sample") for name in (one, other))
    return not one or not other or any(host_fits(one, host) and host_fits(other, host) for host in samples)


def narrower(one: str, other: str) -> str:
    """Return of two hostnames that overlap the one that the other has all of."""
    return max(one, other, key=lambda name: (bool(name) and not name.startswith("*"), len(name)))
