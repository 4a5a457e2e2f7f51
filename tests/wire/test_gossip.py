"""Gossip's packets are read as they were written, and whatever else arrives is refused."""

import struct
import tracemalloc
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.gossip_messages import BRIEF, MESSAGES, messages, values
from vxnet.errors import WireError
from vxnet.wire.gossip import (
    BODY_MAX,
    BUCKETS,
    DATAGRAM_MAX,
    HEADER_BYTES,
    KNOWN_TAGS,
    RECORD_MAX,
    TAG_BYTES,
    Ack,
    Alive,
    Buckets,
    Fetch,
    Have,
    Header,
    Hello,
    Ping,
    PingReq,
    Refused,
    Rows,
    decode_body,
    decode_header,
    encode,
    encode_header,
    pack,
    pack_rows,
    split_records,
)
from vxnet.wire.rows import (
    AttachBody,
    EntryBody,
    Head,
    Item,
    NodeBody,
    Row,
    decode_row_body,
)

BODIES = (NodeBody, AttachBody, EntryBody)
HEAD = Head(1, 2, 3, 4, 5, 0, 1, 6)
V4, V6 = b"\x0a\0\0\1", bytes(15) + b"\1"


# ── messages ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@BRIEF
@given(data=st.data())
def test_a_message_is_read_as_it_was_written(kind: type, data: st.DataObject) -> None:
    message = data.draw(values(kind))
    assert decode_body(pack([encode(message)])) == [message]


@BRIEF
@given(st.lists(messages(), max_size=12))
def test_messages_share_a_packet_and_keep_their_order(sent: list[Any]) -> None:
    assert decode_body(pack([encode(message) for message in sent])) == sent


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.__name__)
@BRIEF
@given(data=st.data())
def test_what_a_row_holds_is_read_as_it_was_written(kind: type, data: st.DataObject) -> None:
    body = data.draw(values(kind))
    assert decode_row_body(encode(body), kind) == body


@given(values(Head), st.lists(values(Row), max_size=20))
def test_rows_encoded_once_make_the_same_message(head: Head, rows: list[Row]) -> None:
    packed = pack_rows(encode(head), [encode(row) for row in rows])
    assert packed == encode(Rows(head, rows))


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_a_packet_holds_any_number_of_messages(count: int) -> None:
    assert decode_body(pack([encode(Ack(1, 2))] * count)) == [Ack(1, 2)] * count


def test_no_two_messages_have_one_type() -> None:
    tags = [kind.__struct_config__.tag for kind in MESSAGES]
    assert len(set(tags)) == len(tags)
    assert set(tags) == KNOWN_TAGS


# ── later versions ────────────────────────────────────────────────────────────────────────────


@given(
    st.integers(0, 127).filter(lambda tag: tag not in KNOWN_TAGS),
    st.lists(st.integers() | st.text() | st.binary(), max_size=20).map(
        lambda fields: [f for f in fields if not isinstance(f, int) or 0 <= f < 2**64]
    ),
)
def test_a_message_of_an_unknown_type_is_skipped_and_the_others_are_not(
    tag: int, fields: list[Any]
) -> None:
    unknown = msgspec.msgpack.encode([tag, *fields])
    known = encode(Ping(1, 2, 3))
    assert decode_body(pack([known, unknown, known])) == [Ping(1, 2, 3)] * 2


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@BRIEF
@given(data=st.data())
def test_fields_appended_by_a_later_version_are_ignored(kind: type, data: st.DataObject) -> None:
    message = data.draw(values(kind))
    longer = msgspec.msgpack.encode(
        [*msgspec.msgpack.decode(encode(_full(message))), "more", {"of": [1]}]
    )
    assert decode_body(pack([longer])) == [message]


def _full(message: Any) -> Any:
    """The message; msgspec writes all fields of an array, so that what is appended comes after."""
    assert len(msgspec.msgpack.decode(encode(message))) == len(message.__struct_fields__) + 1
    return message


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\x05", "no array"),
        (b"\x80", "no array"),
        (b"\xa1x", "no array"),
        (b"\x90", "no array"),
        (b"\xdc\x00\x00", "without a type"),
        (b"\x91\xa1x", "without a type"),
        (b"\x91\xcd\x01\x00", "without a type"),
    ],
)
def test_what_is_no_message_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        decode_body(pack([raw]))


def test_a_malformed_message_of_a_known_type_is_refused_with_all_that_came_with_it() -> None:
    with pytest.raises(WireError, match="does not decode"):
        decode_body(pack([encode(Ack(1, 2)), msgspec.msgpack.encode([99]), b"\x92\x01\xa1x"]))


# ── bounds ────────────────────────────────────────────────────────────────────────────────────

ALIVE = (7, 1, 0, "n", V4, 4789, 7947)


@pytest.mark.parametrize(
    "fields",
    [
        [1, 2**32, 1, 1],  # a number too large
        [1, -1, 1, 1],
        [5, 7, 2**48, 0, "n", V4, 4789, 7947],  # an epoch of more than 48 bits
        [5, 7, 1, 0, "n" * 65, V4, 4789, 7947],  # a name too long
        [5, 7, 1, 0, "n", V4[:3], 4789, 7947],  # addresses that are neither IPv4 nor IPv6
        [5, 7, 1, 0, "n", V4 + b"\0", 4789, 7947],
        [5, 7, 1, 0, "n", V6[:15], 4789, 7947],
        [5, 7, 1, 0, "n", V6 + b"\0", 4789, 7947],
        [5, 7, 1, 0, "n", V4, 4789, 7947, bytes(8)],
        [5, 7, 1, 0, "n", V4, 0, 7947],  # ports that nobody has
        [5, 7, 1, 0, "n", V4, 4789, 0],
        [5, 7, 1, 0, "n", V4, 65_536, 7947],
        [3, 1, 7, bytes(5), 7947],
        [3, 1, 7, V4, 0],
        [9, b"short", [5, *ALIVE], 1, 1, 0],  # a token too short
        [9, bytes(8), [5, *ALIVE], 1, 1, 0, bytes(513)],
        [11, bytes(8), "r", "x" * 201],
        [12, list(msgspec.structs.astuple(HEAD)), [[256, b"", 1]]],  # a kind of row too large
        [12, list(msgspec.structs.astuple(HEAD)), [[1, bytes(65), 1]]],
        [12, list(msgspec.structs.astuple(HEAD)), [[1, b"", 1, bytes(961)]]],
        [12, [1, 2, 2**24 + 1, 4, 5, 0, 1, 6], []],  # a scope beyond the last VNI's
        [14, [[1, 2, 3, 4, 5]] * 4097],  # too many of something
        [15, bytes(8 * BUCKETS - 1)],
        [15, bytes(8 * BUCKETS + 1)],
        [20, [[1, 2, 3, 4, 5]] * 65],
    ],
    ids=repr,
)
def test_a_value_out_of_its_range_is_refused(fields: list[Any]) -> None:
    with pytest.raises(WireError):
        decode_body(pack([msgspec.msgpack.encode(fields)]))


@pytest.mark.parametrize(
    "body",
    [
        [0, 0, [b"12345"]],
        [0, 0, [V4] * 9],
        [0, 0, [], b"123456789", 4789],
        [0, 0, [], V4, 0],
        [256, 0, []],
        {},
        "text",
    ],
    ids=repr,
)
def test_an_entry_out_of_its_range_is_refused(body: object) -> None:
    with pytest.raises(WireError, match="EntryBody"):
        decode_row_body(msgspec.msgpack.encode(body), EntryBody)


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff",  # four thousand million messages, it says
        b"\x91\xdd\xff\xff\xff\xff\x0c",  # or fields
        b"\x91\xdd\xff\xff\xff\xff\x70",  # of a type nobody knows
        b"\x91\x92\x0f\xc6\xff\xff\xff\xff",  # or octets
        b"\x91\x92\x70\xdb\xff\xff\xff\xff",
        b"\x91\x92\x0e\xdd\xff\xff\xff\xff",
        b"\x91\x92\x70\xdf\xff\xff\xff\xff",
        b"\x91" * 1150,
        b"\x91\x92\x70" + b"\x91" * 1150,
        b"\x91\x92\x70" + b"\x81\x01" * 570,
    ],
    ids=lambda body: body[:8].hex(),
)
def test_a_packet_that_claims_to_be_huge_costs_nothing(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decode_body(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100_000


def test_the_largest_datagram_decodes_to_little_more_than_itself() -> None:
    body = pack([encode(Ack(1, 2))] * ((BODY_MAX - 3) // 4))
    assert len(body) <= BODY_MAX
    tracemalloc.start()
    try:
        read = decode_body(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(read) == (BODY_MAX - 3) // 4
    assert most < 64 * DATAGRAM_MAX


# ── nonsense ──────────────────────────────────────────────────────────────────────────────────


@given(st.binary(max_size=DATAGRAM_MAX))
def test_any_octets_are_messages_or_refused(data: bytes) -> None:
    with suppress(WireError):
        assert all(isinstance(message, MESSAGES) for message in decode_body(data))


@given(st.lists(messages(), min_size=1, max_size=6), st.data())
def test_a_packet_with_an_octet_changed_is_refused_or_valid(
    sent: list[Any], data: st.DataObject
) -> None:
    body = bytearray(pack([encode(message) for message in sent]))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    with suppress(WireError):
        read = decode_body(bytes(body))
        assert decode_body(pack([encode(message) for message in read])) == read


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@BRIEF
@given(data=st.data())
def test_a_packet_cut_short_is_refused(kind: type, data: st.DataObject) -> None:
    body = pack([encode(data.draw(values(kind)))])
    at = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(WireError):
        decode_body(body[:at])


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.__name__)
@BRIEF
@given(data=st.data())
def test_a_row_with_nonsense_is_refused_or_valid(kind: type, data: st.DataObject) -> None:
    octets = data.draw(st.binary(max_size=200))
    with suppress(WireError):
        body = decode_row_body(octets, kind)
        assert decode_row_body(encode(body), kind) == body


# ── the header ────────────────────────────────────────────────────────────────────────────────

SMALLEST = HEADER_BYTES + TAG_BYTES


@given(
    st.builds(
        Header,
        flags=st.integers(0, 2**16 - 1),
        key_id=st.integers(0, 2**32 - 1),
        node_id=st.integers(0, 2**64 - 1),
        boot=st.integers(0, 2**48 - 1),
        counter=st.integers(0, 2**48 - 1),
    )
)
def test_a_header_is_read_as_it_was_written(header: Header) -> None:
    data = encode_header(header)
    assert len(data) == HEADER_BYTES == 28
    assert decode_header(data + bytes(TAG_BYTES)) == header


def test_the_header_has_its_fields_where_the_protocol_says() -> None:
    data = encode_header(Header(2, 3, 4, 5, 6))
    assert struct.unpack("!BBHIQ", data[:16]) == (0xE7, 1, 2, 3, 4)
    assert int.from_bytes(data[16:22], "big") == 5
    assert int.from_bytes(data[22:], "big") == 6


@pytest.mark.parametrize("size", range(SMALLEST))
def test_a_packet_shorter_than_header_and_tag_is_refused(size: int) -> None:
    with pytest.raises(WireError, match=f"of {size} octets; at least {SMALLEST}"):
        decode_header(encode_header(Header(0, 0, 1, 1, 1)).ljust(SMALLEST)[:size])


def test_a_packet_of_another_protocol_or_version_is_refused_by_name() -> None:
    data = encode_header(Header(0, 0, 1, 1, 1)) + bytes(TAG_BYTES)
    with pytest.raises(WireError, match="begins with 0x08 is not gossip"):
        decode_header(b"\x08" + data[1:])
    with pytest.raises(WireError, match="version 2; this host speaks 1"):
        decode_header(data[:1] + b"\x02" + data[2:])


# ── records ───────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 64))
def test_records_come_out_whole_however_their_octets_arrive(
    records: list[bytes], step: int
) -> None:
    data = b"".join(len(record).to_bytes(2, "big") + record for record in records)
    buffer, found = bytearray(), []
    for at in range(0, len(data), step):
        buffer += data[at : at + step]
        found += split_records(buffer)
    assert found == records
    assert not buffer


def test_a_record_that_is_not_all_there_waits() -> None:
    buffer = bytearray(b"\xff\xff" + bytes(RECORD_MAX - 1))
    assert list(split_records(buffer)) == []
    assert len(buffer) == RECORD_MAX + 1
    buffer += b"\0"
    assert list(split_records(buffer)) == [bytes(RECORD_MAX)]


# ── sizes that the protocol counts on ─────────────────────────────────────────────────────────


def test_a_hello_is_larger_than_any_answer_to_it() -> None:
    alive = Alive(2**63, 2**47, 9, "n" * 64, V6, 4789, 7947, V6)
    hello = encode(Hello(bytes(8), Alive(1, 2**47, 0, "n", V4, 1, 1), 1, 1, 0, bytes(160)))
    assert len(encode(Refused(bytes(8), "duplicate_name", "x" * 160))) < len(hello)
    assert len(encode(alive)) < len(hello)


def test_an_advert_is_small() -> None:
    item = Item(2**63, 2**47, 2**24, 3, 100_000)
    assert len(encode(Have([item]))) <= 40


def test_the_bucket_hashes_fit_a_datagram_with_room_for_news() -> None:
    assert len(encode(Buckets(bytes(8 * BUCKETS)))) < BODY_MAX // 2


def test_a_request_lists_scopes_for_every_network_an_owner_may_have() -> None:
    fetch = Fetch(bytes(8), [], True, True, list(range(4097)))
    assert decode_body(pack([encode(fetch)])) == [fetch]


def test_a_ping_request_names_whom_and_where() -> None:
    request = PingReq(1, 2, V6, 7947)
    assert decode_body(pack([encode(request)])) == [request]
