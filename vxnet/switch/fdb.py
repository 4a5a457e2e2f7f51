"""The forwarding table of one network: which station is behind which port or tunnel.

An entry is there because the control plane said so, because a port was made for it, or because its
frames were seen. Only the last kind is bounded, ages and gives way.
"""

from collections.abc import Iterator

from vxnet.switch.limits import Limits
from vxnet.switch.places import Place, Source, Station
from vxnet.wire.addr import Mac

__all__ = ["Fdb"]


class Fdb:
    """Stations by MAC. `stations` is public for the one lookup a frame costs; do not change it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._learned: dict[Place, dict[bytes, Station]] = {}  # each in the order of learning
        self._learned_count = 0
        self.stations: dict[bytes, Station] = {}
        # Whose entries changed, for who keeps a copy of the table; None where nobody does.
        self.changed: set[bytes] | None = None

    def __iter__(self) -> Iterator[Station]:
        return iter(self.stations.values())

    def put(self, station: Station) -> None:
        """Enter a station that the control plane or a port vouches for, in place of any other."""
        self.remove(station.mac)
        self._enter(station)

    def learn(self, mac: Mac, place: Place, now: float) -> None:
        """Enter a station that was seen; call `has_room` first."""
        station = Station(mac, place, Source.LEARNED, now)
        self._enter(station)
        self._learned.setdefault(place, {})[mac] = station
        self._learned_count += 1

    def move(self, station: Station, place: Place, now: float) -> None:
        """A learned station was seen elsewhere; call `has_room` first."""
        self.remove(station.mac)
        station.place, station.action, station.inward = place, place.action, place.inward
        station.seen = now
        self._enter(station)
        self._learned.setdefault(place, {})[station.mac] = station
        self._learned_count += 1

    def remove(self, mac: bytes) -> None:
        """Take out whatever is known of a MAC."""
        station = self.stations.pop(mac, None)
        if station is not None and self.changed is not None:
            self.changed.add(mac)
        if station is not None and station.source is Source.LEARNED:
            learned = self._learned[station.place]
            del learned[mac]
            if not learned:
                del self._learned[station.place]
            self._learned_count -= 1

    def learned(self, place: Place) -> list[Station]:
        """The stations learned behind a place."""
        return list(self._learned.get(place, {}).values())

    def has_room(self, place: Place) -> bool:
        """Whether one more station may be learned there."""
        return (
            len(self._learned.get(place, ())) < place.learned_max
            and self._learned_count < self._limits.learned_max
        )

    def victim(self, place: Place, now: float) -> Station | None:
        """A station that may make room for another behind the same place, if there is one.

        Each place pays for itself, so a flood of addresses behind one leaves the others alone. A
        station that speaks keeps its entry; looking at one candidate a time keeps this cheap.
        """
        learned = self._learned.get(place)
        if not learned:
            return None
        oldest = next(iter(learned.values()))
        if now - oldest.seen < self._limits.keep_s:
            # Heard from lately: it goes to the end of the line.
            learned[oldest.mac] = learned.pop(oldest.mac)
            return None
        return oldest

    def stale(self, now: float) -> list[Station]:
        """The learned stations that were silent for too long, whatever was sent to them."""
        limit = now - self._limits.ageing_s
        return [
            station
            for learned in self._learned.values()
            for station in learned.values()
            if station.seen <= limit
        ]

    def _enter(self, station: Station) -> None:
        self.stations[station.mac] = station
        if self.changed is not None:
            self.changed.add(station.mac)
