"""ARP for IPv4 over Ethernet: who has an address, and who says so (RFC 826, RFC 5227)."""

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from vxnet.errors import WireError
from vxnet.wire import ethernet
from vxnet.wire.addr import BROADCAST, Ip, Mac
from vxnet.wire.ethernet import Buffer, Ethertype

__all__ = ["PACKET_BYTES", "Arp", "Operation", "build", "parse", "reply", "request"]

_PACKET = Struct("!HHBBH6s4s6s4s")
PACKET_BYTES = 28

_HARDWARE_ETHERNET = 1
_UNSPECIFIED = bytes(4)
_NO_MAC = bytes(6)


class Operation(IntEnum):
    """What an ARP packet is."""

    REQUEST = 1
    REPLY = 2


class Arp(NamedTuple):
    """An ARP packet; `operation` is kept as it came, known or not."""

    operation: int
    sender_mac: Mac
    sender_ip: Ip
    target_mac: Mac
    target_ip: Ip

    @property
    def is_probe(self) -> bool:
        """Whether the sender asks if anybody uses an address it has not taken (RFC 5227 §1.1)."""
        return self.operation == Operation.REQUEST and self.sender_ip == _UNSPECIFIED

    @property
    def is_gratuitous(self) -> bool:
        """Whether the sender tells of itself rather than asks (RFC 5227 §3)."""
        return self.sender_ip == self.target_ip and self.sender_ip != _UNSPECIFIED


def parse(frame: Buffer, offset: int = ethernet.HEADER_BYTES) -> Arp:
    """Read the packet at `offset`. Raises WireError unless it is whole and IPv4 over Ethernet."""
    if len(frame) < offset + PACKET_BYTES:
        raise WireError(
            f"ARP packet of {max(0, len(frame) - offset)} octets, {PACKET_BYTES} are needed"
        )
    hardware, protocol, mac_bytes, ip_bytes, *fields = _PACKET.unpack_from(frame, offset)
    if (hardware, protocol, mac_bytes, ip_bytes) != (_HARDWARE_ETHERNET, Ethertype.IPV4, 6, 4):
        raise WireError(
            f"ARP for hardware {hardware} ({mac_bytes} octets) and protocol {protocol:#06x} "
            f"({ip_bytes} octets); only IPv4 over Ethernet is spoken here"
        )
    return Arp(*fields)


def build(destination: bytes, source: bytes, arp: Arp) -> bytes:
    """A whole frame with `arp` in it."""
    return ethernet.build(destination, source, Ethertype.ARP) + _PACKET.pack(
        _HARDWARE_ETHERNET, Ethertype.IPV4, 6, 4, *arp
    )


def request(sender_mac: Mac, sender_ip: Ip, target_ip: Ip) -> bytes:
    """The broadcast frame that asks for `target_ip`; a `sender_ip` of zeros makes it a probe."""
    ask = Arp(Operation.REQUEST, sender_mac, sender_ip, Mac(_NO_MAC), target_ip)
    return build(BROADCAST, sender_mac, ask)


def reply(asked: Arp, mac: Mac) -> bytes:
    """The frame that tells the asker that `mac` has the address it asked for."""
    answer = Arp(Operation.REPLY, mac, asked.target_ip, asked.sender_mac, asked.sender_ip)
    return build(asked.sender_mac, mac, answer)
