"""The Internet checksum (RFC 1071) of one packet.

Sums are kept modulo 65535, which is what ones' complement addition of 16-bit words is, so they may
be added, subtracted and reduced in any order. They are sums of big-endian words, but where it says
otherwise.
"""

from struct import pack_into

from vxnet.errors import WireError
from vxnet.wire.ethernet import Buffer

__all__ = [
    "MODULUS",
    "checksum",
    "complete",
    "is_valid",
    "little_endian_sum",
    "total",
    "update",
]

MODULUS = 0xFFFF

# A big integer's remainder costs less than numpy's fixed price up to about this size (measured).
_SMALL_BYTES = 2048


def total(octets: Buffer) -> int:
    """The sum of the octets as big-endian words, modulo 65535; an odd last octet gets a zero."""
    size = len(octets)
    if size <= _SMALL_BYTES:
        value = int.from_bytes(octets, "big") << ((size & 1) * 8)
        return value % MODULUS
    # Here, so that hosts with the native datapath do not hold the 11 MB of numpy.
    from vxnet.wire.sums import sum_of_all

    swapped = sum_of_all(octets)
    return (swapped << 8) % MODULUS  # a word times 256 is the word with its octets exchanged


def little_endian_sum(octets: Buffer) -> int:
    """As `total`, of little-endian words: what `row_sums` gives may be compared with it."""
    return int.from_bytes(octets, "little") % MODULUS


def checksum(octets: Buffer, start: int = 0) -> int:
    """What to write into the checksum field of `octets` (where it is 0 now).

    `start` is a sum to include, such as a pseudo-header's. UDP writes 0xFFFF where this is 0.
    """
    return -(total(octets) + start) % MODULUS


def is_valid(octets: Buffer, start: int = 0) -> bool:
    """Whether the checksum within `octets` is right, `start` included."""
    return (total(octets) + start) % MODULUS == 0


def complete(frame: bytearray | memoryview, start: int, offset: int) -> None:
    """Write the checksum a sender left to us (VIRTIO_NET_HDR_F_NEEDS_CSUM).

    The field at `start + offset` holds the pseudo-header's sum already; what is covered goes from
    `start` to the frame's end. Raises WireError where the field is not within the frame.
    """
    if start + offset + 2 > len(frame):
        raise WireError(
            f"a checksum is asked for at octet {start + offset} of a frame of {len(frame)}"
        )
    # 0 would mean "none" in UDP; 0xFFFF is the same sum, for every protocol (RFC 768).
    pack_into("!H", frame, start + offset, -total(frame[start:]) % MODULUS or MODULUS)


def update(field: int, old: int, new: int) -> int:
    """A checksum field after one 16-bit word that it covers changed (RFC 1624 §3, eqn. 3)."""
    value = (field ^ MODULUS) + (old ^ MODULUS) + new
    value = (value & MODULUS) + (value >> 16)
    return ((value & MODULUS) + (value >> 16)) ^ MODULUS
