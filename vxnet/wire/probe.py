"""What hosts say to each other to find out about the way between them: VXP/1.

The same messages go as letters of the gossip (authentic where gossip has a key) and in Ethernet
frames of a network that only hosts are in (which anybody on the underlay can forge, so nothing is
believed of them but that they arrived).
"""

import struct
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from vxnet.errors import UNREADABLE, WireError
from vxnet.wire.addr import Mac
from vxnet.wire.ethernet import Buffer
from vxnet.wire.rows import U16, U32, U64

__all__ = [
    "ETHERTYPE",
    "FRAME_MIN",
    "MARK_BYTES",
    "Answer",
    "Ask",
    "Seen",
    "Watch",
    "decode",
    "decode_frame",
    "encode",
    "encode_frame",
    "mac_of",
]

ETHERTYPE: Final = 0x88B5
"""IEEE 802: for local experiments."""

MAGIC: Final = b"VXP1"
MARK_BYTES: Final = 16
_HEAD = struct.Struct("!6s6sH4sH")
FRAME_MIN: Final = 128
"""Octets of a frame that has room for every message that travels in one."""

Mark = Annotated[bytes, Meta(min_length=MARK_BYTES, max_length=MARK_BYTES)]
Word = Annotated[str, Meta(max_length=128)]


class Ask(Struct, array_like=True, frozen=True, tag=1):
    """Did this arrive? `size` is that of its frame, or 0 for a letter."""

    token: U64
    size: U16


class Answer(Struct, array_like=True, frozen=True, tag=2):
    """It did, at this Unix time in nanoseconds by the answering host's clock."""

    token: U64
    size: U16
    wall_ns: U64


class Watch(Struct, array_like=True, frozen=True, tag=3):
    """Tell me what becomes of a frame of this network that carries this mark. Only as a letter."""

    token: U64
    vni: U32
    mark: Mark


class Seen(Struct, array_like=True, frozen=True, tag=4):
    """A marked frame met its end here. Without a verb: I am looking out for it."""

    token: U64
    verb: Word
    reason: Word
    target: Word
    source: Word
    at_ns: U64


Message = Ask | Answer | Watch | Seen

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """A letter's body."""
    return _encoder.encode(message)


def decode(body: Buffer) -> Message:
    """Read a letter's body. Raises WireError."""
    try:
        message: Message = _decoder.decode(body)
    except UNREADABLE as error:
        raise WireError(f"a probe that cannot be read: {error}") from None
    return message


def encode_frame(message: Ask | Answer, source: Mac, target: Mac, size: int) -> bytes:
    """The same in an Ethernet frame of `size` octets, at least FRAME_MIN."""
    body = _encoder.encode(message)
    frame = _HEAD.pack(target, source, ETHERTYPE, MAGIC, len(body)) + body
    return frame + bytes(size - len(frame))


def decode_frame(frame: Buffer) -> tuple[Mac, Ask | Answer]:
    """Read such a frame: its sender and what it says. Raises WireError."""
    if len(frame) < _HEAD.size:
        raise WireError(f"a frame of {len(frame)} octets is no probe")
    _, source, ethertype, magic, length = _HEAD.unpack_from(frame)
    if ethertype != ETHERTYPE or magic != MAGIC or length > len(frame) - _HEAD.size:
        raise WireError("a frame that is no probe")
    message = decode(bytes(frame[_HEAD.size : _HEAD.size + length]))
    if not isinstance(message, Ask | Answer):
        raise WireError("a message that travels in letters only, in a frame")
    return Mac(source), message


def mac_of(node_id: int) -> Mac:
    """The station that a host is among hosts: locally administered, from its id."""
    return Mac(b"\x06" + (node_id & 0xFF_FFFF_FFFF).to_bytes(5, "big"))
