"""Packets that answer for an address nobody has a stack for: resets and echoes."""

from struct import Struct

from vxnet.wire import ethernet, ip
from vxnet.wire.addr import Ip, Mac
from vxnet.wire.checksum import checksum, total
from vxnet.wire.ethernet import Buffer, Ethertype
from vxnet.wire.ip import Packet, Protocol
from vxnet.wire.transport import Tcp, TcpFlag

__all__ = ["echo", "refuse", "reset"]

_IPV4 = Struct("!BBHHHBBH4s4s")
_IPV6 = Struct("!IHBB16s16s")
_TCP = Struct("!HHIIBBHHH")
_DONT_FRAGMENT = 0x4000
_HOPS = 64
_ECHO = {Protocol.ICMP: (8, 0), Protocol.ICMPV6: (128, 129)}


def reset(
    to: Mac, sender: Mac, source: Ip, destination: Ip, ports: tuple[int, int], sequence: int
) -> bytes:
    """A connection is over, says its other end; `sequence` is what the receiver waits for."""
    return _segment(to, sender, source, destination, ports, sequence, 0, TcpFlag.RST)


def refuse(frame: Buffer, packet: Packet, segment: Tcp) -> bytes:
    """The reset that answers a segment nobody takes (RFC 9293 §3.10.7.1)."""
    source, destination = ip.addresses(frame, packet)
    ports = (segment.destination_port, segment.source_port)
    to, sender = Mac(bytes(frame[6:12])), Mac(bytes(frame[:6]))
    if segment.flags & TcpFlag.ACK:
        return reset(to, sender, destination, source, ports, segment.acknowledgement)
    taken = packet.end - packet.transport - segment.header_bytes
    taken += bool(segment.flags & TcpFlag.SYN) + bool(segment.flags & TcpFlag.FIN)
    flags = TcpFlag.RST | TcpFlag.ACK
    acknowledged = (segment.sequence + taken) & 0xFFFFFFFF
    return _segment(to, sender, destination, source, ports, 0, acknowledged, flags)


def echo(frame: Buffer, packet: Packet) -> bytes | None:
    """The answer to a ping; None where it is something else."""
    question, answer = _ECHO[Protocol(packet.protocol)]
    if packet.end - packet.transport < 8 or frame[packet.transport] != question:
        return None
    source, destination = ip.addresses(frame, packet)
    message = bytearray(frame[packet.transport : packet.end])
    message[0], message[2:4] = answer, bytes(2)
    start = 0
    if packet.version == 6:
        start = total(ip.pseudo_header(destination, source, packet.protocol, len(message)))
    message[2:4] = checksum(message, start).to_bytes(2, "big")
    header = _header(destination, source, packet.protocol, len(message))
    ethertype = Ethertype.IPV4 if packet.version == 4 else Ethertype.IPV6
    return ethernet.build(bytes(frame[6:12]), bytes(frame[:6]), ethertype) + header + bytes(message)


def _segment(
    to: Mac,
    sender: Mac,
    source: Ip,
    destination: Ip,
    ports: tuple[int, int],
    sequence: int,
    acknowledged: int,
    flags: int,
) -> bytes:
    segment = bytearray(_TCP.pack(*ports, sequence, acknowledged, 5 << 4, flags, 0, 0, 0))
    covered = total(ip.pseudo_header(source, destination, Protocol.TCP, len(segment)))
    segment[16:18] = checksum(segment, covered).to_bytes(2, "big")
    ethertype = Ethertype.IPV4 if len(source) == 4 else Ethertype.IPV6
    header = _header(source, destination, Protocol.TCP, len(segment))
    return ethernet.build(to, sender, ethertype) + header + bytes(segment)


def _header(source: Ip, destination: Ip, protocol: int, size: int) -> bytes:
    if len(source) == 16:
        return _IPV6.pack(6 << 28, size, protocol, _HOPS, source, destination)
    header = bytearray(
        _IPV4.pack(
            0x45, 0, _IPV4.size + size, 0, _DONT_FRAGMENT, _HOPS, protocol, 0, source, destination
        )
    )
    header[10:12] = checksum(header).to_bytes(2, "big")
    return bytes(header)
