"""Neighbour discovery (RFC 4861): IPv6's way to ask who has an address, and to say so."""

from enum import IntEnum, IntFlag
from struct import Struct
from typing import NamedTuple

from vxnet.errors import WireError
from vxnet.wire import ethernet, ip
from vxnet.wire.addr import Ip, Mac
from vxnet.wire.checksum import checksum, is_valid, total
from vxnet.wire.ethernet import Buffer, Ethertype
from vxnet.wire.ip import Packet, Protocol

__all__ = [
    "Advertisement",
    "Flag",
    "Icmpv6",
    "NeighbourMessage",
    "Solicitation",
    "advertise",
    "parse",
    "solicit",
]

_HOP_LIMIT = 255  # RFC 4861 §7.1: proof that no router passed the packet on
_MESSAGE = Struct("!BBH")
_HEADER = Struct("!BBHB3x16s")  # type, code, checksum, flags, target
_OPTION_MAC = Struct("!BB6s")
_IPV6 = Struct("!IHBB16s16s")
_MESSAGE_BYTES = 24
_OPTION_BYTES = 8
_UNSPECIFIED = bytes(16)
_ALL_NODES = Ip(bytes.fromhex("ff02" + "00" * 13 + "01"))
_ALL_NODES_MAC = Mac(bytes.fromhex("333300000001"))


class Icmpv6(IntEnum):
    """The message types that concern a switch."""

    ROUTER_SOLICITATION = 133
    ROUTER_ADVERTISEMENT = 134
    NEIGHBOUR_SOLICITATION = 135
    NEIGHBOUR_ADVERTISEMENT = 136


class Flag(IntFlag):
    """An advertisement's flags."""

    NONE = 0
    OVERRIDE = 0x20
    SOLICITED = 0x40
    ROUTER = 0x80


class _Option(IntEnum):
    SOURCE_MAC = 1
    TARGET_MAC = 2


class Solicitation(NamedTuple):
    """`source` asks who has `target`; a source of zeros wants to take it (RFC 4862 §5.4)."""

    source: Ip
    target: Ip
    mac: Mac | None  # the asker's own, where it says so

    @property
    def is_probe(self) -> bool:
        """Whether this is duplicate address detection."""
        return self.source == _UNSPECIFIED


class Advertisement(NamedTuple):
    """`target` is at `mac`."""

    source: Ip
    target: Ip
    mac: Mac | None
    flags: int

    @property
    def is_solicited(self) -> bool:
        """Whether it answers a question; else the sender tells of itself."""
        return bool(self.flags & Flag.SOLICITED)


NeighbourMessage = Solicitation | Advertisement


def parse(frame: Buffer, packet: Packet) -> NeighbourMessage | None:
    """The neighbour message of an IPv6 packet; None where it carries something else.

    Raises WireError for one that RFC 4861 §7.1 has receivers discard: a hop limit that is not 255,
    a wrong checksum, a group as target, an option without length.
    """
    if packet.version != 6 or packet.protocol != Protocol.ICMPV6 or packet.is_fragment:
        return None
    at, size = packet.transport, packet.end - packet.transport
    if size < _MESSAGE.size or frame[at] not in (
        Icmpv6.NEIGHBOUR_SOLICITATION,
        Icmpv6.NEIGHBOUR_ADVERTISEMENT,
    ):
        return None
    if size < _MESSAGE_BYTES:
        raise WireError(f"neighbour message of {size} octets, at least {_MESSAGE_BYTES} are needed")
    if (hops := ip.hop_limit(frame, packet)) != _HOP_LIMIT:
        raise WireError(f"neighbour message with hop limit {hops}; only {_HOP_LIMIT} is local")
    kind, code, _, flags, target = _HEADER.unpack_from(frame, at)
    source, destination = ip.addresses(frame, packet)
    if code or target[0] == 0xFF:
        raise WireError(f"neighbour message with code {code} for the target {target.hex()}")
    if not is_valid(frame[at : packet.end], _covered(source, destination, size)):
        raise WireError("neighbour message with a wrong checksum")
    wanted = _Option.SOURCE_MAC
    if kind == Icmpv6.NEIGHBOUR_ADVERTISEMENT:
        wanted = _Option.TARGET_MAC
    mac = _option(frame, at + _MESSAGE_BYTES, packet.end, wanted)
    if kind == Icmpv6.NEIGHBOUR_ADVERTISEMENT:
        return Advertisement(source, Ip(target), mac, flags)
    if mac is not None and source == _UNSPECIFIED:
        raise WireError("neighbour solicitation from :: that names a link-layer address")
    return Solicitation(source, Ip(target), mac)


def _option(frame: Buffer, at: int, end: int, wanted: int) -> Mac | None:
    """The MAC in the first option of the wanted kind; others are passed over."""
    while at < end:
        size = frame[at + 1] * 8 if at + 2 <= end else 0
        if not size or at + size > end:
            raise WireError(f"neighbour option of {size} octets, with {end - at} left")
        if frame[at] == wanted and size == _OPTION_BYTES:
            return Mac(bytes(frame[at + 2 : at + 8]))
        at += size
    return None


def advertise(asked: Solicitation, asker: Mac, owner: Mac, *, router: bool = False) -> bytes:
    """The frame that answers for `owner`: S=1 O=1, its MAC in an option, hop limit 255.

    To a probe the answer goes to all nodes with S=0, so that the prober gives the address up
    (RFC 4861 §7.2.4).
    """
    flags = Flag.OVERRIDE | (Flag.ROUTER if router else Flag.NONE)
    if asked.is_probe:
        destination, to = _ALL_NODES, _ALL_NODES_MAC
    else:
        destination, to = asked.source, asker
        flags |= Flag.SOLICITED
    option = _OPTION_MAC.pack(_Option.TARGET_MAC, 1, owner)
    kind = Icmpv6.NEIGHBOUR_ADVERTISEMENT
    return _frame(to, owner, asked.target, destination, kind, flags, asked.target, option)


def solicit(sender: Mac, source: Ip, target: Ip) -> bytes:
    """The frame that asks for `target`; a `source` of zeros makes it a probe."""
    group = Ip(bytes.fromhex("ff02" + "00" * 9 + "01ff") + target[13:])
    option = _OPTION_MAC.pack(_Option.SOURCE_MAC, 1, sender) if source != _UNSPECIFIED else b""
    kind = Icmpv6.NEIGHBOUR_SOLICITATION
    return _frame(
        Mac(b"\x33\x33" + group[12:]), sender, source, group, kind, Flag.NONE, target, option
    )


def _frame(
    to: Mac,
    sender: Mac,
    source: Ip,
    destination: Ip,
    kind: int,
    flags: int,
    target: Ip,
    option: bytes,
) -> bytes:
    message = bytearray(_HEADER.pack(kind, 0, 0, flags, target) + option)
    sums = _covered(source, destination, len(message))
    message[2:4] = checksum(message, sums).to_bytes(2, "big")
    header = _IPV6.pack(6 << 28, len(message), Protocol.ICMPV6, _HOP_LIMIT, source, destination)
    return ethernet.build(to, sender, Ethertype.IPV6) + header + message


def _covered(source: Ip, destination: Ip, size: int) -> int:
    """What the checksum covers besides the message."""
    return total(ip.pseudo_header(source, destination, Protocol.ICMPV6, size))
