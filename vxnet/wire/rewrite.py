"""Other addresses and ports in a packet that stays what it was: its checksums follow (RFC 1624)."""

from struct import Struct, unpack
from typing import NamedTuple

from vxnet.wire.addr import Ip, Mac
from vxnet.wire.checksum import MODULUS
from vxnet.wire.ip import Packet, Protocol

__all__ = ["Edit", "apply"]

_PORTS = Struct("!HH")
_FIELD = Struct("!H")
_CHECKSUMS = {Protocol.TCP: 16, Protocol.UDP: 6}  # where it is in the header


class Edit(NamedTuple):
    """What a frame shall say, from whom to whom."""

    destination_mac: Mac
    source_mac: Mac
    source: Ip
    destination: Ip
    source_port: int
    destination_port: int


def apply(
    edit: Edit, frame: bytearray | memoryview, packet: Packet, *, is_partial: bool, has_ports: bool
) -> None:
    """Write it into a frame whose packet is TCP or UDP and of the edit's version of IP.

    `is_partial` says that the checksum is yet to be made, and its field holds the pseudo-header's
    sum (VIRTIO_NET_HDR_F_NEEDS_CSUM). Without `has_ports` it is a fragment but the first, of which
    only the addresses are there.
    """
    frame[:6], frame[6:12] = edit.destination_mac, edit.source_mac
    at = packet.network + (12 if packet.version == 4 else 8)
    addresses = edit.source + edit.destination
    change = _sum(addresses) - _sum(frame[at : at + len(addresses)])
    frame[at : at + len(addresses)] = addresses
    if packet.version == 4:
        _add(frame, packet.network + 10, change, is_partial=False)
    if not has_ports:
        return
    field = packet.transport + _CHECKSUMS[Protocol(packet.protocol)]
    if is_partial:
        _add(frame, field, change, is_partial=True)
    else:
        before = _PORTS.unpack_from(frame, packet.transport)
        change += edit.source_port + edit.destination_port - sum(before)
        is_udp = packet.protocol == Protocol.UDP
        if not (is_udp and frame[field] == frame[field + 1] == 0):  # RFC 768: there is none
            _add(frame, field, change, is_partial=False)
            if is_udp and frame[field] == frame[field + 1] == 0:
                _FIELD.pack_into(frame, field, MODULUS)
    _PORTS.pack_into(frame, packet.transport, edit.source_port, edit.destination_port)


def _sum(octets: bytes | bytearray | memoryview) -> int:
    return sum(unpack(f"!{len(octets) // 2}H", octets))


def _add(frame: bytearray | memoryview, at: int, change: int, *, is_partial: bool) -> None:
    """Bring a sum, or its complement, up to date."""
    (field,) = _FIELD.unpack_from(frame, at)
    if is_partial:
        _FIELD.pack_into(frame, at, (field + change) % MODULUS)
    else:
        _FIELD.pack_into(frame, at, MODULUS - ((MODULUS - field) + change) % MODULUS)
