"""The header fields of many frames at once, as numpy columns.

Frames are rows of octets; a structured dtype names the fields, so that reading or assigning one in
all rows is one step (a fifth of what slicing and viewing the octets costs).
"""

from functools import lru_cache
from struct import pack_into

import numpy as np
from numpy.typing import NDArray

from vxnet.wire.checksum import little_endian_sum
from vxnet.wire.ip import IPV6_BYTES, Protocol
from vxnet.wire.sums import Octets

__all__ = ["STEPS", "Columns", "columns", "uncovered_sum"]

Columns = NDArray[np.void]
"""One record a row, with the fields `columns` names."""

STEPS = np.arange(65_536)
"""0, 1, 2, …: what numbers of consecutive frames differ by."""

_KINDS_MAX = 512  # kinds of frames whose layout is kept; there is one for each size of frame

# RFC 791 §3.1, RFC 8200 §3.
_NETWORK = {
    4: {"length": (2, ">u2"), "number": (4, ">u2"), "header_sum": (10, ">u2")},
    6: {"length": (4, ">u2")},
}
# RFC 9293 §3.1, RFC 768. Checksums are little-endian, as `sums.row_sums` gives them.
_TRANSPORT = {
    Protocol.TCP: {
        "sequence": (4, ">u4"),
        "flags": (13, "u1"),
        "sum": (16, "<u2"),
        "urgent": (18, ">u2"),
    },
    Protocol.UDP: {"udp_length": (4, ">u2"), "sum": (6, "<u2")},
}


def columns(rows: Octets, version: int, protocol: int, network: int, transport: int) -> Columns:
    """The fields of rows that all have these headers at these offsets.

    `length` is what the IP header says, `number` IPv4's identification, `header_sum` its checksum;
    then `sequence`, `flags`, `urgent`, or `udp_length`; `sum` is the TCP or UDP checksum.
    """
    fields: Columns = rows.view(_record(version, protocol, network, transport, rows.shape[1]))
    return fields[:, 0]


def uncovered_sum(
    head: bytes | bytearray, version: int, protocol: int, network: int, transport: int, length: int
) -> int:
    """What a row's sum has too much for its TCP or UDP checksum, and lacks, in one number.

    Too much is all that precedes the transport header (where IPv4's own checksum is right, its
    header sums to 0); lacking is the pseudo-header. `head` is the row up to the transport header,
    and `length` of its IP packet.
    """
    if version == 4:
        outside = little_endian_sum(head[:network])
        addresses = head[network + 12 : network + 20]
    else:
        head = bytearray(head[:transport])
        pack_into("!H", head, network + 4, length - IPV6_BYTES)
        outside = little_endian_sum(head)
        addresses = head[network + 8 : network + 40]
    size = length - (transport - network)
    return outside - little_endian_sum(addresses + bytes((0, protocol)) + size.to_bytes(2, "big"))


@lru_cache(_KINDS_MAX)
def _record(
    version: int, protocol: int, network: int, transport: int, width: int
) -> np.dtype[np.void]:
    places = {name: (network + at, kind) for name, (at, kind) in _NETWORK[version].items()} | {
        name: (transport + at, kind) for name, (at, kind) in _TRANSPORT[Protocol(protocol)].items()
    }
    return np.dtype(
        {
            "names": list(places),
            "formats": [kind for _, kind in places.values()],
            "offsets": [at for at, _ in places.values()],
            "itemsize": width,
        }
    )
