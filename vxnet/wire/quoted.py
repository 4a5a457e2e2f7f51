"""The packet that an ICMP error is about: read, and given the addresses its sender knows it by."""

from struct import Struct
from typing import NamedTuple

from vxnet.errors import WireError
from vxnet.wire import ip
from vxnet.wire.addr import Ip
from vxnet.wire.checksum import checksum, total
from vxnet.wire.ethernet import Buffer
from vxnet.wire.ip import IPV4_BYTES, IPV6_BYTES, Packet, Protocol
from vxnet.wire.rewrite import Edit

__all__ = ["Quoted", "read", "rewrite"]

_PORTS = Struct("!HH")
_HEADER_BYTES = 8  # of ICMP and ICMPv6 errors
_ERRORS = {Protocol.ICMP: frozenset({3, 4, 11, 12}), Protocol.ICMPV6: frozenset({1, 2, 3, 4})}
_PORTED = frozenset({int(Protocol.TCP), int(Protocol.UDP)})


class Quoted(NamedTuple):
    """Whose packet met an error. `at` and `ports` are offsets in the frame."""

    protocol: int
    source: Ip
    source_port: int
    destination: Ip
    destination_port: int
    at: int
    ports: int


def read(frame: Buffer, packet: Packet) -> Quoted | None:
    """The quoted TCP or UDP packet; None for messages that are no errors, or about others."""
    at = packet.transport + _HEADER_BYTES
    if at >= packet.end or frame[packet.transport] not in _ERRORS[Protocol(packet.protocol)]:
        return None
    if packet.version == 4:
        size, protocol_at, addresses_at = (frame[at] & 0x0F) * 4, at + 9, at + 12
        least, width = IPV4_BYTES, 4
    else:
        size, protocol_at, addresses_at, least, width = IPV6_BYTES, at + 6, at + 8, IPV6_BYTES, 16
    ports = at + size
    if frame[at] >> 4 != packet.version or size < least or ports + _PORTS.size > packet.end:
        raise WireError(f"an ICMP error that quotes {packet.end - at} octets")
    protocol = frame[protocol_at]
    if protocol not in _PORTED:
        return None
    source = Ip(bytes(frame[addresses_at : addresses_at + width]))
    destination = Ip(bytes(frame[addresses_at + width : addresses_at + 2 * width]))
    source_port, destination_port = _PORTS.unpack_from(frame, ports)
    return Quoted(protocol, source, source_port, destination, destination_port, at, ports)


def rewrite(
    frame: Buffer,
    packet: Packet,
    edit: Edit,
    *,
    inner_source: tuple[Ip, int] | None = None,
    inner_destination: tuple[Ip, int] | None = None,
) -> bytes:
    """The frame with other MACs and addresses outside, and one end of the quoted packet changed.

    The quoted packet's own checksums are left as they are: it is seldom there as a whole.
    """
    about = read(frame, packet)
    assert about is not None
    changed = bytearray(frame)
    changed[:6], changed[6:12] = edit.destination_mac, edit.source_mac
    width = 4 if packet.version == 4 else 16
    outer = packet.network + (12 if packet.version == 4 else 8)
    changed[outer : outer + 2 * width] = edit.source + edit.destination
    inner = about.at + (12 if packet.version == 4 else 8)
    if inner_source is not None:
        changed[inner : inner + width] = inner_source[0]
        changed[about.ports : about.ports + 2] = inner_source[1].to_bytes(2, "big")
    if inner_destination is not None:
        changed[inner + width : inner + 2 * width] = inner_destination[0]
        changed[about.ports + 2 : about.ports + 4] = inner_destination[1].to_bytes(2, "big")
    start = 0
    if packet.version == 4:
        _refresh(changed, packet.network, packet.transport, 10)
        _refresh(changed, about.at, about.ports, 10)
    else:
        size = packet.end - packet.transport
        start = total(ip.pseudo_header(edit.source, edit.destination, packet.protocol, size))
    _refresh(changed, packet.transport, packet.end, 2, start)
    return bytes(changed)


def _refresh(frame: bytearray, begin: int, end: int, offset: int, start: int = 0) -> None:
    field = slice(begin + offset, begin + offset + 2)
    frame[field] = bytes(2)
    frame[field] = checksum(frame[begin:end], start).to_bytes(2, "big")
