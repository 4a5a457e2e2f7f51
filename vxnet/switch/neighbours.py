"""Who has which IP in one network, and what ARP and neighbour discovery say and ask about it."""

from typing import NamedTuple

from vxnet.switch.places import Station
from vxnet.wire import arp, ethernet, ip, nd
from vxnet.wire.addr import Ip, Mac
from vxnet.wire.ethernet import Buffer, Ethertype

__all__ = ["MAY_BE_ND", "Neighbours", "Notice", "answer", "is_link_local", "read"]

MAY_BE_ND = frozenset({0, 43, 44, 51, 58, 60})
"""IPv6 next headers behind which a neighbour message may be: ICMPv6 and extension headers."""

_ICMPV6 = 58
_NEXT_HEADER, _ICMPV6_TYPE = 20, 54  # of a frame without tags and extension headers
_ND_TYPES = frozenset({nd.Icmpv6.NEIGHBOUR_SOLICITATION, nd.Icmpv6.NEIGHBOUR_ADVERTISEMENT})


class Notice(NamedTuple):
    """What a frame says (`mac` has `ip`) and asks (who has `wanted`)."""

    ip: Ip | None
    mac: Mac | None  # None leaves it to the frame's source
    wanted: Ip | None
    question: arp.Arp | nd.Solicitation | None  # as it came, to answer it
    is_tagged: bool


def read(frame: Buffer) -> Notice | None:
    """What a frame says or asks about neighbours; None where it is about something else.

    Raises WireError for ARP and neighbour messages that receivers are to discard.
    """
    ethertype, offset = ethernet.payload(frame)
    is_tagged = offset > ethernet.HEADER_BYTES
    if ethertype == Ethertype.ARP:
        return _read_arp(arp.parse(frame, offset), is_tagged)
    if ethertype != Ethertype.IPV6 or (
        # Most of ICMPv6 is echo, and needs no closer look.
        not is_tagged
        and len(frame) > _ICMPV6_TYPE
        and frame[_NEXT_HEADER] == _ICMPV6
        and frame[_ICMPV6_TYPE] not in _ND_TYPES
    ):
        return None
    packet = ip.locate(frame)
    message = nd.parse(frame, packet) if packet is not None else None
    match message:
        case nd.Solicitation(source, target, mac):
            said = source if mac is not None else None
            return Notice(said, mac, target, message, is_tagged)
        case nd.Advertisement(_, target, mac):
            return Notice(target, mac, None, None, is_tagged)
        case _:
            return None


def _read_arp(packet: arp.Arp, is_tagged: bool) -> Notice:
    # A probe claims nothing yet, and its answer must come from the owner itself (RFC 5227 §2.1.1).
    if packet.is_probe:
        return Notice(None, None, None, None, is_tagged)
    if packet.operation != arp.Operation.REQUEST or packet.is_gratuitous:
        return Notice(packet.sender_ip, packet.sender_mac, None, None, is_tagged)
    return Notice(packet.sender_ip, packet.sender_mac, packet.target_ip, packet, is_tagged)


def answer(question: arp.Arp | nd.Solicitation, asker: Mac, owner: Station) -> bytes:
    """The frame by which `owner` would answer."""
    if isinstance(question, arp.Arp):
        return arp.reply(question, owner.mac)
    return nd.advertise(question, asker, owner.mac, router=owner.router)


def is_link_local(address: Ip) -> bool:
    """Whether an IPv6 address is one that hosts give themselves (fe80::/10)."""
    return len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80


class Neighbours:
    """Stations by IP. What was assigned or announced comes before what was only heard."""

    def __init__(self, ips_per_station_max: int) -> None:
        self._ips_max = ips_per_station_max
        self._fixed: dict[Ip, list[Station]] = {}
        self._heard: dict[Ip, Station] = {}
        self.stand_ins: dict[Ip, Station] = {}
        """What answers for an address as long as nobody has it."""

    def find(self, address: Ip) -> Station | None:
        """Who has it; of several that were given it, the first."""
        fixed = self._fixed.get(address)
        return fixed[0] if fixed else self._heard.get(address)

    def is_fixed(self, address: Ip) -> bool:
        """Whether its owner is known for certain, not only from what was heard."""
        return address in self._fixed

    def fix(self, station: Station) -> None:
        """Enter the addresses a station was given."""
        for address in station.ips:
            self._fixed.setdefault(address, []).append(station)

    def is_news(self, address: Ip, station: Station) -> bool:
        """Whether it is believed, and not known yet, when a station says it has an address."""
        return (
            _is_host(address)
            and address not in self._fixed
            and self._heard.get(address) is not station
        )

    def hear(self, address: Ip, station: Station) -> None:
        """Enter what `is_news`; the latest to say so has it."""
        previous = self._heard.get(address)
        if previous is not None:
            self._unhear(address, previous)
        if len(station.heard) >= self._ips_max:
            self._unhear(station.heard[0], station)
        station.heard += (address,)
        self._heard[address] = station

    def forget(self, station: Station) -> None:
        """Take out all addresses of a station."""
        for address in station.ips:
            owners = self._fixed[address]
            owners.remove(station)
            if not owners:
                del self._fixed[address]
        for address in station.heard:
            del self._heard[address]
        station.heard = ()

    def _unhear(self, address: Ip, station: Station) -> None:
        station.heard = tuple(other for other in station.heard if other != address)
        del self._heard[address]


def _is_host(address: Ip) -> bool:
    """Whether a single station can have an address: not unspecified, loopback or a group."""
    if len(address) == 4:
        return 0 < address[0] < 224 and address[0] != 127
    return address[0] != 0xFF and address[:15] != bytes(15)
