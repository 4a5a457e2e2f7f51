"""Cutting a super-frame (TSO, USO) into the frames it stands for, all in a few numpy steps.

The frames are laid out one behind the other in one buffer, each behind a prefix of the caller's
(a VXLAN header), all as wide as the first but the last, which may be shorter: the shape that one
`sendmsg` with UDP_SEGMENT takes. Copying the payload into rows costs a tenth of what slicing it
costs, and rows are aligned where the payload alone is not, so they are what is summed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vxnet.errors import WireError
from vxnet.wire import ip, transport
from vxnet.wire.checksum import MODULUS, Octets, little_endian_sum, row_sums
from vxnet.wire.ethernet import Buffer
from vxnet.wire.ip import Packet, Protocol
from vxnet.wire.transport import TcpFlag
from vxnet.wire.virtio import ECN, Gso, VnetHeader

__all__ = ["Cut", "Plan", "cut", "plan"]

# linux/virtio_net.h: the GSO type says what the headers must be.
_SHAPES = {
    Gso.TCP4: (4, Protocol.TCP),
    Gso.TCP6: (6, Protocol.TCP),
    Gso.UDP: (None, Protocol.UDP),
}

# RFC 9293 §3.1: where fields are in the TCP header.
_TCP_SEQUENCE, _TCP_FLAGS, _TCP_CHECKSUM, _TCP_URGENT = 4, 13, 16, 18
_UDP_LENGTH, _UDP_CHECKSUM = 4, 6


class Plan(NamedTuple):
    """How a super-frame is to be cut: where its headers are, and what each frame carries."""

    packet: Packet
    end: int  # of the headers, from the frame's first octet
    size: int  # payload octets of each frame but the last
    payload: int  # payload octets in all
    frames: int

    @property
    def octets(self) -> int:
        """Of all frames together."""
        return self.frames * self.end + self.payload

    @property
    def largest(self) -> int:
        """Octets of the longest frame."""
        return self.end + min(self.size, self.payload)


class Cut(NamedTuple):
    """What `cut` laid out: so many frames, each `stride` octets from the one before."""

    frames: int
    stride: int
    size: int  # of all, prefixes included; less than frames * stride where the last is shorter


def plan(frame: Buffer, vnet: VnetHeader) -> Plan:
    """Read what a super-frame stands for. Raises WireError where it contradicts its GSO type."""
    packet = ip.locate(frame)
    version, protocol = _SHAPES.get(Gso(vnet.gso_type & ~ECN), (None, None))
    if packet is None or packet.protocol != protocol or version not in (None, packet.version):
        raise WireError(f"a frame of GSO type {vnet.gso_type:#04x} with other headers")
    if packet.is_fragment:
        raise WireError("a super-frame that is an IP fragment")
    if packet.protocol == Protocol.TCP:
        end = packet.transport + transport.tcp(frame, packet).header_bytes
    else:
        end = packet.transport + transport.UDP_BYTES
    payload = packet.end - end
    if payload <= 0:
        raise WireError("a super-frame without payload")
    return Plan(packet, end, vnet.gso_size, payload, -(-payload // vnet.gso_size))


def cut(frame: Buffer, headers: Plan, prefix: bytes, room: Octets) -> Cut:
    """Write the frames that `frame` stands for into `room`, each behind `prefix`.

    Every frame has its own lengths, IP identification, sequence number and checksums; FIN and PSH
    are on the last only, CWR on the first only (as the kernel cuts them). `prefix` has an even
    number of octets. Raises WireError where `room` is too small for what is asked.
    """
    width = len(prefix) + headers.end + headers.size
    if headers.frames * width > len(room):
        raise WireError(
            f"a super-frame of {len(frame)} octets cut into {headers.frames} frames of "
            f"{headers.size}: more than the {len(room)} octets there is room for"
        )
    rows = room[: headers.frames * width].reshape(headers.frames, width)
    _fill(rows, frame, headers, prefix)
    network = len(prefix) + headers.packet.network
    lengths = np.full(headers.frames, headers.end + headers.size - headers.packet.network)
    lengths[-1] -= headers.frames * headers.size - headers.payload
    _write_network(rows, headers.packet.version, network, lengths)
    at = len(prefix) + headers.packet.transport
    if headers.packet.protocol == Protocol.TCP:
        _write_tcp(rows, at, headers.size)
        field = at + _TCP_CHECKSUM
    else:
        lengths_udp = lengths - (headers.packet.transport - headers.packet.network)
        _column(rows, at + _UDP_LENGTH)[:] = lengths_udp
        field = at + _UDP_CHECKSUM
    _write_checksums(rows, headers, len(prefix), field, lengths)
    short = headers.frames * headers.size - headers.payload
    return Cut(headers.frames, width, headers.frames * width - short)


def _fill(rows: Octets, frame: Buffer, headers: Plan, prefix: bytes) -> None:
    """Put the same headers and each its part of the payload into every row."""
    octets = np.frombuffer(frame, np.uint8)
    start = len(prefix) + headers.end
    rows[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
    rows[:, len(prefix) : start] = octets[: headers.end]
    full, rest = divmod(headers.payload, headers.size)
    middle = headers.end + full * headers.size
    rows[:full, start:] = octets[headers.end : middle].reshape(full, headers.size)
    if rest:
        rows[full, start : start + rest] = octets[middle : middle + rest]
        rows[full, start + rest :] = 0  # adds nothing to the row's sum


def _write_network(rows: Octets, version: int, at: int, lengths: NDArray[np.int64]) -> None:
    """Lengths; for IPv4 also identifications that count up, and header checksums."""
    if version == 6:
        _column(rows, at + 4)[:] = lengths - ip.IPV6_BYTES
        return
    header = (int(rows[0, at]) & 0x0F) * 4
    _column(rows, at + 2)[:] = lengths
    _column(rows, at + 4)[:] += np.arange(len(rows), dtype=np.uint16)
    _column(rows, at + 10)[:] = 0
    sums = row_sums(rows[:, at : at + header])
    _column(rows, at + 10, "<u2")[:] = -sums % MODULUS


def _write_tcp(rows: Octets, at: int, size: int) -> None:
    """Sequence numbers and control bits."""
    steps = np.arange(len(rows), dtype=np.int64) * size
    _column(rows, at + _TCP_SEQUENCE, ">u4")[:] += steps.astype(np.uint32)
    flags = int(rows[0, at + _TCP_FLAGS])
    if len(rows) > 1:
        rows[:-1, at + _TCP_FLAGS] = flags & ~(TcpFlag.FIN | TcpFlag.PSH)
        rows[1:, at + _TCP_FLAGS] &= ~int(TcpFlag.CWR) & 0xFF
    if flags & TcpFlag.URG:
        # RFC 9293 §3.1: the urgent pointer counts from the segment's own sequence number.
        left = int(_column(rows, at + _TCP_URGENT)[0]) - steps
        _column(rows, at + _TCP_URGENT)[:] = np.maximum(left, 0)
        rows[left <= 0, at + _TCP_FLAGS] &= ~int(TcpFlag.URG) & 0xFF
    _column(rows, at + _TCP_CHECKSUM)[:] = 0


def _write_checksums(
    rows: Octets, headers: Plan, prefix: int, field: int, lengths: NDArray[np.int64]
) -> None:
    """Sum whole rows, take away what no checksum covers, add the pseudo-header's length."""
    packet = headers.packet
    at = prefix + packet.transport
    _column(rows, field)[:] = 0
    head = rows[0, :at].tobytes()
    # What precedes the transport header is the same in all rows but for IPv4's header, and that
    # sums to 0 with its own checksum in place.
    network = prefix + packet.network
    outside = little_endian_sum(head[:network] if packet.version == 4 else head)
    source, destination = ip.addresses(memoryview(head)[prefix:], packet)
    inside = little_endian_sum(ip.pseudo_header(source, destination, packet.protocol, 0))
    sizes = lengths - (packet.transport - packet.network)
    if packet.version == 6:
        # The payload length was summed with the rows; of the last row it may be another one.
        outside -= little_endian_sum(head[network + 4 : network + 6])
        sums = row_sums(rows) - _column(rows, network + 4, "<u2") - outside
    else:
        sums = row_sums(rows) - outside
    sums += inside + ((sizes & 0xFF) << 8 | sizes >> 8)
    values = -sums % MODULUS
    if packet.protocol == Protocol.UDP:
        values[values == 0] = MODULUS  # RFC 768: an all-zero checksum says there is none
    _column(rows, field, "<u2")[:] = values


def _column(rows: Octets, at: int, kind: str = ">u2") -> NDArray[np.unsignedinteger]:
    """One field of every row, to read or to assign."""
    width = np.dtype(kind).itemsize
    return rows[:, at : at + width].view(kind)[:, 0]
