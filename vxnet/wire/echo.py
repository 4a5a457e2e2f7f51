"""Echo requests with a payload of our choice: ICMP (RFC 792) and ICMPv6 (RFC 4443)."""

from struct import Struct
from typing import Final

from vxnet.wire.addr import Ip, Mac
from vxnet.wire.checksum import checksum, total
from vxnet.wire.ethernet import HEADER, Ethertype
from vxnet.wire.ip import Protocol, pseudo_header

__all__ = ["request"]

_ICMP = Struct("!BBHHH")
_IPV4 = Struct("!BBHHHBBH4s4s")
_IPV6 = Struct("!IHBB16s16s")
_ECHO_V4, _ECHO_V6 = 8, 128
_HOPS: Final = 64
_IPV4_BYTES: Final = 20


def request(
    source_mac: Mac, target_mac: Mac, source: Ip, target: Ip, payload: bytes, identifier: int
) -> bytes:
    """An Ethernet frame with an echo request; both addresses are of one version."""
    if len(source) == 4:
        icmp = _icmp(_ECHO_V4, identifier, payload, 0)
        size = _IPV4_BYTES + len(icmp)
        header = bytearray(
            _IPV4.pack(0x45, 0, size, identifier, 0, _HOPS, Protocol.ICMP, 0, source, target)
        )
        header[10:12] = checksum(header).to_bytes(2, "big")
        ethertype = Ethertype.IPV4
    else:
        size = _ICMP.size + len(payload)
        pseudo = total(pseudo_header(source, target, Protocol.ICMPV6, size))
        icmp = _icmp(_ECHO_V6, identifier, payload, pseudo)
        header = bytearray(_IPV6.pack(6 << 28, size, Protocol.ICMPV6, _HOPS, source, target))
        ethertype = Ethertype.IPV6
    return HEADER.pack(target_mac, source_mac, ethertype) + bytes(header) + icmp


def _icmp(kind: int, identifier: int, payload: bytes, start: int) -> bytes:
    message = _ICMP.pack(kind, 0, 0, identifier, 1) + payload
    return message[:2] + checksum(message, start).to_bytes(2, "big") + message[4:]
