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
from vxnet.wire.checksum import MODULUS, checksum, total
from vxnet.wire.columns import STEPS, Columns, columns, uncovered_sum
from vxnet.wire.ethernet import HEADER_BYTES, Ethertype
from vxnet.wire.ip import Protocol
from vxnet.wire.sums import Octets, row_sums
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

_SHORTEST = HEADER_BYTES + ip.IPV4_BYTES + UDP_BYTES
_DONT_FRAGMENT = 0x4000
# As plain numbers: arithmetic on enum members costs a microsecond each time.
_ACK = int(TcpFlag.ACK)
_JOINABLE = int(TcpFlag.ACK | TcpFlag.PSH | TcpFlag.FIN | TcpFlag.ECE)
_LAST = int(TcpFlag.PSH | TcpFlag.FIN)

_SEQUENCE, _FLAGS, _TCP_CHECKSUM = 4, 13, 16  # where they are in the TCP header
_UDP_LENGTH, _UDP_CHECKSUM = 4, 6
_IP_MOST = 0xFFFF  # octets in an IP packet
_UDP_MOST = 64  # datagrams in a super-frame: what every kernel with USO takes


# Where addresses and ports are, if there are no options; `_shape` looks closer.
_V4_FLOW, _V6_FLOW = slice(26, 38), slice(22, 58)
_V4_ETHERTYPE = b"\x08\x00"
_GLANCE = 58


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
    first, (count, width) = 0, rows.shape
    look_again, pause = 0, 1
    while first < count:
        length, shape = 1, None
        if look_again <= first < count - 1 and _alike(rows[first], rows[first + 1], skip):
            shape = _shape(rows[first, skip:].data, udp=udp)
            if shape is not None:
                ahead = min(first + _most(shape, width - skip), count)
                tail = last if ahead == count else width
                length = max(_length(rows[first:ahead], tail, skip, shape), 1)
                if length == 1:
                    # A long look in vain. A batch made of such frames must not cost one for each.
                    look_again, pause = first + 1 + pause, pause * 2
        found.append(Run(first, length, shape if length > 1 else None))
        first += length
    return found


def _alike(one: Octets, other: Octets, skip: int) -> bool:
    """Whether two frames are of one flow, at a glance: MACs, ethertype, addresses and ports."""
    a, b = one[skip : skip + _GLANCE].tobytes(), other[skip : skip + _GLANCE].tobytes()
    if a[:HEADER_BYTES] != b[:HEADER_BYTES]:
        return False
    where = _V4_FLOW if a[12:HEADER_BYTES] == _V4_ETHERTYPE else _V6_FLOW
    return a[where] == b[where]


def _shape(frame: memoryview, *, udp: bool) -> Shape | None:
    """What kind of joinable frame this is, if any: of full width, and well-formed."""
    if len(frame) < _SHORTEST:
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
        joinable = flags & ~_JOINABLE == 0 and flags & _ACK and not flags & _LAST
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
def _mask(shape: Shape, skip: int) -> NDArray[np.uint64]:
    """All ones over the header octets that must be equal in all frames of a run."""
    mask = np.zeros(_padded(skip + shape.end), np.uint8)
    mask[: skip + shape.end] = 0xFF
    network, at = skip + HEADER_BYTES, skip + shape.transport
    if shape.version == 4:
        mask[network + 4 : network + 6] = 0  # identification
        mask[network + 10 : network + 12] = 0  # checksum
    if shape.protocol == _TCP_PROTOCOL:
        mask[at + _SEQUENCE : at + _SEQUENCE + 4] = 0
        mask[at + _FLAGS] = ~_LAST & 0xFF
        mask[at + _TCP_CHECKSUM : at + _TCP_CHECKSUM + 2] = 0
    else:
        mask[at + _UDP_CHECKSUM : at + _UDP_CHECKSUM + 2] = 0
    return mask.view(np.uint64)


def _padded(size: int) -> int:
    """Up to a whole number of 64-bit words."""
    return -(-size // 8) * 8


def _length(rows: Octets, last: int, skip: int, shape: Shape) -> int:
    """How many rows, from the first on, make one super-frame; the last row has `last` octets."""
    network, at, end = skip + HEADER_BYTES, skip + shape.transport, skip + shape.end
    if last <= end:  # no payload, if it is of this flow at all
        rows, last = rows[:-1], rows.shape[1]
    count, width = rows.shape
    kind = (shape.version, shape.protocol, network, at)
    heads = np.zeros((count, _padded(end)), np.uint8)
    heads[:, :end] = rows[:, :end]
    fields = columns(heads, *kind)
    # Each array has a row or a number a frame, and is 0 where the frame fits.
    wrongs: list[NDArray[np.generic]] = []
    if shape.version == 4:
        wrongs.append(row_sums(heads[:, network:at]) % MODULUS)
        if shape.consecutive_id:
            wrongs.append(fields["number"] ^ (int(fields["number"][0]) + STEPS[:count]) & 0xFFFF)

    full = width - network  # octets of each IP packet but the last
    head = rows[0, :at].tobytes()
    uncovered = uncovered_sum(head, *kind, full)
    sums = row_sums(rows)
    sums -= uncovered
    if last != width:
        sums[-1] += uncovered - uncovered_sum(head, *kind, full + last - width)
        _lengthen(fields, shape, last - width)
    wrongs.append(sums % MODULUS)
    words = heads.view(np.uint64)
    wrongs.append((words ^ words[0]) & _mask(shape, skip))
    if shape.protocol == _UDP_PROTOCOL:
        wrongs.append(fields["sum"] == 0)  # RFC 768: it has none
        return _first(wrongs, count)
    expected = int(fields["sequence"][0]) + STEPS[:count] * (width - end)
    wrongs.append(fields["sequence"] ^ expected & 0xFFFF_FFFF)
    length = _first(wrongs, count)
    ends = fields["flags"][: max(length - 1, 0)] & _LAST  # 0 where the first is wrong itself
    return int((ends != 0).argmax()) + 1 if np.count_nonzero(ends) else length


def _first(wrongs: list[NDArray[np.generic]], count: int) -> int:
    """Where the first frame is that does not fit; `count` where all do, as they mostly do."""
    for wrong in wrongs:
        if np.count_nonzero(wrong[:count]):
            bad = wrong[:count] != 0
            count = int((bad if bad.ndim == 1 else bad.any(axis=1)).argmax())
    return count


def _lengthen(fields: Columns, shape: Shape, short: int) -> None:
    """Make the lengths in the last headers the others', where they say what is true of it."""
    for name in ("length",) if shape.protocol == _TCP_PROTOCOL else ("length", "udp_length"):
        lengths = fields[name]
        if int(lengths[-1]) - int(lengths[0]) == short:
            lengths[-1] = lengths[0]


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
