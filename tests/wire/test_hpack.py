"""HPACK in both directions, beside the hpack library; its bounds, and what it refuses."""

from __future__ import annotations

import random
import tracemalloc

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayproxy.errors import H2Error, RemoteProtocolError
from gatewayproxy.wire.hpack import TABLE_BYTES, Decoder, Encoder, Field
from tests.support.h2peer import length, literal

names = st.sampled_from(
    [b":path", b":status", b"x", b"date", b"cookie", b"content-type", b"etag", b"x-long-name-of-ours"]
)
values = st.sampled_from([b"", b"200", b"/", b"text/html", b"y" * 90, b"z" * 1500, b"w" * 5000, b"\xff\0"]) | st.binary(
    max_size=12
)
lists = st.lists(st.lists(st.tuples(names, values), max_size=8), min_size=1, max_size=12)
sizes = st.sampled_from([0, 31, 64, 100, 1000, 4096, 65_536])
# Fields by index, of both tables; literals, indexed, not indexed and never; sizes of the table; strings by Huffman.
near_blocks = st.lists(
    st.sampled_from([
        b"\x82", b"\xbd", b"\xbe", b"\xbf", b"\xff\x01", b"\x40\1a\1b", b"\x40\x81\x1f\1c", b"\x00\1a\1b", b"\x10\1a\0",
        b"\x7e\1d", b"\x7f\0\1e", b"\x0f\x2f\1f", b"\x41\x82\x1c\x63", b"\x20", b"\x3e", b"\x3f\xe1\x1f",
    ])
    | st.binary(max_size=2),
    max_size=8,
).map(b"".join)  # fmt: skip


@settings(deadline=None)
@given(lists, st.integers(0, 2**32))
def test_what_the_library_writes_we_read(blocks: list[list[Field]], seed: int) -> None:
    chance = random.Random(seed)
    encoder, decoder = hpack.Encoder(), Decoder(1 << 20)
    for fields in blocks:
        if chance.random() < 0.3:
            encoder.header_table_size = chance.choice([0, 50, 200, 4096])
        written = [(name, value, chance.random() < 0.2) for name, value in fields]
        found, sensitive = decoder.decode(encoder.encode(written, huffman=chance.random() < 0.5))
        assert found == fields
        assert sensitive <= {name for name, _, never in written if never}


@settings(deadline=None)
@given(lists, st.lists(sizes, max_size=6), st.integers(0, 2**32))
def test_what_we_write_the_library_reads(blocks: list[list[Field]], limits: list[int], seed: int) -> None:
    chance = random.Random(seed)
    encoder, decoder = Encoder(), hpack.Decoder(max_header_list_size=1 << 20)
    for fields in blocks:
        while limits and chance.random() < 0.4:
            limit = limits.pop()
            decoder.max_allowed_table_size = limit
            encoder.resize(limit)
        if decoder.header_table.maxsize > decoder.max_allowed_table_size and not encoder._sizes:
            raise AssertionError("a smaller table was not said")
        for _ in range(chance.choice([1, 1, 4])):
            given_fields = tuple(fields) if chance.random() < 0.7 else fields  # a tuple's block may be kept
            assert decoder.decode(encoder.encode(given_fields), raw=True) == fields


@settings(deadline=None)
@given(lists)
def test_what_we_write_we_read(blocks: list[list[Field]]) -> None:
    encoder, decoder = Encoder(), Decoder(1 << 20)
    for fields in blocks:
        assert decoder.decode(encoder.encode(fields))[0] == fields


@settings(deadline=None, max_examples=400)
@given(st.lists(st.binary(max_size=60) | near_blocks, max_size=5))
def test_any_bytes_are_read_like_the_library_or_refused_with_one_error(blocks: list[bytes]) -> None:
    decoder, oracle = Decoder(1 << 20), hpack.Decoder(max_header_list_size=1 << 20)
    for block in blocks:
        try:
            found, _ = decoder.decode(block)
        except H2Error:
            return  # we may be stricter: size updates, integers
        assert oracle.decode(block, raw=True) == found


def test_a_repeated_field_takes_an_octet() -> None:
    encoder = Encoder()
    fields = [(b":status", b"200"), (b"content-type", b"text/html"), (b"x-a", b"b")]
    sizes = [len(encoder.encode(fields)) for _ in range(4)]
    assert sizes[2:] == [3, 3]
    assert sizes[0] > 10


def test_a_value_that_never_repeats_pushes_nothing_out() -> None:
    encoder = Encoder()
    for at in range(300):
        block = encoder.encode([(b"x-constant", b"value"), (b"x-request-id", b"%032d" % at)])
    assert block[0] & 0x80
    assert len(encoder._order) == 1


@pytest.mark.parametrize("name", [b"authorization", b"cookie", b"set-cookie", b"proxy-authorization"])
def test_a_secret_is_never_indexed(name: bytes) -> None:
    encoder, decoder = Encoder(), Decoder(1000)
    for _ in range(3):
        assert decoder.decode(encoder.encode([(name, b"s3cret")])) == ([(name, b"s3cret")], {name})
    assert decoder.changes == 0


def test_a_field_that_came_never_indexed_goes_on_so() -> None:
    encoder, decoder = Encoder(), Decoder(1000)
    for _ in range(2):
        encoder.encode([(b"x-key", b"k")])
    block = encoder.encode([(b"x-key", b"k"), (b":path", b"/")], {b"x-key", b":path"})
    assert decoder.decode(block) == ([(b"x-key", b"k"), (b":path", b"/")], {b"x-key", b":path"})


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="§6.1 index 0"),
        pytest.param(b"\xbe", id="§2.3.3 index behind an empty dynamic table"),
        pytest.param(length(200, 0x80), id="§2.3.3 index behind the table"),
        pytest.param(length(62, 0x40, 6) + b"\x01x", id="§2.3.3 name behind the table"),
        pytest.param(b"\xff" + b"\xff" * 12 + b"\x01", id="§5.1 integer of more than 31 bits"),
        pytest.param(b"\xff" + b"\x80" * 6, id="§5.1 integer without end"),
        pytest.param(b"\xff", id="§5.1 integer cut off"),
        pytest.param(b"\x00\x05ab", id="§5.2 string longer than the block"),
        pytest.param(b"\x00", id="§5.2 no string"),
        pytest.param(b"\x00\x01x", id="§6.2 no value"),
        pytest.param(b"\x00\x01x\x84\xff\xff\xff\xff", id="§5.2 EOS"),
        pytest.param(b"\x00\x01x\x81\x00", id="§5.2 padding of zeros"),
        pytest.param(length(TABLE_BYTES + 1, 0x20, 5), id="§6.3 table size above ours"),
        pytest.param(literal(b"x", b"y") + b"\x20", id="§4.2 size update behind a field"),
        pytest.param(b"\x20\x20\x20", id="§4.2 three size updates"),
    ],
)
def test_a_block_that_breaks_the_coding_ends_the_connection(block: bytes) -> None:
    with pytest.raises(H2Error) as caught:
        Decoder(65_536).decode(block)
    assert (caught.value.code, caught.value.stream_id) == (9, 0)


def test_two_size_updates_are_the_most_and_empty_the_table() -> None:
    decoder = Decoder(65_536)
    decoder.decode(literal(b"x", b"y", 0x40))
    assert decoder.decode(b"\xbe")[0] == [(b"x", b"y")]
    before = decoder.changes
    assert decoder.decode(b"\x20" + length(4096, 0x20, 5) + b"\x82")[0] == [(b":method", b"GET")]
    assert decoder.changes > before
    with pytest.raises(H2Error):
        decoder.decode(b"\xbe")


def test_an_entry_larger_than_the_table_empties_it() -> None:
    decoder = Decoder(65_536)
    decoder.decode(literal(b"x", b"y", 0x40))
    decoder.decode(literal(b"x", b"y" * 5000, 0x40))
    with pytest.raises(H2Error):
        decoder.decode(b"\xbe")


def test_the_oldest_entries_go_first_and_may_name_the_one_that_evicts_them() -> None:
    decoder = Decoder(65_536)
    decoder.decode(literal(b"old", b"v" * 3000, 0x40))
    found, _ = decoder.decode(length(62, 0x40, 6) + length(2000) + b"w" * 2000 + b"\xbe")
    assert found == [(b"old", b"w" * 2000)] * 2


def test_a_list_too_large_is_refused_and_the_table_stays_in_step() -> None:
    decoder = Decoder(3200)
    block = literal(b"x", b"y", 0x40) + literal(b"big", b"z" * 3500)
    with pytest.raises(RemoteProtocolError) as caught:
        decoder.decode(block)
    assert (caught.value.status, type(caught.value)) == (431, RemoteProtocolError)
    assert decoder.decode(b"\xbe")[0] == [(b"x", b"y")]


@pytest.mark.parametrize("n", [101, 150, 199])
def test_fields_without_bytes_count_too(n: int) -> None:
    decoder = Decoder(3200)
    with pytest.raises(RemoteProtocolError) as caught:
        decoder.decode(b"\x82" * n)
    assert caught.value.status == 431
    assert len(decoder.decode(b"\x82" * 70)[0]) == 70


def test_references_without_number_take_no_memory() -> None:
    decoder = Decoder(65_536)
    decoder.decode(literal(b"b", b"b" * 4000, 0x40))
    bomb = b"\xbe" * 2048  # a list of 8 MB
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            decoder.decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("first", "then", "known"),
    [
        pytest.param(b"", b"", 2, id="§4.1 as long as it fits"),
        pytest.param(length(70, 0x20, 5), b"", 2, id="§4.3 a smaller table that still holds both"),
        pytest.param(length(69, 0x20, 5), b"", 1, id="§4.3 one octet less"),
        pytest.param(b"\x20", b"", 0, id="§4.3 none"),
        pytest.param(b"", literal(b"n", b"v" * (4096 - 32 - 1 - 70), 0x40), 2, id="§4.4 an entry that just fits"),
        pytest.param(b"", literal(b"n", b"v" * (4096 - 32 - 70), 0x40), 1, id="§4.4 an entry larger by one octet"),
        pytest.param(b"", literal(b"n", b"v" * 4096, 0x40), -1, id="§4.4 an entry larger than the table"),
    ],
)
def test_entries_are_evicted_by_the_octet(first: bytes, then: bytes, known: int) -> None:
    decoder = Decoder(65_536)
    for name in (b"old", b"new"):
        decoder.decode(literal(name, b"", 0x40))  # 35 octets each
    decoder.decode(first + then)
    behind = 63 if then else 62
    for at, name in enumerate((b"new", b"old")):
        if at < known:
            assert decoder.decode(bytes((0x80 | behind + at,)))[0] == [(name, b"")]
        else:
            with pytest.raises(H2Error):
                decoder.decode(bytes((0x80 | behind + at,)))


@pytest.mark.parametrize("first", [0x10, 0x11, 0x1F], ids=["new name", "indexed name", "long index"])
def test_a_literal_never_to_be_indexed_says_so_and_stays_out_of_the_table(first: int) -> None:
    decoder = Decoder(65_536)
    raw = {0x10: literal(b"x-key", b"k", 0x10), 0x11: b"\x11\x01k", 0x1F: b"\x1f\x08\x01k"}[first]
    fields, sensitive = decoder.decode(raw)
    assert sensitive == {fields[0][0]}
    assert fields[0][1] == b"k"
    assert decoder.changes == 0


def test_an_endless_list_ends_the_connection() -> None:
    decoder = Decoder(3200)
    decoder.decode(literal(b"b", b"b" * 2000, 0x40))
    with pytest.raises(H2Error) as caught:
        decoder.decode(b"\xbe" * 16_000)
    assert (caught.value.code, caught.value.stream_id) == (11, 0)


def test_a_table_that_changed_is_known_where_the_same_is_written_again() -> None:
    encoder, decoder = Encoder(), Decoder(65_536)
    fields = ((b"x-a", b"b"), (b"x-c", b"d" * 1900))
    for limit in (None, None, None, 1000, None, 4096, None, None, 0, None):
        if limit is not None:
            encoder.resize(limit)
        for others in ((), ((b"x-e", b"f" * 1900),), ((b"x-e", b"f" * 1900),)):
            assert decoder.decode(encoder.encode(others))[0] == list(others)
            assert decoder.decode(encoder.encode(fields))[0] == list(fields)


def test_what_comes_once_leaves_both_tables_as_they_are() -> None:
    encoder, decoder = Encoder(), hpack.Decoder()
    fields = ((b":method", b"POST"), (b"x-a", b"b"))
    once = ((b"x-request-id", b"1"), (b"authorization", b"secret"), (b"x-key", b"k"))
    before = [decoder.decode(encoder.encode(fields), raw=True) for _ in range(3)][-1]
    entries = list(decoder.header_table.dynamic_entries)
    for _ in range(3):
        found = decoder.decode(encoder.encode(fields) + encoder.once(once, {b"x-key"}), raw=True)
        assert found == [*before, *once]
        assert [field.indexable for field in found[2:]] == [True, False, False]
    assert list(decoder.header_table.dynamic_entries) == entries


def test_resizing_twice_says_the_smallest_and_the_last() -> None:
    encoder = Encoder()
    encoder.resize(0)
    encoder.resize(1000)
    assert encoder.encode([(b":method", b"GET")]) == b"\x20" + length(1000, 0x20, 5) + b"\x82"
    assert encoder.encode([(b":method", b"GET")]) == b"\x82"
    encoder.resize(1 << 20)
    assert encoder.encode([]) == length(TABLE_BYTES, 0x20, 5)
