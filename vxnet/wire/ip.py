"""IPv4 and IPv6 headers (RFC 791, RFC 8200): where things are in a packet, and what they say."""

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from vxnet.errors import WireError
from vxnet.wire import ethernet
from vxnet.wire.addr import Ip
from vxnet.wire.ethernet import Buffer, Ethertype

__all__ = [
    "IPV4_BYTES",
    "IPV6_BYTES",
    "Packet",
    "Protocol",
    "addresses",
    "hop_limit",
    "locate",
    "pseudo_header",
]

IPV4_BYTES = 20
"""A header without options."""

IPV6_BYTES = 40
"""A header without extension headers."""


class Protocol(IntEnum):
    """What a packet carries: IPv4's protocol, IPv6's last next header."""

    HOP_BY_HOP = 0
    ICMP = 1
    IGMP = 2
    TCP = 6
    UDP = 17
    ROUTING = 43
    FRAGMENT = 44
    AUTHENTICATION = 51
    ICMPV6 = 58
    NO_NEXT = 59
    DESTINATION_OPTIONS = 60


# RFC 8200 §4.1; each but the fragment header says its own length.
_EXTENSIONS = frozenset({0, 43, 44, 51, 60})
_EXTENSIONS_MAX = 8  # bounds the walk; real packets have one or two

_IPV4 = Struct("!BxH2xHxB")  # version and IHL, total length, flags and fragment offset, protocol
_IPV6 = Struct("!B3xHB")  # version, payload length, next header
_EXTENSION = Struct("!BBH")  # next header, length, and for a fragment its offset and M flag
_PSEUDO_V4 = Struct("!4s4sBBH")
_PSEUDO_V6 = Struct("!16s16sI3xB")


class Packet(NamedTuple):
    """Where the parts of a frame's IP packet are: offsets from the frame's first octet."""

    version: int
    network: int  # the IP header
    transport: int  # what follows the IP header with its options or extension headers
    end: int  # past the packet's last octet; the frame may be longer (padding)
    protocol: int  # of what is at `transport`
    is_fragment: bool  # a part of a packet: only the first has a transport header
    is_extended: bool  # it has IPv4 options or IPv6 extension headers


def locate(frame: Buffer) -> Packet | None:
    """Find the IP packet of a frame, behind any VLAN tags; None where it carries none.

    Raises WireError where the headers contradict the frame's length.
    """
    ethertype, offset = ethernet.payload(frame)
    if ethertype == Ethertype.IPV4:
        return _locate_v4(frame, offset)
    if ethertype == Ethertype.IPV6:
        return _locate_v6(frame, offset)
    return None


def _locate_v4(frame: Buffer, offset: int) -> Packet:
    available = len(frame) - offset
    if available < IPV4_BYTES:
        raise WireError(f"IPv4 packet of {available} octets, at least {IPV4_BYTES} are needed")
    version, total, fragment, protocol = _IPV4.unpack_from(frame, offset)
    header = (version & 0x0F) * 4
    if version >> 4 != 4 or header < IPV4_BYTES:
        raise WireError(f"IPv4 header that starts with {version:#04x}")
    if not header <= total <= available:
        raise WireError(
            f"IPv4 packet that says it has {total} octets, with a header of {header}, "
            f"in {available} octets"
        )
    return Packet(
        version=4,
        network=offset,
        transport=offset + header,
        end=offset + total,
        protocol=protocol,
        is_fragment=bool(fragment & 0x3FFF),  # more fragments, or not the first
        is_extended=header > IPV4_BYTES,
    )


def _locate_v6(frame: Buffer, offset: int) -> Packet:
    available = len(frame) - offset
    if available < IPV6_BYTES:
        raise WireError(f"IPv6 packet of {available} octets, at least {IPV6_BYTES} are needed")
    version, payload, protocol = _IPV6.unpack_from(frame, offset)
    if version >> 4 != 6:
        raise WireError(f"IPv6 header that starts with {version:#04x}")
    transport, end = offset + IPV6_BYTES, offset + IPV6_BYTES + payload
    if end > len(frame):
        raise WireError(
            f"IPv6 packet that says it has {payload} octets of payload, "
            f"in {available - IPV6_BYTES} octets"
        )
    is_fragment = False
    for _ in range(_EXTENSIONS_MAX + 1):
        if protocol not in _EXTENSIONS:
            break
        if transport + 8 > end:
            raise WireError(f"IPv6 extension header {protocol} that is cut off")
        following, length, fragment = _EXTENSION.unpack_from(frame, transport)
        if protocol == Protocol.FRAGMENT:
            transport += 8
            # An "atomic" fragment (offset 0, no more to come) is a whole packet (RFC 6946).
            is_fragment = is_fragment or bool(fragment & 0xFFF9)
            if fragment & 0xFFF8:
                protocol = following
                break  # what comes now is the middle of something, not a header
        elif protocol == Protocol.AUTHENTICATION:
            transport += (length + 2) * 4
        else:
            transport += (length + 1) * 8
        protocol = following
    else:
        raise WireError(f"IPv6 packet with more than {_EXTENSIONS_MAX} extension headers")
    if transport > end:
        raise WireError(f"IPv6 extension header that ends {transport - end} octets past its packet")
    return Packet(
        version=6,
        network=offset,
        transport=transport,
        end=end,
        protocol=protocol,
        is_fragment=is_fragment,
        is_extended=transport > offset + IPV6_BYTES,
    )


def addresses(frame: Buffer, packet: Packet) -> tuple[Ip, Ip]:
    """Source and destination."""
    at, size = (packet.network + 12, 4) if packet.version == 4 else (packet.network + 8, 16)
    return Ip(bytes(frame[at : at + size])), Ip(bytes(frame[at + size : at + 2 * size]))


def hop_limit(frame: Buffer, packet: Packet) -> int:
    """IPv6's hop limit, IPv4's time to live."""
    return frame[packet.network + (8 if packet.version == 4 else 7)]


def pseudo_header(source: Ip, destination: Ip, protocol: int, size: int) -> bytes:
    """What a checksum covers besides `size` octets of TCP, UDP or ICMPv6 (RFC 8200 §8.1)."""
    if len(source) == 4:
        return _PSEUDO_V4.pack(source, destination, 0, protocol, size)
    return _PSEUDO_V6.pack(source, destination, size, protocol)
