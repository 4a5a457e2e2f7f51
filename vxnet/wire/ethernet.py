"""The Ethernet header: who, from whom, and what it carries (IEEE 802.3, 802.1Q)."""

from enum import IntEnum
from struct import Struct, error
from typing import TypeAlias

from vxnet.errors import WireError

__all__ = [
    "HEADER",
    "HEADER_BYTES",
    "TAG_BYTES",
    "VLAN_ETHERTYPES",
    "Buffer",
    "Ethertype",
    "build",
    "parse",
    "payload",
]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What every codec of this package reads: octets, addressed by offset, never copied whole."""

HEADER = Struct("!6s6sH")
"""Destination, source, ethertype. Hot paths unpack it themselves."""

HEADER_BYTES = 14
TAG_BYTES = 4
_TAGS_MAX = 4  # more tags than any sane network stacks; bounds the walk


class Ethertype(IntEnum):
    """What follows the header."""

    IPV4 = 0x0800
    ARP = 0x0806
    VLAN = 0x8100
    IPV6 = 0x86DD
    QINQ = 0x88A8


VLAN_ETHERTYPES = frozenset({0x8100, 0x88A8})
"""802.1Q and 802.1ad: four octets of tag come before the true ethertype."""

_ETHERTYPE = Struct("!H")


def parse(frame: Buffer) -> tuple[bytes, bytes, int]:
    """Destination, source and the ethertype right behind them. Raises WireError when short."""
    try:
        return HEADER.unpack_from(frame)
    except error:
        raise WireError(
            f"Ethernet frame of {len(frame)} octets, at least {HEADER_BYTES} are needed"
        ) from None


def payload(frame: Buffer) -> tuple[int, int]:
    """The ethertype behind all VLAN tags, and the offset of what it describes.

    Raises WireError for a frame that ends within its header, or has more tags than four.
    """
    offset = HEADER_BYTES - 2
    try:
        for _ in range(_TAGS_MAX + 1):
            (ethertype,) = _ETHERTYPE.unpack_from(frame, offset)
            if ethertype not in VLAN_ETHERTYPES:
                return ethertype, offset + 2
            offset += TAG_BYTES
    except error:
        raise WireError(
            f"Ethernet frame of {len(frame)} octets ends within its header, "
            f"at least {offset + 2} are needed"
        ) from None
    raise WireError(f"Ethernet frame with more than {_TAGS_MAX} VLAN tags")


def build(destination: bytes, source: bytes, ethertype: int) -> bytes:
    """The 14 octets of a header."""
    return HEADER.pack(destination, source, ethertype)
