"""Joining consecutive segments of a flow into one super-frame (GRO), all in a few numpy steps.

The frames lie one behind the other, `stride` octets apart, as UDP_GRO hands them over. What may be
joined is what the kernel's own GRO joins, and what `segment.cut` would cut into the same frames
again: headers equal but for lengths, IP identification, sequence number and checksums; no gap;
every checksum right; at least one octet of payload; all of one size but the last. PSH and FIN end
a super-frame; a SYN, RST, URG or CWR, a fragment, IP options, extension headers and VLAN tags stay
alone.
"""

from functools import cache
from struct import Struct, pack_into
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vxnet.wire import ip
from vxnet.wire.checksum import MODULUS, Octets, checksum, little_endian_sum, row_sums, total
from vxnet.wire.ethernet import HEADER_BYTES, Ethertype
from vxnet.wire.ip import Protocol
from vxnet.wire.transport import TCP_BYTES, UDP_BYTES, TcpFlag
from vxnet.wire.virtio import HEADER as VNET
from vxnet.wire.virtio import HEADER_BYTES as VNET_BYTES
from vxnet.wire.virtio import Flag, Gso

__all__ = ["Run", "join", "runs"]

_IPV4 = Struct("!12xHBxHHHxB")  # ethertype, version and IHL, length, identification, fragment, ..
_IPV6 = Struct("!12xHB3xHB")  # ethertype, version, payload length, next header
_TCP = Struct("!12xBB")  # data offset, control bits
_ETHERTYPE_IPV4, _ETHERTYPE_IPV6 = int(Ethertype.IPV4), int(Ethertype.IPV6)
_TCP_PROTOCOL, _UDP_PROTOCOL = int(Protocol.TCP), int(Protocol.UDP)

_DONT_FRAGMENT = 0x4000
_JOINABLE = int(TcpFlag.ACK | TcpFlag.PSH | TcpFlag.FIN | TcpFlag.ECE)
_LAST = int(TcpFlag.PSH | TcpFlag.FIN)

_SEQUENCE, _FLAGS, _TCP_CHECKSUM = 4, 13, 16  # where they are in the TCP header
_UDP_LENGTH, _UDP_CHECKSUM = 4, 6
_IP_MOST = 0xFFFF  # octets in an IP packet
_UDP_MOST = 64  # datagrams in a super-frame: what every kernel with USO takes


class Shape(NamedTuple):
    """Where things are in all frames of a run, from a frame's first octet."""

    version: int
    protocol: int
    transport: int
    end: int  # of the headers
    consecutive_id: bool  # IPv4 without DF: the identification has to count up


class Run(NamedTuple):
    """Neighbours that make one super-frame; a frame that stays alone is a run of one."""

    first: int
    frames: int
    shape: Shape | None  # None for a frame that stays alone


def runs(rows: Octets, last: int, skip: int, *, udp: bool) -> list[Run]:
    """Which neighbours may be joined, all frames in their order.

    `rows` has a frame a row behind `skip` octets that must be equal too (an even number; the VXLAN
    header); the last row holds `last` octets, and what is behind them in it is overwritten. UDP
    datagrams are joined where `udp` says that the receiver takes USO.
    """
    rows[-1, last:] = 0  # adds nothing to the row's sum
    found: list[Run] = []
    first, count = 0, len(rows)
    widths = np.full(count, rows.shape[1])
    widths[-1] = last
    while first < count:
        length, shape = 1, None
        if first + 1 < count and _alike(rows, first, skip):
            shape = _shape(rows[first, skip:].data, udp=udp)
            if shape is not None:
                ahead = first + _most(shape, rows.shape[1] - skip)
                length = _length(rows[first:ahead], widths[first:ahead], skip, shape)
        found.append(Run(first, length, shape if length > 1 else None))
        first += length
    return found


def _alike(rows: Octets, first: int, skip: int) -> bool:
    """Whether the next frame has the same MACs and ethertype: spares mixed batches a long look."""
    glance = slice(skip, skip + HEADER_BYTES)
    return rows[first, glance].tobytes() == rows[first + 1, glance].tobytes()


def _shape(frame: memoryview, *, udp: bool) -> Shape | None:
    """What kind of joinable frame this is, if any: of full width, and well-formed."""
    if len(frame) < HEADER_BYTES + ip.IPV6_BYTES:
        return None
    ethertype, version, length, _, fragment, protocol = _IPV4.unpack_from(frame)
    consecutive_id = False
    if ethertype == _ETHERTYPE_IPV4:
        if version != 0x45 or fragment & ~_DONT_FRAGMENT or HEADER_BYTES + length != len(frame):
            return None
        transport = HEADER_BYTES + ip.IPV4_BYTES
        consecutive_id = not fragment
    elif ethertype == _ETHERTYPE_IPV6:
        _, version, length, protocol = _IPV6.unpack_from(frame)
        transport = HEADER_BYTES + ip.IPV6_BYTES
        if version >> 4 != 6 or transport + length != len(frame):
            return None
    else:
        return None
    version = 4 if ethertype == _ETHERTYPE_IPV4 else 6
    if protocol == _TCP_PROTOCOL and transport + TCP_BYTES < len(frame):
        offset, flags = _TCP.unpack_from(frame, transport)
        end = transport + (offset >> 4) * 4
        joinable = flags & ~_JOINABLE == 0 and flags & TcpFlag.ACK and not flags & _LAST
        if not joinable or not transport + TCP_BYTES <= end < len(frame):
            return None
        return Shape(version, protocol, transport, end, consecutive_id)
    if udp and protocol == _UDP_PROTOCOL and transport + UDP_BYTES < len(frame):
        end = transport + UDP_BYTES
        length, stated = frame[transport + 4 : transport + 6], frame[transport + 6 : end]
        if int.from_bytes(length, "big") != len(frame) - transport or not any(stated):
            return None
        return Shape(version, protocol, transport, end, consecutive_id)
    return None


def _most(shape: Shape, width: int) -> int:
    """How many frames of this width a super-frame can hold."""
    most = (_IP_MOST - shape.end) // (width - shape.end)
    return min(most, _UDP_MOST) if shape.protocol == _UDP_PROTOCOL else most


@cache
def _mask(shape: Shape, skip: int) -> Octets:
    """0xFF over the header octets that must be equal in all frames of a run."""
    mask = np.full(skip + shape.end, 0xFF, np.uint8)
    network, at = skip + HEADER_BYTES, skip + shape.transport
    if shape.version == 4:
        mask[network + 2 : network + 6] = 0  # length, identification
        mask[network + 10 : network + 12] = 0  # checksum
    else:
        mask[network + 4 : network + 6] = 0  # payload length
    if shape.protocol == _TCP_PROTOCOL:
        mask[at + _SEQUENCE : at + _SEQUENCE + 4] = 0
        mask[at + _FLAGS] = ~_LAST & 0xFF
        mask[at + _TCP_CHECKSUM : at + _TCP_CHECKSUM + 2] = 0
    else:
        mask[at + _UDP_LENGTH : at + UDP_BYTES] = 0
    return mask


def _length(rows: Octets, widths: NDArray[np.int64], skip: int, shape: Shape) -> int:
    """How many rows, from the first on, make one super-frame."""
    network, at, end = skip + HEADER_BYTES, skip + shape.transport, skip + shape.end
    head = rows[:, :end]
    differ = head ^ head[0]
    differ &= _mask(shape, skip)
    good: NDArray[np.bool_] = ~differ.any(axis=1)
    good &= widths > end
    steps = np.arange(len(rows))
    if shape.version == 4:
        good &= _column(head, network + 2) == widths - network
        good &= row_sums(head[:, network : network + ip.IPV4_BYTES]) % MODULUS == 0
        if shape.consecutive_id:
            numbers = _column(head, network + 4)
            good &= (numbers - numbers[0]).astype(np.uint16) == steps
    else:
        good &= _column(head, network + 4) == widths - at
    if shape.protocol == _TCP_PROTOCOL:
        sequence = _column(head, at + _SEQUENCE, ">u4")
        size = int(widths[0]) - end
        good &= (sequence - sequence[0]).astype(np.uint32) == steps * size
    else:
        good &= _column(head, at + _UDP_LENGTH) == widths - at
        good &= _column(head, at + _UDP_CHECKSUM) != 0
    good &= _checksums(rows, widths, skip, shape)
    if not good[0]:
        return 1
    length = len(rows) if good.all() else int(good.argmin())
    if shape.protocol == _TCP_PROTOCOL:
        ends = rows[: length - 1, at + _FLAGS] & _LAST
        if ends.any():
            length = int((ends != 0).argmax()) + 1
    return length


def _checksums(
    rows: Octets, widths: NDArray[np.int64], skip: int, shape: Shape
) -> NDArray[np.bool_]:
    """Whose TCP or UDP checksum is right, given that the IP header's is.

    Whole rows are summed, since they are aligned; then what no checksum covers is taken away. It
    is the same in all rows that matter, but for IPv6's length.
    """
    network, at = skip + HEADER_BYTES, skip + shape.transport
    head = rows[0, :at].tobytes()
    sums = row_sums(rows)
    if shape.version == 4:
        sums -= little_endian_sum(head[:network])  # the IPv4 header sums to 0
    else:
        sums -= little_endian_sum(head[: network + 4] + b"\0\0" + head[network + 6 :])
        sums -= _column(rows, network + 4, "<u2")
    sizes = widths - at
    sums += _pseudo_header(head, network, shape) + ((sizes & 0xFF) << 8 | sizes >> 8)
    valid: NDArray[np.bool_] = sums % MODULUS == 0
    return valid


def _pseudo_header(head: bytes, network: int, shape: Shape) -> int:
    """The sum of the pseudo-header without its length, of little-endian words."""
    start, size = (network + 12, 8) if shape.version == 4 else (network + 8, 32)
    return little_endian_sum(head[start : start + size] + bytes((0, shape.protocol)))


def join(rows: Octets, last: int, skip: int, run: Run, room: Octets) -> int:
    """Write a run of several frames as one super-frame behind its `virtio_net_hdr`.

    Returns the octets used of `room`. The checksum is left to the receiver, as the header says:
    its field holds the pseudo-header's sum.
    """
    shape = run.shape
    assert shape is not None
    width = rows.shape[1]
    size = width - skip - shape.end
    final = run.first + run.frames - 1
    short = width - last if final == len(rows) - 1 else 0
    payload = run.frames * size - short
    start = VNET_BYTES + shape.end
    room[VNET_BYTES:start] = rows[run.first, skip : skip + shape.end]
    parts = rows[run.first : final + 1, skip + shape.end :]
    room[start : start + run.frames * size].reshape(run.frames, size)[:] = parts
    head = room[:start].data
    network, at = VNET_BYTES + HEADER_BYTES, VNET_BYTES + shape.transport
    length = shape.end - shape.transport + payload
    if shape.version == 4:
        pack_into("!H", head, network + 2, ip.IPV4_BYTES + length)
        pack_into("!H", head, network + 10, 0)
        pack_into("!H", head, network + 10, checksum(head[network:at]))
        addresses = head[network + 12 : at]
    else:
        pack_into("!H", head, network + 4, length)
        addresses = head[network + 8 : at]
    pseudo = total(bytes(addresses) + bytes((0, shape.protocol)) + length.to_bytes(2, "big"))
    if shape.protocol == _TCP_PROTOCOL:
        gso, field = (Gso.TCP4 if shape.version == 4 else Gso.TCP6), _TCP_CHECKSUM
        head[at + _FLAGS] |= int(rows[final, skip + shape.transport + _FLAGS]) & _LAST
    else:
        gso, field = Gso.UDP, _UDP_CHECKSUM
        pack_into("!H", head, at + _UDP_LENGTH, length)
    pack_into("!H", head, at + field, pseudo)
    VNET.pack_into(head, 0, Flag.NEEDS_CHECKSUM, gso, shape.end, size, shape.transport, field)
    used: int = start + payload
    return used


def _column(rows: Octets, at: int, kind: str = ">u2") -> NDArray[np.int64]:
    """One field of every row, as numbers that subtract without wrapping."""
    width = np.dtype(kind).itemsize
    return rows[:, at : at + width].view(kind)[:, 0].astype(np.int64)
