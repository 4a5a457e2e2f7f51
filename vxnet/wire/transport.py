"""TCP and UDP headers (RFC 9293, RFC 768), read where `ip.locate` found them."""

from enum import IntFlag
from struct import Struct
from typing import NamedTuple

from vxnet.errors import WireError
from vxnet.wire.ethernet import Buffer
from vxnet.wire.ip import Packet

__all__ = ["TCP_BYTES", "UDP_BYTES", "UDP_PORTS", "Tcp", "TcpFlag", "Udp", "tcp", "udp"]

TCP_BYTES = 20
"""A header without options."""

UDP_BYTES = 8

UDP_PORTS = Struct("!HH")
"""What TCP's header begins with too. Hot paths unpack it themselves."""

_TCP = Struct("!HHIIBBH")
_UDP = Struct("!HHH")


class TcpFlag(IntFlag):
    """The control bits."""

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    PSH = 0x08
    ACK = 0x10
    URG = 0x20
    ECE = 0x40
    CWR = 0x80


class Tcp(NamedTuple):
    """A TCP header but for its options, which follow the first 20 of `header_bytes`."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int
    header_bytes: int
    flags: int
    window: int


class Udp(NamedTuple):
    """A UDP header; `length` counts the header and the data."""

    source_port: int
    destination_port: int
    length: int


def tcp(frame: Buffer, packet: Packet) -> Tcp:
    """The TCP header of a packet that has one. Raises WireError where it does not fit in it."""
    available = packet.end - packet.transport
    if available < TCP_BYTES:
        raise WireError(f"TCP segment of {available} octets, at least {TCP_BYTES} are needed")
    source, destination, sequence, acknowledgement, offset, flags, window = _TCP.unpack_from(
        frame, packet.transport
    )
    header = (offset >> 4) * 4
    if not TCP_BYTES <= header <= available:
        raise WireError(f"TCP header that says it has {header} octets, in a segment of {available}")
    return Tcp(source, destination, sequence, acknowledgement, header, flags, window)


def udp(frame: Buffer, packet: Packet) -> Udp:
    """The UDP header of a packet that has one. Raises WireError where it does not fit in it."""
    available = packet.end - packet.transport
    if available < UDP_BYTES:
        raise WireError(f"UDP datagram of {available} octets, at least {UDP_BYTES} are needed")
    header = Udp._make(_UDP.unpack_from(frame, packet.transport))
    if not UDP_BYTES <= header.length <= available:
        raise WireError(
            f"UDP datagram that says it has {header.length} octets, in a packet with {available}"
        )
    return header
