"""The Internet checksum (RFC 1071): of one packet, and of many packets in one numpy step.

Sums are kept modulo 65535, which is what ones' complement addition of 16-bit words is, so they may
be added, subtracted and reduced in any order. Scalars are sums of big-endian words; `row_sums` adds
little-endian words, because RFC 1071 §2 (B) lets a checksum be computed in either order and written
back in the same, and that is how memory is read fastest.
"""

from struct import pack_into

import numpy as np
from numpy.typing import NDArray

from vxnet.errors import WireError
from vxnet.wire.ethernet import Buffer

__all__ = [
    "MODULUS",
    "Octets",
    "checksum",
    "complete",
    "is_valid",
    "little_endian_sum",
    "row_sums",
    "total",
    "update",
]

MODULUS = 0xFFFF

Octets = NDArray[np.uint8]

# A big integer's remainder costs less than numpy's fixed price up to about this size (measured).
_SMALL_BYTES = 2048


def total(octets: Buffer) -> int:
    """The sum of the octets as big-endian words, modulo 65535; an odd last octet gets a zero."""
    size = len(octets)
    if size <= _SMALL_BYTES:
        value = int.from_bytes(octets, "big") << ((size & 1) * 8)
        return value % MODULUS
    swapped = int(row_sums(np.frombuffer(octets, np.uint8).reshape(1, size))[0])
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


def row_sums(rows: Octets) -> NDArray[np.int64]:
    """The sum of each row's little-endian words: not reduced, never negative, below 2**47.

    Rows are at most 128 KiB wide; those of a multiple of four octets are read fastest.
    """
    width = rows.shape[1]
    even = width & ~1
    sums: NDArray[np.int64]
    if width % 4 == 0:
        sums = np.add.reduce(rows.view("<u4"), axis=1, dtype=np.int64)
    else:
        # 32 bits hold the sum of 65,536 words, and are summed faster than 64.
        words = rows[:, :even].view("<u2")
        sums = np.add.reduce(words, axis=1, dtype=np.uint32).astype(np.int64)
    if even != width:
        sums += rows[:, even]
    return sums
