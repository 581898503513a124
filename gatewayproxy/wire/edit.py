"""Rewriting heads: drop lines, put in ours, apply a HeadEdit, in one pass over the bytes. Pure.

What may not be edited: fields that frame the message. `Set`, `Add` and `Remove` of those are left out here, so that no
configuration can make a backend read another message than the gateway did.
A request loses what a filter sets or removes also under names with "_" for "-": CGI-style backends take them for one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from gatewayproxy.model.headops import HeadEdit, Respond
from gatewayproxy.wire.grammar import cut_alike, cut_lines, join_kept, plain_name
from gatewayproxy.wire.head import CHUNKED, RequestHead
from gatewayproxy.wire.response import ResponseHead

__all__ = [
    "edit_fields", "edited_lines", "edited_target", "line_starts", "location", "named", "request_starts",
    "rewrite_request", "rewrite_response", "strip_query",
]  # fmt: skip

FRAMING: Final = frozenset((b"connection", b"content-length", b"host", b"transfer-encoding", b"upgrade"))
_HOST: Final = frozenset((b"host",))
_DASH: Final = re.compile(rb"[-_]")
_LINE: Final = re.compile(rb"([^:\r\n]*+):[^\n]*+\n")
_KEPT_BYTES: Final = 1_024
_KEPT_NAMES: Final = 32
_REASONS: Final = {200: b"OK", 101: b"Switching Protocols"}


def rewrite_request(head: RequestHead, own: bytes, edit: HeadEdit | None) -> bytes:
    """Return the head to send upstream: *own* lines (ending in CRLF) come last, then those of *edit*."""
    cuts = head.cuts
    target = head.target
    host = head.authority if head.scheme is not None else None
    if edit is not None:
        target = edited_target(target, edit.path, edit.prefix)
        host = edit.host or host
        cut, append = _editable(edit)
        if cut:
            cuts += tuple(cut_alike(head.buf, head.fields_start, head.fields_end, cut))
            own = _without(own, cut)
        own += append
    if host is not None:
        cuts += tuple(cut_lines(head.buf, head.fields_start, head.fields_end, _HOST))
        own += b"host: %b\r\n" % host
    if head.length == CHUNKED:
        own += b"transfer-encoding: chunked\r\n"
    if head.upgrade:
        own += b"connection: upgrade\r\nupgrade: websocket\r\n"
    start, end = head.fields_start, head.fields_end
    kept = join_kept(head.buf, start, end, cuts) if cuts else head.buf[start:end]
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (head.method, target, kept, own)


def rewrite_response(head: ResponseHead, own: bytes, edit: HeadEdit | None) -> bytes:
    """Return the head to send downstream; *own* lines say what is true of our connection and framing."""
    cuts = head.cuts
    start = 0 if head.plain_line else head.fields_start
    if edit is not None:
        cut, append = _editable(edit)
        if cut:
            cuts += tuple(cut_lines(head.buf, head.fields_start, head.fields_end, cut))
        own += append
    kept = join_kept(head.buf, start, head.fields_end, cuts) if cuts else head.buf[start : head.fields_end]
    if start:
        return b"%b%b%b\r\n" % (_status_line(head), kept, own)
    return b"%b%b\r\n" % (kept, own)


def edited_target(target: bytes, path: bytes | None, prefix: tuple[int, bytes] | None) -> bytes:
    """Return *target* with its path replaced, or the first bytes of it; the query stays."""
    if path is None and prefix is None:
        return target
    old, mark, query = target.partition(b"?")
    if path is not None:
        return path + mark + query
    assert prefix is not None
    size, replacement = prefix
    return (replacement + old[size:] or b"/") + mark + query


def strip_query(target: bytes) -> bytes:
    """Return the path of *target*."""
    return target.partition(b"?")[0]


def location(respond: Respond, authority: bytes, target: bytes) -> bytes:
    """Return the Location of a redirect for a request of *authority* and origin-form *target*."""
    host = respond.host
    if host is None:
        host = authority[: authority.find(b"]") + 1] if authority[:1] == b"[" else authority.partition(b":")[0]
    where = edited_target(target, respond.path, respond.prefix)
    return respond.scheme + b"://" + host + respond.port + where


def edit_fields(head: RequestHead, own: bytes, edit: HeadEdit | None) -> bytes:
    """Let *head* lose the fields that *edit* drops; return *own* lines with what it does to them."""
    if edit is None:
        return own
    cut, append = _editable(edit)
    if cut:
        head.cuts += tuple(cut_alike(head.buf, head.fields_start, head.fields_end, cut))
        head.intact = False
    head.settled |= named(edit)
    return _without(own, cut) + append


@lru_cache(maxsize=1024)
def named(edit: HeadEdit) -> frozenset[bytes]:
    """Return the `plain_name`s of all fields that *edit* sets, adds or removes."""
    names = (*edit.cut, *(found[1] for found in _LINE.finditer(edit.append)))
    return frozenset(map(plain_name, names))


def line_starts(edit: HeadEdit | None) -> tuple[bytes, ...]:
    """Return how the lines begin that *edit* drops, for `grammar.mentions`."""
    return () if edit is None else tuple(b"\n%b:" % name for name in sorted(_editable(edit)[0]))


def request_starts(edit: HeadEdit | None) -> tuple[bytes, ...]:
    """Return the `line_starts` of an *edit* of requests: with them go those of names that look alike."""
    starts = line_starts(edit)
    return tuple(dict.fromkeys((*starts, *(twin for start in starts for twin in _twins(start)))))


def _twins(start: bytes) -> list[bytes]:
    """Return how other names begin that `cut_alike` cuts with that of *start*: up to their first other "-" or "_"."""
    return [start[: at.start()] + (b"_" if at[0] == b"-" else b"-") for at in _DASH.finditer(start)]


def edited_lines(own: bytes, edit: HeadEdit | None) -> bytes:
    """Return *own* lines and those of *edit*: all that it does to a head that mentions none of its `line_starts`."""
    if edit is None:
        return own
    cut, append = _editable(edit)
    return _without(own, cut) + append


def _split(cut: frozenset[bytes], append: bytes) -> tuple[frozenset[bytes], bytes]:
    lines = [found[0] for found in _LINE.finditer(append) if plain_name(found[1]) not in FRAMING]
    return frozenset(name for name in cut if plain_name(name) not in FRAMING), b"".join(lines)


_kept_split = lru_cache(maxsize=4096)(_split)


def _editable(edit: HeadEdit) -> tuple[frozenset[bytes], bytes]:
    if not edit.cut and not edit.append:
        return edit.cut, b""
    # An edit may be of one answer alone, with what an authorization server says: long ones are not kept.
    few = len(edit.append) <= _KEPT_BYTES and len(edit.cut) <= _KEPT_NAMES
    return _kept_split(edit.cut, edit.append) if few else _split(edit.cut, edit.append)


def _without(lines: bytes, names: frozenset[bytes]) -> bytes:
    """Return our own *lines* without those an edit replaces: filters act on the request as we would send it."""
    # PERF: micro-benchmark of rewrite_request with one edit, 3.7 -> 1.7 us: few edits name a line of ours.
    for name in names:
        if name in lines:
            break
    else:
        return lines
    return b"".join(found[0] for found in _LINE.finditer(lines) if found[1].lower() not in names)


def _status_line(head: ResponseHead) -> bytes:
    start = head.buf[: head.fields_start - 2]
    reason = start[13:] or _REASONS.get(head.status, b"")
    return b"HTTP/1.1 %d %b\r\n" % (head.status, reason)
