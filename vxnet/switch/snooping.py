"""Who of one network listens to which group, so that a stream goes only there (RFC 4541).

Until a router asks (a querier is seen) nobody is obliged to say what they listen to, so everything
floods. Groups are told apart by their MAC, as frames are.
"""

from collections.abc import Iterable

from vxnet.switch.limits import Limits
from vxnet.switch.places import Place
from vxnet.wire import ip, membership
from vxnet.wire.addr import Mac
from vxnet.wire.ethernet import Buffer, Ethertype
from vxnet.wire.ip import Protocol
from vxnet.wire.membership import Listening, MembershipMessage, Query

__all__ = ["Listeners", "is_multicast_ip", "is_to_all", "read"]

_NEXT_HEADER = 20  # of an IPv6 frame
_PROTOCOL = 23  # of an IPv4 frame
_BEFORE_MLD = frozenset({Protocol.HOP_BY_HOP, Protocol.ICMPV6})
_ALL_NODES = b"\x33\x33\0\0\0\x01"
_TO_ALL = frozenset({_ALL_NODES, b"\x01\0\x5e\0\0\x01"})


def is_multicast_ip(mac: bytes) -> bool:
    """Whether a group MAC is one that IPv4 or IPv6 groups have, and one that is not for all.

    224.0.0.0/24 and ff02::1 are, as routers and hosts never report them (RFC 4541 §2.1.2, §3).
    """
    if mac[:2] == b"\x33\x33":
        return mac != _ALL_NODES
    return mac[:3] == b"\x01\0\x5e" and mac[3:5] != b"\0\0"


def read(frame: Buffer, ethertype: int) -> MembershipMessage | None:
    """The membership message of an untagged frame to a group; None where it is something else.

    Raises WireError for one that receivers are to discard.
    """
    if ethertype == Ethertype.IPV4:
        if len(frame) <= _PROTOCOL or frame[_PROTOCOL] != Protocol.IGMP:
            return None
    elif (
        ethertype != Ethertype.IPV6
        or len(frame) <= _NEXT_HEADER
        or frame[_NEXT_HEADER] not in _BEFORE_MLD
    ):
        return None
    packet = ip.locate(frame)
    return membership.parse(frame, packet) if packet is not None else None


def is_to_all(mac: bytes) -> bool:
    """Whether a query to this MAC reaches every host, as a general query must."""
    return mac in _TO_ALL


class Listeners:
    """Members and routers of one network, for one version of IP.

    Every place's share is bounded; one that listens to more groups than that gets everything.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._members: dict[Mac, dict[Place, float]] = {}
        self._groups: dict[Place, int] = {}
        self._routers: dict[Place, float] = {}
        self._greedy: dict[Place, float] = {}
        self._trusted_from: float | None = None
        self.version = 0  # changes whenever an answer may

    def is_trusted(self, now: float) -> bool:
        """Whether those not known to listen may be left out: all were asked, and had their time."""
        return self._trusted_from is not None and now >= self._trusted_from

    def routers(self) -> set[Place]:
        """Where queriers are: they get every stream, and every report."""
        return {*self._routers}

    def listeners(self, group: bytes) -> set[Place]:
        """Where the frames of a group are wanted."""
        return {*self._routers, *self._greedy, *self._members.get(Mac(group), ())}

    def on_query(self, place: Place, query: Query, to_all: bool, now: float) -> None:
        """A router asks; one without an address is only a switch that does (RFC 4541 §2.1.1)."""
        if not any(query.source):
            return
        if place not in self._routers:
            self.version += 1
        self._routers[place] = now + self._limits.querier_s
        if self._trusted_from is None and to_all and query.group is None:
            self._trusted_from = now + query.response_s + self._limits.leaving_s

    def on_report(self, place: Place, listening: Iterable[Listening], now: float) -> None:
        """Somebody behind a place listens, or no longer."""
        for group, listens in listening:
            mac = membership.group_mac(group)
            if listens:
                self._join(place, mac, now)
            else:
                self._leave(place, mac, now)

    def forget(self, place: Place) -> None:
        """A port or peer is gone."""
        for mac in [mac for mac, places in self._members.items() if place in places]:
            self._remove(place, mac)
        for known in (self._routers, self._greedy):
            if known.pop(place, None) is not None:
                self._changed()

    def expire(self, now: float) -> None:
        """Forget what was not said again in time."""
        for mac, places in list(self._members.items()):
            for place in [place for place, until in places.items() if until <= now]:
                self._remove(place, mac)
        for known in (self._routers, self._greedy):
            for place in [place for place, until in known.items() if until <= now]:
                del known[place]
                self._changed()

    def _changed(self) -> None:
        self.version += 1
        if not self._routers:
            self._trusted_from = None  # nobody asks any more, so nobody may answer

    def _join(self, place: Place, mac: Mac, now: float) -> None:
        until = now + self._limits.member_s
        places = self._members.get(mac, {})
        if place not in places:
            if self._groups.get(place, 0) >= self._limits.groups_per_place_max:
                if place not in self._greedy:
                    self.version += 1
                self._greedy[place] = until
                return
            self._groups[place] = self._groups.get(place, 0) + 1
            self._members[mac] = places
            self.version += 1
        places[place] = until

    def _leave(self, place: Place, mac: Mac, now: float) -> None:
        # Another behind the same place may listen still; the querier asks, and it will say so.
        places = self._members.get(mac)
        if places is not None and place in places:
            places[place] = min(places[place], now + self._limits.leaving_s)

    def _remove(self, place: Place, mac: Mac) -> None:
        places = self._members[mac]
        del places[place]
        if not places:
            del self._members[mac]
        self._groups[place] -= 1
        if not self._groups[place]:
            del self._groups[place]
        self.version += 1
