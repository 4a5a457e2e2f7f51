"""pcapng: frames in a file that Wireshark and tshark read, each with a comment.

The format is draft-ietf-opsawg-pcapng's. A file is a section header, then for each interface a
description, then packets. Everything is little-endian; times are nanoseconds.
"""

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct
from typing import Final

from vxnet.wire.ethernet import Buffer

__all__ = ["Direction", "interface", "packet", "section"]

_SECTION, _INTERFACE, _ENHANCED_PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER: Final = 0x1A2B3C4D
_ETHERNET: Final = 1  # LINKTYPE_ETHERNET
_WHOLE_SECTION: Final = 0xFFFF_FFFF_FFFF_FFFF  # its length is not known while it is written

_END, _COMMENT = 0, 1
_SHB_USER_APPLICATION: Final = 4
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL = 2, 3, 9
_EPB_FLAGS, _EPB_DROPCOUNT = 2, 4
_NANOSECONDS: Final = bytes((9,))

_LENGTH = Struct("<I")
_BLOCK = Struct("<II")
_OPTION = Struct("<HH")
_SECTION_BODY = Struct("<IHHQ")
_INTERFACE_BODY = Struct("<HHI")
_PACKET_BODY = Struct("<IIIII")
_FLAGS = Struct("<I")
_COUNT = Struct("<Q")

_TEXT_MAX: Final = 65_535


class Direction(IntEnum):
    """Which way a packet went at its interface."""

    UNKNOWN = 0
    INBOUND = 1
    OUTBOUND = 2


def section(application: str) -> bytes:
    """The beginning of a file, and who wrote it."""
    body = _SECTION_BODY.pack(_BYTE_ORDER, 1, 0, _WHOLE_SECTION)
    return _block(_SECTION, body, [(_SHB_USER_APPLICATION, _text(application))])


def interface(name: str, description: str, snap: int) -> bytes:
    """An interface; packets name it by its position in the file, from 0."""
    options = [
        (_IF_NAME, _text(name)),
        (_IF_DESCRIPTION, _text(description)),
        (_IF_TSRESOL, _NANOSECONDS),
    ]
    return _block(_INTERFACE, _INTERFACE_BODY.pack(_ETHERNET, 0, snap), options)


def packet(
    number: int,
    at_ns: int,
    octets: Buffer,
    length: int,
    *,
    comment: str = "",
    direction: Direction = Direction.UNKNOWN,
    missed: int = 0,
) -> bytes:
    """A packet of interface `number`: its first octets, and how long it was."""
    head = _PACKET_BODY.pack(number, at_ns >> 32, at_ns & 0xFFFF_FFFF, len(octets), length)
    options = [(_EPB_FLAGS, _FLAGS.pack(direction))]
    if comment:
        options.insert(0, (_COMMENT, _text(comment)))
    if missed:
        options.append((_EPB_DROPCOUNT, _COUNT.pack(missed)))
    return _block(_ENHANCED_PACKET, head + _padded(bytes(octets)), options)


def _block(kind: int, body: bytes, options: Iterable[tuple[int, bytes]]) -> bytes:
    parts = [body]
    parts += [_OPTION.pack(code, len(value)) + _padded(value) for code, value in options]
    parts.append(_OPTION.pack(_END, 0))
    inside = b"".join(parts)
    length = _BLOCK.size + len(inside) + _LENGTH.size
    return _BLOCK.pack(kind, length) + inside + _LENGTH.pack(length)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)


def _text(text: str) -> bytes:
    return text.encode(errors="replace")[:_TEXT_MAX]
