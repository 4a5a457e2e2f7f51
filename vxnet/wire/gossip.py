"""VXG/1 on the wire: a fixed clear header, then msgpack arrays `[type, ...]`, several a packet.

Decoding is strict and bounded: every number has its range, every string its longest length, and
all of a packet is decoded before any of it is acted upon. A message of a type unknown here is
skipped and fields beyond those known are ignored, so that later versions can add both.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct

from vxnet.errors import UNREADABLE, WireError
from vxnet.wire.rows import (
    U16,
    U32,
    U48,
    U64,
    Address,
    Head,
    Item,
    Name,
    Port,
    Row,
    Scope,
    Text,
    Token,
    check_addresses,
)

__all__ = [
    "BODY_MAX",
    "BUCKETS",
    "DATAGRAM_MAX",
    "HEADER_BYTES",
    "LETTER_MAX",
    "RECORD_MAX",
    "TAG_BYTES",
    "Ack",
    "Alive",
    "Buckets",
    "Compare",
    "Dead",
    "Delta",
    "Done",
    "Fetch",
    "Have",
    "Header",
    "Hello",
    "Left",
    "Letter",
    "Message",
    "Mistaken",
    "More",
    "Nack",
    "Ping",
    "PingReq",
    "Pull",
    "Refused",
    "Relayed",
    "Rows",
    "Snapshot",
    "Suspect",
    "Unknown",
    "Welcome",
    "decode_body",
    "decode_header",
    "encode",
    "encode_header",
    "pack",
    "pack_rows",
    "split_records",
]

DATAGRAM_MAX = 1200
"""Octets of UDP payload: fits an IPv6 packet of 1,280 with room for a tunnel's own headers."""

RECORD_MAX = 65_535
"""Octets of one record on TCP, where a length of two octets goes before it."""

HEADER_BYTES = 28
TAG_BYTES = 16
BODY_MAX = DATAGRAM_MAX - HEADER_BYTES - TAG_BYTES
BUCKETS = 64
LETTER_MAX = 512

MAGIC = 0xE7
WIRE_MAJOR = 1
HEADER = struct.Struct("!BBHIQHIHI")  # boot and counter have 48 bits, in two parts each


class Header(NamedTuple):
    """The first 28 octets of a packet: in clear, and authenticated."""

    flags: int
    key_id: int
    node_id: int
    boot: int  # the sender's epoch when it started
    counter: int  # never used twice within a boot


def encode_header(header: Header) -> bytes:
    """The header's octets."""
    return HEADER.pack(
        MAGIC,
        WIRE_MAJOR,
        header.flags,
        header.key_id,
        header.node_id,
        header.boot >> 32,
        header.boot & 0xFFFFFFFF,
        header.counter >> 32,
        header.counter & 0xFFFFFFFF,
    )


def decode_header(data: bytes) -> Header:
    """Read a packet's header. Raises WireError where it is too short or not of this protocol."""
    if len(data) < HEADER_BYTES + TAG_BYTES:
        raise WireError(
            f"a gossip packet of {len(data)} octets; at least {HEADER_BYTES + TAG_BYTES} are needed"
        )
    magic, major, flags, key_id, node_id, boot, boot_low, counter, low = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise WireError(f"a packet that begins with {magic:#04x} is not gossip")
    if major != WIRE_MAJOR:
        raise WireError(f"gossip of wire version {major}; this host speaks {WIRE_MAJOR}")
    return Header(flags, key_id, node_id, boot << 32 | boot_low, counter << 32 | low)


# ── what travels ──────────────────────────────────────────────────────────────────────────────


class Alive(Struct, array_like=True, frozen=True, gc=False, tag=5):
    """A member as it described itself. Without `ip` its gossip is at its VTEP's address."""

    id: U64
    epoch: U48
    inc: U32
    name: Name
    vtep: Address
    vtep_port: Port
    port: Port
    ip: Address | None = None

    def __post_init__(self) -> None:
        check_addresses(self.vtep, self.ip)


class Ping(Struct, array_like=True, frozen=True, gc=False, tag=1):
    """Are you there? `root` covers the streams both ends hold."""

    seq: U32
    target: U64
    root: U64


class Ack(Struct, array_like=True, frozen=True, gc=False, tag=2):
    """Yes; `root` only where it is not that of the ping."""

    seq: U32
    root: U64 | None = None


class PingReq(Struct, array_like=True, frozen=True, gc=False, tag=3):
    """Ask this one for me."""

    seq: U32
    target: U64
    ip: Address
    port: Port

    def __post_init__(self) -> None:
        check_addresses(self.ip)


class Nack(Struct, array_like=True, frozen=True, gc=False, tag=4):
    """I asked, and heard nothing so far."""

    seq: U32


class Suspect(Struct, array_like=True, frozen=True, gc=False, tag=6):
    """`by` could not reach it."""

    id: U64
    epoch: U48
    inc: U32
    by: U64


class Dead(Struct, array_like=True, frozen=True, gc=False, tag=7):
    """The suspicion ran out."""

    id: U64
    epoch: U48
    inc: U32
    by: U64


class Left(Struct, array_like=True, frozen=True, gc=False, tag=8):
    """It said farewell; this epoch of it never returns."""

    id: U64
    epoch: U48
    inc: U32


class Hello(Struct, array_like=True, frozen=True, gc=False, tag=9):
    """Who I am; let me in, or let us meet again. Padded, so that no answer is larger."""

    token: Token
    alive: Alive
    low: U16
    high: U16
    features: U32
    pad: Annotated[bytes, Meta(max_length=512)] = b""


class Welcome(Struct, array_like=True, frozen=True, gc=False, tag=10):
    """The answer to a hello."""

    token: Token
    alive: Alive
    low: U16
    high: U16
    features: U32


class Refused(Struct, array_like=True, frozen=True, gc=False, tag=11):
    """The other answer to a hello, with a sentence for people."""

    token: Token
    reason: Name
    text: Text


class Rows(Struct, array_like=True, frozen=True, gc=False, tag=12):
    """Rows pushed as they came about: no promise about those between."""

    head: Head
    rows: Annotated[list[Row], Meta(max_length=4096)]


class Delta(Struct, array_like=True, frozen=True, gc=False, tag=13):
    """All that changed in (start, to], ascending; `complete` unless it was cut at its end."""

    head: Head
    start: U48
    to: U48
    complete: bool
    rows: Annotated[list[Row], Meta(max_length=4096)]


class Have(Struct, array_like=True, frozen=True, gc=False, tag=14):
    """How far I hold these streams. `answer`: say where you are ahead."""

    items: Annotated[list[Item], Meta(max_length=4096)]
    answer: bool = False


class Buckets(Struct, array_like=True, frozen=True, gc=False, tag=15):
    """64 hashes of 8 octets over what both hold; `contents` covers rows, not only watermarks."""

    hashes: Annotated[bytes, Meta(min_length=8 * BUCKETS, max_length=8 * BUCKETS)]
    contents: bool = False


class Pull(Struct, array_like=True, frozen=True, gc=False, tag=16):
    """Send me what came after these."""

    items: Annotated[list[Item], Meta(max_length=4096)]


class Snapshot(Struct, array_like=True, frozen=True, gc=False, tag=17):
    """A part of a whole stream as of `to`; staged until the last part, then applied at once."""

    head: Head
    to: U48
    rows: Annotated[list[Row], Meta(max_length=4096)]
    last: bool = True


class Fetch(Struct, array_like=True, frozen=True, gc=False, tag=18):
    """On TCP: send what came after these; with `join` also members and streams not listed."""

    token: Token
    items: Annotated[list[Item], Meta(max_length=4096)]
    last: bool = True
    join: bool = False
    scopes: Annotated[list[Scope], Meta(max_length=4097)] = []


class Done(Struct, array_like=True, frozen=True, gc=False, tag=19):
    """On TCP: that was all."""

    token: Token


class More(Struct, array_like=True, frozen=True, gc=False, tag=20):
    """Too much for datagrams: fetch these over TCP; none listed means everything."""

    items: Annotated[list[Item], Meta(max_length=64)]


class Compare(Struct, array_like=True, frozen=True, gc=False, tag=21):
    """The forced comparison: one hash over the contents of all streams both hold."""

    root: U64


class Mistaken(Struct, array_like=True, frozen=True, gc=False, tag=22):
    """A ping for `target` came to me, and I am not it."""

    seq: U32
    target: U64


class Relayed(Struct, array_like=True, frozen=True, gc=False, tag=23):
    """The member you asked me to ask has answered."""

    seq: U32


class Unknown(Struct, array_like=True, frozen=True, gc=False, tag=24):
    """The one you asked does not know you: say hello."""

    seq: U32


class Letter(Struct, array_like=True, frozen=True, gc=False, tag=25):
    """Something between two hosts that is no gossip: it is told to whom it is sent, and no further.

    It may be lost, and says nothing of who is alive.
    """

    body: Annotated[bytes, Meta(max_length=LETTER_MAX)]


Message = (
    Ping
    | Ack
    | PingReq
    | Nack
    | Alive
    | Suspect
    | Dead
    | Left
    | Hello
    | Welcome
    | Refused
    | Rows
    | Delta
    | Have
    | Buckets
    | Pull
    | Snapshot
    | Fetch
    | Done
    | More
    | Compare
    | Mistaken
    | Relayed
    | Unknown
    | Letter
)

KNOWN_TAGS = frozenset(range(1, 26))
ROWS_PREFIX = b"\x93\x0c"  # an array of three that begins with the type of Rows

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
_all_known = msgspec.msgpack.Decoder(list[Message])
_one_known = msgspec.msgpack.Decoder(Message)
_several = msgspec.msgpack.Decoder(list[Raw])


def array_header(count: int) -> bytes:
    """What msgpack puts before an array of `count` values."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 2**16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def pack(messages: Sequence[bytes]) -> bytes:
    """A packet's body from messages already encoded."""
    return array_header(len(messages)) + b"".join(messages)


def pack_rows(head: bytes, rows: Sequence[bytes]) -> bytes:
    """A Rows message from a head and rows already encoded."""
    return b"".join((ROWS_PREFIX, head, array_header(len(rows)), *rows))


def decode_body(body: bytes) -> list[Message]:
    """Read all messages of a packet. Raises WireError if one of a known type is malformed."""
    try:
        return _all_known.decode(body)
    except UNREADABLE:
        return _decode_known(body)


def _decode_known(body: bytes) -> list[Message]:
    """The slow way, for packets that hold something of a later version, or nonsense."""
    try:
        raws = [bytes(raw) for raw in _several.decode(body)]
        return [_one_known.decode(raw) for raw in raws if _tag(raw) in KNOWN_TAGS]
    except UNREADABLE as error:
        raise WireError(f"a gossip packet that does not decode: {error}") from None
    except RecursionError:
        raise WireError("a gossip packet nested deeper than any message is") from None


def _tag(raw: bytes) -> int:
    """A message's type. Raises WireError unless it is an array that begins with a small number."""
    first = raw[0]
    if 0x91 <= first <= 0x9F:
        at = 1
    elif first == 0xDC:
        at = 3
    elif first == 0xDD:
        at = 5
    else:
        raise WireError(f"a gossip message that begins with {first:#04x} is no array")
    if len(raw) <= at or raw[at] > 0x7F:
        raise WireError("a gossip message without a type")
    return raw[at]


def split_records(buffer: bytearray) -> Iterable[bytes]:
    """Take whole records (a length of two octets, then a packet) off the front of a buffer."""
    while len(buffer) >= 2:
        size = int.from_bytes(buffer[:2], "big")
        if len(buffer) < 2 + size:
            return
        record = bytes(buffer[2 : 2 + size])
        del buffer[: 2 + size]
        yield record
