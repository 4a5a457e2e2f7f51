"""The maximum segment size that a TCP SYN asks for, lowered to what the way carries.

Both ends of a connection then send segments that fit, whatever becomes of ICMP (RFC 9293 §3.7.1).
"""

from struct import pack_into, unpack_from

from vxnet.errors import WireError
from vxnet.wire import ip, transport
from vxnet.wire.checksum import update
from vxnet.wire.ethernet import VLAN_ETHERTYPES, Buffer
from vxnet.wire.ip import Packet, Protocol
from vxnet.wire.transport import TcpFlag

__all__ = ["clamp", "may_be_syn"]

_END, _NOTHING, _MSS = 0, 1, 2  # RFC 9293 §3.2: kinds of options
_FLAGS, _CHECKSUM = 13, 16
_SYN = int(TcpFlag.SYN)
_TCP = int(Protocol.TCP)
_AT = 14
_FIXED = {4: ip.IPV4_BYTES + transport.TCP_BYTES, 6: ip.IPV6_BYTES + transport.TCP_BYTES}


def may_be_syn(frame: Buffer) -> bool:
    """Whether a frame may be a SYN, by a glance that never says no to one.

    But for IPv6 extension headers: no stack sends a SYN behind one.
    """
    size = len(frame)
    if size < 54:
        return False
    if frame[12] == 0x08 and frame[13] == 0x00:
        if frame[23] != _TCP:
            return False
        at = _AT + (frame[_AT] & 0x0F) * 4 + _FLAGS
        return at < size and bool(frame[at] & _SYN)
    if frame[12] == 0x86 and frame[13] == 0xDD:
        at = _AT + ip.IPV6_BYTES + _FLAGS
        return frame[20] == _TCP and at < size and bool(frame[at] & _SYN)
    return frame[12] << 8 | frame[13] in VLAN_ETHERTYPES


def clamp(frame: bytearray | memoryview, mtu: int, frame_max: int, *, is_open: bool) -> None:
    """Lower the option of a SYN, in place, so that what answers it fits.

    That is IP packets of `mtu` octets, in frames of `frame_max`. The checksum is repaired, unless
    it is yet to be written (`is_open`). What is no SYN, or cannot be read, is left alone.
    """
    try:
        packet = ip.locate(frame)
        if packet is None or packet.protocol != _TCP or packet.is_fragment:
            return
        header = transport.tcp(frame, packet)
    except WireError:
        return
    if not header.flags & _SYN:
        return
    most = max(0, min(mtu, frame_max - packet.network) - _FIXED[packet.version])
    at = _option(frame, packet, packet.transport + header.header_bytes)
    if at is None:
        return
    (before,) = unpack_from("!H", frame, at)
    if before <= most:
        return
    pack_into("!H", frame, at, most)
    if not is_open:
        field_at = packet.transport + _CHECKSUM
        (field,) = unpack_from("!H", frame, field_at)
        if (at - packet.transport) % 2:  # at an odd offset octets count the other way round
            before, most = _turned(before), _turned(most)
        pack_into("!H", frame, field_at, update(field, before, most))


def _option(frame: Buffer, packet: Packet, end: int) -> int | None:
    """Where the value of the MSS option is."""
    at = packet.transport + transport.TCP_BYTES
    while at + 1 < end:
        kind, length = frame[at], frame[at + 1]
        if kind == _END:
            return None
        if kind == _NOTHING:
            at += 1
            continue
        if kind == _MSS and length == 4 and at + 4 <= end:
            return at + 2
        if length < 2:
            return None
        at += length
    return None


def _turned(value: int) -> int:
    return (value & 0xFF) << 8 | value >> 8
