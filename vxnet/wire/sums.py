"""Sums for the Internet checksum (RFC 1071) of many packets in one numpy step.

They are of little-endian words: RFC 1071 §2 (B) lets a checksum be computed in either order and
written back in the same, and that is how memory is read fastest.
"""

import numpy as np
from numpy.typing import NDArray

from vxnet.wire.ethernet import Buffer

__all__ = ["Octets", "row_sums", "sum_of_all"]

Octets = NDArray[np.uint8]


def sum_of_all(octets: Buffer) -> int:
    """The sum of little-endian words of many octets, not reduced."""
    return int(row_sums(np.frombuffer(octets, np.uint8).reshape(1, len(octets)))[0])


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
