"""Cutting a super-frame (TSO, USO) into the frames it stands for, all in a few numpy steps.

The frames are laid out one behind the other in one buffer, each behind a prefix of the caller's
(a VXLAN header), all as wide as the first but the last, which may be shorter: the shape that one
`sendmsg` with UDP_SEGMENT takes. Copying the payload into rows costs a tenth of what slicing it
costs, and rows are aligned where the payload alone is not, so they are what is summed.
"""

from struct import pack_into, unpack_from
from typing import NamedTuple

import numpy as np

from vxnet.errors import WireError
from vxnet.wire import ip, transport
from vxnet.wire.checksum import MODULUS, total
from vxnet.wire.columns import STEPS, Columns, columns, uncovered_sum
from vxnet.wire.ethernet import Buffer
from vxnet.wire.ip import Packet, Protocol
from vxnet.wire.sums import Octets, row_sums
from vxnet.wire.transport import TcpFlag
from vxnet.wire.virtio import ECN, Gso, VnetHeader

__all__ = ["Cut", "Plan", "cut", "plan"]

# linux/virtio_net.h: the GSO type says what the headers must be.
_SHAPES: dict[int, tuple[tuple[int, ...], int]] = {
    Gso.TCP4: ((4,), Protocol.TCP),
    Gso.TCP6: ((6,), Protocol.TCP),
    Gso.UDP: ((4, 6), Protocol.UDP),
}

_TCP_FLAGS, _TCP_CHECKSUM = 13, 16  # RFC 9293 §3.1: where they are in the header
# As plain numbers: arithmetic on enum members costs a microsecond each time.
_ON_FIRST, _ON_LAST, _URG = int(TcpFlag.CWR), int(TcpFlag.FIN | TcpFlag.PSH), int(TcpFlag.URG)
_ON_ONE_ONLY = _ON_FIRST | _ON_LAST
_TCP, _UDP = int(Protocol.TCP), int(Protocol.UDP)


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
        return self.end + self.size


class Cut(NamedTuple):
    """What `cut` laid out: so many frames, each `stride` octets from the one before."""

    frames: int
    stride: int
    size: int  # of all, prefixes included; less than frames * stride where the last is shorter


def plan(frame: Buffer, vnet: VnetHeader) -> Plan:
    """Read what a super-frame stands for. Raises WireError where it contradicts its GSO type."""
    packet = ip.locate(frame)
    versions, protocol = _SHAPES.get(vnet.gso_type & ~ECN, ((), 0))
    if packet is None or packet.protocol != protocol or packet.version not in versions:
        raise WireError(f"a frame of GSO type {vnet.gso_type:#04x} with other headers")
    if packet.is_fragment:
        raise WireError("a super-frame that is an IP fragment")
    if packet.protocol == _TCP:
        end = packet.transport + transport.tcp(frame, packet).header_bytes
    else:
        end = packet.transport + transport.UDP_BYTES
    payload = packet.end - end
    if payload <= 0:
        raise WireError("a super-frame without payload")
    size = min(vnet.gso_size, payload)
    return Plan(packet, end, size, payload, -(-payload // size))


def cut(frame: Buffer, headers: Plan, prefix: bytes, room: Octets) -> Cut:
    """Write the frames that `frame` stands for into `room`, each behind `prefix`.

    Every frame has its own lengths, IP identification, sequence number and checksums; FIN and PSH
    are on the last only, CWR on the first only (as the kernel cuts them). `prefix` has an even
    number of octets. Raises WireError where `room` is too small for what is asked.
    """
    packet, end, size, payload, frames = headers
    start = len(prefix) + end
    width = start + size
    if frames * width > len(room):
        raise WireError(
            f"a super-frame of {len(frame)} octets cut into {frames} frames of {size}: "
            f"more than the {len(room)} octets there is room for"
        )
    short = frames * size - payload
    rows = room[: frames * width].reshape(frames, width)
    head = bytearray(prefix) + frame[:end]
    network, at = len(prefix) + packet.network, len(prefix) + packet.transport
    full = width - network  # octets of each IP packet but the last
    kind = (packet.version, packet.protocol, network, at)
    flags = _normalise(head, packet, network, at, full)

    octets = np.frombuffer(frame, np.uint8)
    rows[:, :start] = np.frombuffer(head, np.uint8)
    whole, rest = divmod(payload, size)
    middle = end + whole * size
    rows[:whole, start:] = octets[end:middle].reshape(whole, size)
    if rest:
        rows[whole, start : start + rest] = octets[middle : middle + rest]
        rows[whole, start + rest :] = 0  # adds nothing to the row's sum

    fields = columns(rows, *kind)
    if packet.version == 4:
        _number(fields, head[network:at], full, full - short)
    elif short:
        fields["length"][-1] = full - short - ip.IPV6_BYTES
    if packet.protocol == _TCP:
        _sequence(fields, head, at, size, flags)
    elif short:
        fields["udp_length"][-1] = width - short - at

    uncovered = uncovered_sum(head, *kind, full)
    values = uncovered - row_sums(rows)
    if short:
        values[-1] += uncovered_sum(head, *kind, full - short) - uncovered
    values %= MODULUS
    if packet.protocol == _UDP:
        values[values == 0] = MODULUS  # RFC 768: an all-zero checksum says there is none
    fields["sum"] = values
    return Cut(frames, width, frames * width - short)


def _normalise(head: bytearray, packet: Packet, network: int, at: int, full: int) -> int:
    """Make the super-frame's headers those of a frame from its middle; returns its TCP flags."""
    if packet.version == 4:
        pack_into("!H", head, network + 2, full)
        pack_into("!H", head, network + 10, 0)
    else:
        pack_into("!H", head, network + 4, full - ip.IPV6_BYTES)
    if packet.protocol == _UDP:
        pack_into("!HH", head, at + 4, full - (at - network), 0)
        return 0
    flags = head[at + _TCP_FLAGS]
    head[at + _TCP_FLAGS] = flags & ~_ON_ONE_ONLY
    pack_into("!H", head, at + _TCP_CHECKSUM, 0)
    return flags


def _number(fields: Columns, header: Buffer, full: int, last: int) -> None:
    """IPv4's identifications, counting up, and header checksums; the last packet's length."""
    numbers = (unpack_from("!H", header, 4)[0] + STEPS[: len(fields)]) & 0xFFFF
    fields["number"] = numbers
    sums = (int(numbers[0]) - total(header)) - numbers
    if last != full:
        fields["length"][-1] = last
        sums[-1] += full - last
    fields["header_sum"] = sums % MODULUS


def _sequence(fields: Columns, head: bytearray, at: int, size: int, flags: int) -> None:
    """TCP's sequence numbers, and the control bits that not all frames have."""
    steps = STEPS[: len(fields)] * size
    fields["sequence"] = (unpack_from("!I", head, at + 4)[0] + steps) & 0xFFFF_FFFF
    if flags & _ON_ONE_ONLY:
        fields["flags"][0] |= flags & _ON_FIRST
        fields["flags"][-1] |= flags & _ON_LAST
    if flags & _URG:
        # RFC 9293 §3.1: the urgent pointer counts from the segment's own sequence number.
        left = int(fields["urgent"][0]) - steps
        fields["urgent"] = np.maximum(left, 0)
        fields["flags"][left <= 0] &= np.uint8(~_URG & 0xFF)
