"""What answers tell trusted clients of themselves: listener, route, rule, backend and generation, in one field.

    x-gatewayproxy-explain: listener="shop/web/http", route="HTTPRoute shop/cart", rule="2 (canary)",
        backend="shop/cart:80", generation=7

A Structured Field dictionary (RFC 9651 §3.2); answers of the gateway's own say `reason`, too. `--explain-header-from`
names the addresses whose connections get it: those that TCP has seen, for a header can be forged. A port then has two
sites, and a connection chooses its own as it begins; all that both add is an edit of each rule's answers, made once per
table. A backend's field of this name is dropped on both, so that no client takes it for ours. Without the option there
is one site, and no such edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final

from gatewayproxy.model.headops import HeadEdit
from gatewayproxy.routing.table import BackendChoice, ListenerLabel, RouteEntry
from gatewayproxy.wire.grammar import cut_lines, join_kept

if TYPE_CHECKING:
    from gatewayproxy.dataplane.protocols.targets import Target

__all__ = ["FIELD", "Disclosure", "Network", "is_within"]

Network = IPv4Network | IPv6Network

FIELD: Final = b"x-gatewayproxy-explain"
_NAMES: Final = frozenset((FIELD,))
_NOTHING: Final = HeadEdit()


def is_within(peer: bytes, networks: Sequence[Network]) -> bool:
    """Return whether the address *peer*, as `forwarded.peer_address` has it, is of *networks*."""
    try:
        address = ip_address(peer.decode("ascii"))
    except ValueError:  # a Unix socket
        return False
    return any(address in network for network in networks)


class Disclosure:
    """What the answers of one site tell; *generous*: its clients are trusted, else they get nothing."""

    __slots__ = ("_generous",)

    def __init__(self, *, generous: bool) -> None:
        self._generous = generous

    def dressed(self, entry: RouteEntry, generation: int) -> RouteEntry:
        """Return *entry* with answers that say what took the request, or at least not what a backend claims."""

        def edit(response: HeadEdit | None, backend: str) -> HeadEdit:
            own = response or _NOTHING
            line = _line(_of_entry(entry, backend), generation) if self._generous else b""
            return replace(own, cut=own.cut | _NAMES, append=own.append + line)

        def dressed(choice: BackendChoice) -> BackendChoice:
            return replace(choice, response=edit(choice.response, choice.name))

        group = entry.group
        if group is not None:
            group = replace(group, choices=tuple(map(dressed, group.choices)))
        return replace(
            entry, group=group, resting=tuple(map(dressed, entry.resting)), response=edit(entry.response, "")
        )

    def answer_lines(
        self, lines: bytes, target: Target | None, listener: ListenerLabel | None, reason: str, generation: int
    ) -> bytes:
        """Return the *lines* of an answer of the gateway's own, for *reason*, with what this site tells.

        *target*: what took the request; None: nothing, on *listener*, if any has its host or server name.
        """
        if FIELD in lines.lower():
            buf = b"\n" + lines
            lines = join_kept(buf, 1, len(buf), cut_lines(buf, 1, len(buf), _NAMES))
        if not self._generous:
            return lines
        if target is not None:
            said = _of_entry(target.entry, target.choice.name)
        else:
            said = {"listener": listener.name if listener is not None else ""}
        return lines + _line({**said, "reason": reason}, generation)


def _of_entry(entry: RouteEntry, backend: str) -> dict[str, str]:
    label = entry.label
    return {"listener": label.listener, "route": label.route_text, "rule": label.rule_text, "backend": backend}


def _line(said: dict[str, str], generation: int) -> bytes:
    items = [f'{name}="{_quoted(value)}"' for name, value in said.items() if value]
    text = ", ".join((*items, f"generation={generation}"))
    return b"%b: %b\r\n" % (FIELD, text.encode("ascii", "replace"))


def _quoted(text: str) -> str:
    """Return *text* fit for a String (RFC 9651 §3.3.3)."""
    plain = "".join(each if each.isprintable() else "?" for each in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"')
