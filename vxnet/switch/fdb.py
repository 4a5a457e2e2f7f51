"""The forwarding table of one network: which station is behind which port or tunnel.

An entry is there because the control plane said so, because a port was made for it, or because its
frames were seen. Only the last kind is bounded, ages and gives way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from vxnet.switch.actions import Deliver, Drop, DropReason, Send
from vxnet.wire.addr import Ip, Mac

__all__ = ["Fdb", "Limits", "Place", "Source", "Station"]

_SPLIT_HORIZON = Drop(DropReason.SPLIT_HORIZON)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be learned from frames, and for how long it is believed."""

    ageing_s: float = 300.0
    keep_s: float = 10.0  # a station heard from within this time makes no room for a new one
    learned_max: int = 65_536  # in one network
    learned_per_port_max: int = 1_024
    learned_per_peer_max: int = 16_384
    ips_per_station_max: int = 8
    events_max: int = 4_096  # waiting to be told
    news_per_s: float = 100.0  # of one port, once its burst is spent
    news_burst: float = 1_000.0


class Source(StrEnum):
    """Why an entry is there. The text is what people see in the table."""

    CONTROL = "control"
    LOCAL = "local"
    LEARNED = "learned"


class Place:
    """Where stations are: behind one port of this host, or behind one tunnel.

    `action` is what becomes of frames to them that a local port sent; `inward` of those that came
    out of a tunnel. Both are made once, so that a hit costs no allocation.
    """

    __slots__ = ("action", "inward", "learned", "learned_max")

    def __init__(self, action: Deliver | Send, learned_max: int) -> None:
        self.action = action
        # RFC 7348 §4: never from tunnel to tunnel.
        self.inward: Deliver | Drop = action if isinstance(action, Deliver) else _SPLIT_HORIZON
        self.learned: dict[bytes, Station] = {}
        self.learned_max = learned_max


class Station:
    """One entry. `ips` were assigned or announced, `heard` were seen in its ARP and ND."""

    __slots__ = (
        "action",
        "heard",
        "inward",
        "ips",
        "mac",
        "place",
        "router",
        "seen",
        "source",
        "told",
    )

    def __init__(self, mac: Mac, place: Place, source: Source, now: float = 0.0) -> None:
        self.mac = mac
        self.place = place
        self.action = place.action
        self.inward = place.inward
        self.source = source
        self.seen = now
        self.told: float | None = None  # when it was last reported as seen where it should not be
        self.ips: tuple[Ip, ...] = ()
        self.heard: tuple[Ip, ...] = ()
        self.router = False


class Fdb:
    """Stations by MAC. `stations` is public for the one lookup a frame costs; do not change it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._learned = 0
        self.stations: dict[bytes, Station] = {}

    def __iter__(self) -> Iterator[Station]:
        return iter(self.stations.values())

    def put(self, station: Station) -> None:
        """Enter a station that the control plane or a port vouches for, in place of any other."""
        self.remove(station.mac)
        self.stations[station.mac] = station

    def learn(self, mac: Mac, place: Place, now: float) -> Station:
        """Enter a station that was seen; call `has_room` first."""
        station = Station(mac, place, Source.LEARNED, now)
        self.stations[mac] = place.learned[mac] = station
        self._learned += 1
        return station

    def move(self, station: Station, place: Place, now: float) -> None:
        """A learned station was seen elsewhere."""
        del station.place.learned[station.mac]
        place.learned[station.mac] = station
        station.place, station.action, station.inward = place, place.action, place.inward
        station.seen = now

    def remove(self, mac: bytes) -> Station | None:
        """Take out whatever is known of a MAC, and return it."""
        station = self.stations.pop(mac, None)
        if station is not None and station.source is Source.LEARNED:
            del station.place.learned[mac]
            self._learned -= 1
        return station

    def has_room(self, place: Place) -> bool:
        """Whether one more station may be learned there."""
        return len(place.learned) < place.learned_max and self._learned < self._limits.learned_max

    def victim(self, place: Place, now: float) -> Station | None:
        """A station that may make room for another behind the same place, if there is one.

        Each place pays for itself, so a flood of addresses behind one leaves the others alone. A
        station that speaks keeps its entry; looking at one candidate a time keeps this cheap.
        """
        oldest = next(iter(place.learned.values()), None)
        if oldest is not None and now - oldest.seen < self._limits.keep_s:
            # Heard from lately: it goes to the end of the line.
            place.learned[oldest.mac] = place.learned.pop(oldest.mac)
            return None
        return oldest

    def stale(self, places: list[Place], now: float) -> list[Station]:
        """The learned stations that were silent for too long, whatever was sent to them."""
        limit = now - self._limits.ageing_s
        return [
            station
            for place in places
            for station in place.learned.values()
            if station.seen <= limit
        ]
