"""A number for the flow a frame belongs to, so that one flow takes one path (RFC 7348 §4)."""

from struct import Struct, error
from zlib import crc32

from vxnet.errors import WireError
from vxnet.wire import ip
from vxnet.wire.ethernet import Buffer, Ethertype
from vxnet.wire.ip import Protocol

__all__ = ["flow_hash"]

# One look at the commonest frames: ethertype, version and IHL, fragment, protocol, addresses+ports.
_IPV4_FLOW = Struct("!12xHBx4xHxB2x12s")
# Ethertype, next header, addresses+ports.
_IPV6_FLOW = Struct("!12xH6xBx36s")
_IPV4, _IPV6 = int(Ethertype.IPV4), int(Ethertype.IPV6)
_PORTED = frozenset({int(Protocol.TCP), int(Protocol.UDP)})


def flow_hash(frame: Buffer) -> int:
    """32 bits: equal for all frames of a flow, evenly spread over flows. Takes any octets.

    A flow is addresses, protocol and ports; for fragments and what has no ports it is addresses and
    protocol; for what is not IP it is the two MACs.
    """
    try:
        ethertype, version, fragment, protocol, octets = _IPV4_FLOW.unpack_from(frame)
        if ethertype == _IPV4:
            if version == 0x45 and not fragment & 0x3FFF and protocol in _PORTED:
                return crc32(octets, protocol)
        elif ethertype == _IPV6:
            _, protocol, octets = _IPV6_FLOW.unpack_from(frame)
            if protocol in _PORTED:
                return crc32(octets, protocol)
    except error:
        pass  # too short for that, but perhaps not for a closer look
    try:
        return _uncommon(frame)
    except WireError:
        return crc32(frame[:12])


def _uncommon(frame: Buffer) -> int:
    """Tags, options, extension headers, fragments, other protocols, short frames."""
    packet = ip.locate(frame)
    if packet is None:
        return crc32(frame[:12])
    source, destination = ip.addresses(frame, packet)
    if packet.protocol in _PORTED and not packet.is_fragment:
        ports = bytes(frame[packet.transport : packet.transport + 4])
        return crc32(source + destination + ports, packet.protocol)
    # A flow's fragments have no ports but in the first, so its whole packets of other sizes may
    # take another path: as every hash over ports has it.
    return crc32(source + destination, packet.protocol)
