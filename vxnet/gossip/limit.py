"""How much is taken from whom: token buckets for senders that are known and those that are not."""

from collections import OrderedDict
from collections.abc import Hashable

from vxnet.gossip.settings import GossipSettings

__all__ = ["Bucket", "Limits"]

STRANGERS_KEPT = 1024
RELAYS_BURST_S = 3.0
"""A member that loses sight of many at once asks for many."""


class Bucket:
    """Fills at a rate, holds at most `burst`."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = now

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take an amount out, or leave it as it is and say no."""
        level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if level < amount:
            self._level = level
            return False
        self._level = level - amount
        return True

    def holds(self, now: float) -> bool:
        """Whether one could be taken."""
        return min(self._burst, self._level + (now - self._at) * self._rate) >= 1.0


class Share:
    """What one member may still send; there is one for each, so it is small."""

    __slots__ = ("_at", "_octets", "_packets")

    def __init__(self, settings: GossipSettings, now: float) -> None:
        self._packets = settings.sender_packets_per_s
        self._octets = settings.sender_bytes_per_s
        self._at = now

    def take(self, settings: GossipSettings, size: int, now: float) -> bool:
        """Take a packet of this size out, or say no; a second's worth is the most that gathers."""
        passed_s = now - self._at
        self._at = now
        most_packets, most_octets = settings.sender_packets_per_s, settings.sender_bytes_per_s
        packets = self._packets + passed_s * most_packets
        if packets > most_packets:
            packets = most_packets
        octets = self._octets + passed_s * most_octets
        if octets > most_octets:
            octets = most_octets
        if packets < 1 or octets < size:
            self._packets = packets
            self._octets = octets
            return False
        self._packets = packets - 1
        self._octets = octets - size
        return True


class Limits:
    """What one node takes in a second from each sender and from all strangers together."""

    def __init__(self, settings: GossipSettings, now: float) -> None:
        self._settings = settings
        self._known: dict[Hashable, Share] = {}
        self._relays: dict[Hashable, Bucket] = {}
        self._strangers: OrderedDict[Hashable, Bucket] = OrderedDict()
        rate = settings.strangers_packets_per_s
        self._all_strangers = Bucket(rate, rate, now)

    def known(self, sender: Hashable, size: int, now: float) -> bool:
        """Whether an authenticated member's packet is within its share."""
        settings = self._settings
        share = self._known.get(sender)
        if share is None:
            share = self._known[sender] = Share(settings, now)
        return share.take(settings, size, now)

    def relay(self, sender: Hashable, now: float) -> bool:
        """Whether a member may have us ask another: a packet holds dozens of such requests."""
        bucket = self._relays.get(sender)
        if bucket is None:
            rate = self._settings.sender_relays_per_s
            bucket = self._relays[sender] = Bucket(rate, rate * RELAYS_BURST_S, now)
        return bucket.take(now)

    def blocked(self, source: Hashable, now: float) -> bool:
        """Whether a source has used up what strangers may send; nothing of it is looked at."""
        bucket = self._strangers.get(source)
        if bucket is not None and not bucket.holds(now):
            return True
        return not self._all_strangers.holds(now)

    def charge(self, source: Hashable, now: float) -> None:
        """A packet of nobody we know, or one that did not open."""
        bucket = self._strangers.get(source)
        if bucket is None:
            rate = self._settings.stranger_packets_per_s
            bucket = self._strangers[source] = Bucket(rate, rate, now)
            if len(self._strangers) > STRANGERS_KEPT:
                self._strangers.popitem(last=False)
        bucket.take(now)
        self._all_strangers.take(now)

    def forget(self, sender: Hashable) -> None:
        """A member is no longer known."""
        self._known.pop(sender, None)
        self._relays.pop(sender, None)
