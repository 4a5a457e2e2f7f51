"""Telling a sender that its packets do not fit, by ICMP (RFC 1191) and ICMPv6 (RFC 4443 §3.2)."""

from struct import Struct

from vxnet.errors import WireError
from vxnet.wire import ip
from vxnet.wire.addr import Ip, is_group
from vxnet.wire.checksum import checksum, total
from vxnet.wire.ethernet import Buffer
from vxnet.wire.ip import Packet, Protocol

__all__ = ["answer"]

_IPV4 = Struct("!BBHHHBBH4s4s")
_IPV6 = Struct("!IHBB16s16s")
_ICMP = Struct("!BBHHH")  # type, code, checksum, unused, MTU of the next hop
_ICMPV6 = Struct("!BBHI")  # type, code, checksum, MTU

_FRAGMENTATION_NEEDED = (3, 4)
_PACKET_TOO_BIG = (2, 0)
_ICMP_QUERIES = frozenset({0, 8, 13, 14})  # all else may be an error, which is never answered
_ICMPV6_FIRST_QUERY = 128

_DONT_FRAGMENT = 0x4000
_TOS = 0xC0  # internetwork control, as errors of routers are sent (RFC 1812 §4.3.2.5)
_HOPS = 64

# RFC 1812 §4.3.2.3 and RFC 4443 §2.4 (c): an error quotes as much as fits these packets.
_IPV4_MOST, _IPV6_MOST = 576, 1280


def answer(frame: Buffer, mtu: int) -> bytes | None:
    """What to send back to whoever sent a frame whose packet is larger than `mtu`.

    A network has no router, so the answer comes from the address the packet was for, as Linux's
    tunnels do it. None where there is to be no answer: to groups, fragments and ICMP errors, for
    IPv4 without DF, and for what is not IP.
    """
    try:
        packet = ip.locate(frame)
    except WireError:
        return None
    if packet is None or packet.is_fragment or is_group(bytes(frame[:6])):
        return None
    source, destination = ip.addresses(frame, packet)
    if _is_error(frame, packet) or _is_many(source) or _is_many(destination):
        return None
    ethernet = bytes(frame[6:12]) + bytes(frame[:6]) + bytes(frame[12 : packet.network])
    if packet.version == 6:
        return ethernet + _icmpv6(frame, packet, destination, source, mtu)
    if not int.from_bytes(frame[packet.network + 6 : packet.network + 8], "big") & _DONT_FRAGMENT:
        return None  # RFC 791: it may be fragmented, which is not ours to do
    return ethernet + _icmp(frame, packet, destination, source, mtu)


def _icmp(frame: Buffer, packet: Packet, source: Ip, to: Ip, mtu: int) -> bytes:
    room = _IPV4_MOST - _IPV4.size - _ICMP.size
    quoted = bytes(frame[packet.network : packet.end][:room])
    kind, code = _FRAGMENTATION_NEEDED
    message = bytearray(_ICMP.pack(kind, code, 0, 0, mtu) + quoted)
    message[2:4] = checksum(message).to_bytes(2, "big")
    length = _IPV4.size + len(message)
    header = bytearray(
        _IPV4.pack(0x45, _TOS, length, 0, _DONT_FRAGMENT, _HOPS, Protocol.ICMP, 0, source, to)
    )
    header[10:12] = checksum(header).to_bytes(2, "big")
    return bytes(header + message)


def _icmpv6(frame: Buffer, packet: Packet, source: Ip, to: Ip, mtu: int) -> bytes:
    room = _IPV6_MOST - _IPV6.size - _ICMPV6.size
    quoted = bytes(frame[packet.network : packet.end][:room])
    kind, code = _PACKET_TOO_BIG
    message = bytearray(_ICMPV6.pack(kind, code, 0, mtu) + quoted)
    covered = total(ip.pseudo_header(source, to, Protocol.ICMPV6, len(message)))
    message[2:4] = checksum(message, covered).to_bytes(2, "big")
    header = _IPV6.pack(6 << 28, len(message), Protocol.ICMPV6, _HOPS, source, to)
    return header + message


def _is_error(frame: Buffer, packet: Packet) -> bool:
    """Whether the packet is an ICMP error itself: two that answer each other would never end."""
    if packet.transport >= packet.end:
        return False
    kind = frame[packet.transport]
    if packet.protocol == Protocol.ICMP:
        return kind not in _ICMP_QUERIES
    return packet.protocol == Protocol.ICMPV6 and kind < _ICMPV6_FIRST_QUERY


def _is_many(address: Ip) -> bool:
    """Whether an address is nobody's in particular: a group, all, or none."""
    if len(address) == 16:
        return address[0] == 0xFF or not any(address)
    return address[0] >= 224 or not any(address)
