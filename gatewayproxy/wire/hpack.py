"""HPACK: header blocks to fields and back. Pure.

RFC 7541. A field is a pair (name, value) of bytes. Both sides keep a dynamic table; a block read or written changes it,
so blocks must pass through here in the order of the wire, every one of them, wanted or not.
Bounds: a table of `TABLE_BYTES`, a header list of *list_bytes* (RFC 9113 §10.5.1), integers of five octets; a block
costs time in proportion to its bytes, and never more memory than the list may have, whatever it refers to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import chain
from typing import Final

from gatewayproxy.errors import H2Error, RemoteProtocolError
from gatewayproxy.wire import huffman

__all__ = ["TABLE_BYTES", "Decoder", "Encoder", "Field", "Repeated"]

Field = tuple[bytes, bytes]

TABLE_BYTES: Final = 4096  # the default of SETTINGS_HEADER_TABLE_SIZE: what we offer, and use at most
_OVERHEAD: Final = 32  # what an entry counts beyond its bytes, RFC 7541 §4.1
_COMPRESSION_ERROR: Final = 0x9
_ENHANCE_YOUR_CALM: Final = 0xB
_MAX_INTEGER: Final = 0x7FFFFFFF
_SIZE_UPDATES: Final = 2  # RFC 7541 §4.2: the smallest size since the last block, and the final one
_SEEN: Final = 256  # fields remembered as written once
_KEPT: Final = 64  # blocks, and
_KEPT_BYTES: Final = 512  # of each

_TABLE: Final = (  # RFC 7541 Appendix A, from index 1
    ":authority", ":method=GET", ":method=POST", ":path=/", ":path=/index.html", ":scheme=http", ":scheme=https",
    ":status=200", ":status=204", ":status=206", ":status=304", ":status=400", ":status=404", ":status=500",
    "accept-charset", "accept-encoding=gzip, deflate", "accept-language", "accept-ranges", "accept",
    "access-control-allow-origin", "age", "allow", "authorization", "cache-control", "content-disposition",
    "content-encoding", "content-language", "content-length", "content-location", "content-range", "content-type",
    "cookie", "date", "etag", "expect", "expires", "from", "host", "if-match", "if-modified-since", "if-none-match",
    "if-range", "if-unmodified-since", "last-modified", "link", "location", "max-forwards", "proxy-authenticate",
    "proxy-authorization", "range", "referer", "refresh", "retry-after", "server", "set-cookie",
    "strict-transport-security", "transfer-encoding", "user-agent", "vary", "via", "www-authenticate",
)  # fmt: skip


def _static(entry: str) -> Field:
    name, _, value = entry.encode("ascii").partition(b"=")
    return name, value


_STATIC: Final = tuple(_static(entry) for entry in _TABLE)
_FIRST_DYNAMIC: Final = len(_STATIC) + 1
_STATIC_INDEX: Final = {field: index for index, field in enumerate(_STATIC, 1)}
_NAME_INDEX: Final = {name: index for index, (name, _) in reversed(list(enumerate(_STATIC, 1)))}
# One-octet names of the fields in both tables; a table of 4096 bytes holds 128 entries, two octets reach index 254.
_MAX_INDEX: Final = len(_STATIC) + TABLE_BYTES // _OVERHEAD
_INDEXED: Final = tuple(
    bytes([0x80 | index]) if index < 0x7F else bytes([0xFF, index - 0x7F]) for index in range(_MAX_INDEX + 1)
)
# Guessing one of these by the size of a block must not work, RFC 7541 §7.1.3.
_NEVER_INDEXED: Final = frozenset((b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"))


class Decoder:
    """Reads the blocks of one direction of a connection."""

    __slots__ = ("_entries", "_list_bytes", "_max_bytes", "_table_bytes", "changes")

    def __init__(self, list_bytes: int) -> None:
        self._entries: list[Field] = [(b"", b""), *_STATIC]  # by index; the dynamic table starts at 62, newest first
        self._table_bytes = 0
        self._max_bytes = TABLE_BYTES  # as the peer's encoder has set it
        self._list_bytes = list_bytes
        self.changes = 0  # grows whenever the table changes: equal blocks between two changes are equal lists

    def decode(self, block: bytes) -> tuple[list[Field], frozenset[bytes]]:
        """Return the fields of *block*, and the names of those that must never be indexed (RFC 7541 §6.2.3).

        Raises H2Error, of the connection, where the block breaks the coding or has fields without end;
        RemoteProtocolError (431) where the list is too large: then the table is as the peer expects, and all may go on.
        """
        try:
            fields, sensitive, size = self._decode(block)
        except IndexError:  # an octet behind the block, or an entry behind the table
            raise _bad("header block ends early, or names an entry that is not there") from None
        if size > self._list_bytes:
            raise RemoteProtocolError(
                f"header list of more than {self._list_bytes} bytes", status=431, reason="head_too_large"
            )
        return fields, frozenset(sensitive) if sensitive else _NOTHING

    def _decode(self, block: bytes) -> tuple[list[Field], list[bytes], int]:
        """Return fields, sensitive names and the size of the list; if that is too large, not all of the first two."""
        entries = self._entries
        fields: list[Field] = []
        sensitive: list[bytes] = []
        size = dropped = 0
        most = self._list_bytes // _OVERHEAD
        at = self._size_updates(block)
        end = len(block)
        while at < end:
            stop = min(at + most, end)  # PERF: a field takes a byte at least, so most blocks need no counting
            while at < stop:
                first = block[at]
                at += 1
                if first >= 0x80:
                    index = first & 0x7F
                    if index == 0x7F:
                        index, at = _integer(block, at, index)
                    elif not index:
                        raise _bad("index 0")
                    fields.append(entries[index])
                    continue
                field, at = self._literal(block, at, first)
                fields.append(field)
                if first >= 0x40:
                    self._insert(field)
                elif first >= 0x10:
                    sensitive.append(field[0])
            if len(fields) > most:  # the rest is read for the table's sake, within reason
                if dropped:
                    raise H2Error(
                        "header list of more than twice its limit", code=_ENHANCE_YOUR_CALM, reason="header_flood"
                    )
                dropped = self._list_bytes + 1
                fields.clear()
                sensitive.clear()
        size = dropped + sum(map(len, chain.from_iterable(fields))) + _OVERHEAD * len(fields)
        return fields, sensitive, size

    def _size_updates(self, block: bytes) -> int:
        """Apply the size updates that start *block*; return where they end."""
        at = n = 0
        while at < len(block) and block[at] & 0xE0 == 0x20:
            n += 1
            size = block[at] & 0x1F
            at += 1
            if size == 0x1F:
                size, at = _integer(block, at, size)
            if size > TABLE_BYTES or n > _SIZE_UPDATES:
                raise _bad(f"dynamic table size update beyond {TABLE_BYTES} bytes, or one too many")
            self._max_bytes = size
            self.changes += 1
            self._evict(0)
        return at

    def _literal(self, block: bytes, at: int, first: int) -> tuple[Field, int]:
        if first >= 0x40:
            mask = 0x3F
        elif first >= 0x20:
            raise _bad("dynamic table size update behind a field")
        else:
            mask = 0x0F
        index = first & mask
        if index == mask:
            index, at = _integer(block, at, mask)
        if index:
            name = self._entries[index][0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return (name, value), at

    def _insert(self, field: Field) -> None:
        self.changes += 1
        size = len(field[0]) + len(field[1]) + _OVERHEAD
        self._evict(size)
        if size <= self._max_bytes:  # RFC 7541 §4.4: a larger entry empties the table, and is no error
            self._entries.insert(_FIRST_DYNAMIC, field)
            self._table_bytes += size

    def _evict(self, wanted: int) -> None:
        """Drop the oldest entries until *wanted* bytes fit, or none is left."""
        entries = self._entries
        while self._table_bytes + wanted > self._max_bytes and len(entries) > _FIRST_DYNAMIC:
            name, value = entries.pop()
            self._table_bytes -= len(name) + len(value) + _OVERHEAD


class Encoder:
    """Writes the blocks of one direction of a connection.

    What repeats is put into the table the second time it is sent, so values that never do (a date, an identifier) push
    nothing out. Values in the table are Huffman-coded; those sent once are not: that costs more CPU than it saves.
    PERF: a tuple of fields all in the tables is kept with its block while the tables stay as they are: 4 us less.
    """

    __slots__ = ("_blocks", "_index", "_max_bytes", "_order", "_seen", "_sizes", "_table_bytes", "_top")

    def __init__(self) -> None:
        self._index: dict[Field, int] = {}  # of the dynamic table: its number in order of insertion
        self._order: deque[Field] = deque()  # oldest first
        self._top = len(_STATIC)  # an entry's index on the wire is _top - number; a new one has 62
        self._table_bytes = 0
        self._max_bytes = TABLE_BYTES
        self._sizes: list[int] = []  # size updates that the next block starts with
        self._seen: set[int] = set()  # hashes of fields sent once
        self._blocks: dict[tuple[Field, ...], bytes] = {}  # as the table is now

    def resize(self, limit: int) -> None:
        """Keep to the peer's SETTINGS_HEADER_TABLE_SIZE from the next block on."""
        size = min(limit, TABLE_BYTES)
        if size == self._max_bytes:
            return
        smallest = min([size, *self._sizes])
        self._sizes = [size] if smallest == size else [smallest, size]
        self._max_bytes = size
        self._evict(0)
        self._blocks.clear()

    def encode(self, fields: Iterable[Field], sensitive: Collection[bytes] = ()) -> bytes:
        """Return the block of *fields*; values of the names in *sensitive* are marked never to be indexed."""
        if sensitive or self._sizes or not isinstance(fields, tuple):
            return self._encode(fields, sensitive)
        block = self._blocks.get(fields)
        if block is None:
            n_seen, top = len(self._seen), self._top
            block = self._encode(fields, sensitive)
            if n_seen == len(self._seen) and top == self._top and len(block) <= _KEPT_BYTES:
                if len(self._blocks) >= _KEPT:
                    self._blocks.clear()
                self._blocks[fields] = block
        return block

    def once(self, fields: Iterable[Field], sensitive: Collection[bytes] = ()) -> bytes:
        """Return more of the block that was written last: *fields* that will not come again, so no table has them."""
        hidden = _NEVER_INDEXED.union(sensitive) if sensitive else _NEVER_INDEXED
        out = b""
        for name, value in fields:
            out += _unkept(name, name in hidden) + _plain(value)
        return out

    def _encode(self, fields: Iterable[Field], sensitive: Collection[bytes]) -> bytes:
        out = []
        if self._sizes:
            out = [_integer_octets(size, 0x1F, 0x20) for size in self._sizes]
            self._sizes = []
        index = self._index
        for field in fields:
            number = index.get(field)
            if sensitive and field[0] in sensitive:
                out.append(_name(field[0], 0x0F, 0x10) + _plain(field[1]))
            elif number is not None:
                out.append(_INDEXED[self._top - number])
            elif (known := _STATIC_INDEX.get(field)) is not None:
                out.append(_INDEXED[known])
            else:
                out.append(self._literal(field))
        return b"".join(out)

    def _literal(self, field: Field) -> bytes:
        name, value = field
        if name in _NEVER_INDEXED:
            return _name(name, 0x0F, 0x10) + _plain(value)
        once = hash(field)
        seen = self._seen
        size = len(name) + len(value) + _OVERHEAD
        if once not in seen or size > self._max_bytes // 2:
            if len(seen) >= _SEEN:
                seen.clear()
            seen.add(once)
            return _name(name, 0x0F, 0x00) + _plain(value)
        seen.discard(once)
        self._evict(size)
        self._blocks.clear()
        self._top += 1
        self._index[field] = self._top - _FIRST_DYNAMIC
        self._order.append(field)
        self._table_bytes += size
        return _name(name, 0x3F, 0x40) + _coded(value)

    def _evict(self, wanted: int) -> None:
        while self._table_bytes + wanted > self._max_bytes and self._order:
            oldest = self._order.popleft()
            del self._index[oldest]
            self._table_bytes -= len(oldest[0]) + len(oldest[1]) + _OVERHEAD


class Repeated(tuple[Field, ...]):
    """Fields that are sent more than once, as one object: an encoder finds its block without reading it.

    PERF: hashing 16 fields takes 0.6 us.
    """

    __slots__ = ()
    __hash__ = object.__hash__


_NOTHING: Final[frozenset[bytes]] = frozenset()
_SHORT: Final = tuple(bytes((n,)) for n in range(0x7F))  # lengths of strings that are not coded


def _bad(message: str) -> H2Error:
    return H2Error(message, code=_COMPRESSION_ERROR, reason="bad_header_block")


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """Return an integer whose prefix was all ones, *value*, and where it ends; RFC 7541 §5.1."""
    for shift in (0, 7, 14, 21, 28):
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80 and value <= _MAX_INTEGER:
            return value, at
    raise _bad("integer of more than 31 bits")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    first = block[at]
    at += 1
    length = first & 0x7F
    if length == 0x7F:
        length, at = _integer(block, at, length)
    end = at + length
    if end > len(block):
        raise _bad("string longer than its block")
    if first < 0x80:
        return block[at:end], end
    try:
        return huffman.decode(block[at:end]), end
    except RemoteProtocolError as error:
        raise _bad(str(error)) from None


def _integer_octets(value: int, mask: int, first: int) -> bytes:
    if value < mask:
        return bytes((first | value,))
    out = bytearray((first | mask,))
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _name(name: bytes, mask: int, first: int) -> bytes:
    index = _NAME_INDEX.get(name)
    if index is None:
        return bytes((first,)) + _plain(name)
    return _integer_octets(index, mask, first)


@lru_cache(maxsize=64)
def _unkept(name: bytes, hidden: bool) -> bytes:
    return _name(name, 0x0F, 0x10 if hidden else 0x00)


def _plain(text: bytes) -> bytes:
    n = len(text)
    return _SHORT[n] + text if n < 0x7F else _integer_octets(n, 0x7F, 0x00) + text


def _coded(text: bytes) -> bytes:
    coded = huffman.encode(text)
    return _integer_octets(len(coded), 0x7F, 0x80) + coded if len(coded) < len(text) else _plain(text)
