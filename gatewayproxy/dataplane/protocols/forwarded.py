"""X-Forwarded-*, Via and X-Request-Id: what we tell a backend about the client.

With `trusted_hops` 0 whatever a client sends of these is replaced. With n > 0 the last n proxies are believed: the list
grows by our peer, the other fields stay as they came. RFC 9110 §7.6.3 (Via).
"""

from __future__ import annotations

import re
from typing import Final

from gatewayproxy.model.headops import HeadEdit
from gatewayproxy.wire.edit import edited_lines
from gatewayproxy.wire.grammar import join_kept
from gatewayproxy.wire.head import CHUNKED, RequestHead

__all__ = [
    "client_of",
    "constant_lines",
    "leads_back",
    "own_lines",
    "peer_address",
    "standing_lines",
    "standing_start",
    "te_line",
    "trusted_lines",
]

_BELIEVED: Final = frozenset((b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-host"))
_ID: Final = re.compile(rb"[!-~]{1,128}+")
_WELL_KNOWN: Final = {b"http": b"80", b"https": b"443"}


def peer_address(peername: object) -> bytes:
    """Return the address of a client, b"unix" for one on a Unix socket; *peername* as a transport has it."""
    if not isinstance(peername, tuple) or not peername:
        return b"unix"
    address = str(peername[0]).partition("%")[0]
    if address.startswith("::ffff:") and "." in address:
        address = address[7:]  # an IPv4 client of a dual-stack socket
    return address.encode("ascii")


def constant_lines(peer: bytes, scheme: bytes, port: int, version: bytes = b"1.1") -> bytes:
    """Return the lines that are the same for every request of a connection; *version* of HTTP is the client's."""
    return b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-port: %d\r\nvia: %b gatewayproxy\r\n" % (
        peer, scheme, port, version,
    )  # fmt: skip


def own_lines(head: RequestHead, constant: bytes, request_id: bytes) -> bytes:
    """Return our lines for *head* when the client is not trusted with any."""
    if head.minor == 0:
        constant = constant.replace(b"via: 1.1 ", b"via: 1.0 ")
    lines = b"%bx-forwarded-host: %b\r\nx-request-id: %b\r\n" % (constant, head.authority, request_id)
    if head.max_forwards > 0:
        lines += b"max-forwards: %d\r\n" % (head.max_forwards - 1)
    return lines


def standing_lines(constant: bytes, authority: bytes, edit: HeadEdit | None, id_prefix: bytes) -> bytes | None:
    """Return what every plain request for *authority* that *edit* applies to gets: our lines but the end of its id.

    None where that does not hold: *edit* changes the target or the host, or has something to say about the id.
    """
    if edit is not None:
        if edit.host is not None or edit.path is not None or edit.prefix is not None:
            return None
        if b"x-request-id" in edit.cut or b"x-request-id" in edit.append.lower():
            return None
    own = b"%bx-forwarded-host: %b\r\n" % (constant, authority)
    return b"%bx-request-id: %b" % (edited_lines(own, edit), id_prefix)


def standing_start(head: RequestHead, multiplexed: bool) -> bytes:
    """Return *head* as far as `standing_lines` may follow: its line, the fields that go on, and its framing.

    b"" where there is more to be done than to cut fields. *multiplexed*: for an endpoint that speaks HTTP/2.
    PERF: clients of HTTP/2 repeat their heads, of which those with a body are never intact: 9 us less each.
    """
    known = head.standing
    if known is None or known[0] is not multiplexed:
        start = b""
        if head.minor and head.scheme is None and not head.upgrade and head.max_forwards < 0:
            start = join_kept(head.buf, 0, head.fields_end, head.cuts)
            if head.length == CHUNKED:
                start += b"transfer-encoding: chunked\r\n"
            if multiplexed:
                start += te_line(head)
        head.standing = known = (multiplexed, start)
    return known[1]


def te_line(head: RequestHead) -> bytes:
    """Return the TE that an HTTP/2 endpoint gets: gRPC servers want it, RFC 9113 §8.2.2 allows no other value."""
    return b"te: trailers\r\n" if b"trailers" in head.hot.get(b"te", b"").lower() else b""


def trusted_lines(head: RequestHead, constant: bytes, request_id: bytes) -> tuple[bytes, bytes]:
    """Return (our lines, the request id) when a trusted proxy may have said some of it already."""
    noted = head.hot
    request_id = valid_id(noted.get(b"x-request-id")) or request_id
    lines = own_lines(head, constant, request_id).split(b"\r\n")
    for index, line in enumerate(lines):
        name, _, value = line.partition(b": ")
        said = noted.get(name)
        if said and name == b"x-forwarded-for":
            lines[index] = b"%b: %b, %b" % (name, said, value)
        elif said and name in _BELIEVED and b"," not in said:
            lines[index] = b"%b: %b" % (name, said)
    return b"\r\n".join(lines), request_id


def client_of(head: RequestHead, peer: bytes, trusted_hops: int) -> bytes:
    """Return the address of the client: the peer, or what the farthest trusted proxy saw."""
    chain = head.hot.get(b"x-forwarded-for")
    if not trusted_hops or not chain:
        return peer
    hops = [hop.strip() for hop in chain.split(b",")]
    return hops[-min(trusted_hops, len(hops))]


def leads_back(head: RequestHead, where: bytes) -> bool:
    """Return whether URL *where* is the one that the client asked for, by what a trusted proxy says of it.

    A proxy that ends TLS passes the request on in clear text; sent to https, the client would come here for ever.
    """
    scheme = _said(head, b"x-forwarded-proto").lower()
    if not scheme:
        return False
    host, port = _split_authority(_said(head, b"x-forwarded-host") or head.authority)
    port = _said(head, b"x-forwarded-port") or port or _WELL_KNOWN.get(scheme, b"")
    to, _, rest = where.partition(b"://")
    authority, slash, path = rest.partition(b"/")
    there, to_port = _split_authority(authority)
    return (to, there.lower(), to_port or _WELL_KNOWN.get(to, b""), slash + path) == (
        scheme, host.lower(), port, head.target,
    )  # fmt: skip


def _said(head: RequestHead, name: bytes) -> bytes:
    """Return field *name* where one proxy alone has written it, else b""."""
    value = head.hot.get(name, b"")
    return b"" if b"," in value else value


def _split_authority(authority: bytes) -> tuple[bytes, bytes]:
    """Return host and port, b"" where there is none; an IPv6 address keeps its brackets."""
    host, bracket, port = authority.partition(b"]")
    if not bracket:
        host, _, port = authority.partition(b":")
    return host + bracket, port.removeprefix(b":")


def valid_id(value: bytes | None) -> bytes | None:
    """Return a received request id that is fit for logs, else None."""
    return value if value is not None and _ID.fullmatch(value) else None
