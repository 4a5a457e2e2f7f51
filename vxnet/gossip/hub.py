"""What the parts of a node share: its settings, its chance, its timers, and its way out."""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from random import Random

from msgspec import Struct

from vxnet.gossip.events import Alarm, AlarmKind, AlarmOver, Event
from vxnet.gossip.member import Address
from vxnet.gossip.settings import GossipSettings
from vxnet.gossip.timers import Timers
from vxnet.wire.gossip import encode

__all__ = ["Close", "Connect", "Datagram", "Hub", "StreamBytes", "StreamId", "Transmit"]

StreamId = int
ALARMS_KEPT = 256
REFUSALS_KEPT = 64


class Datagram(Struct, frozen=True, gc=False):
    """Send this over UDP."""

    address: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a TCP connection; say `connected` or `stream_closed` for it."""

    stream: StreamId
    address: Address


@dataclass(frozen=True, slots=True)
class StreamBytes:
    """Send this over a connection; say `drained` once it is on its way."""

    stream: StreamId
    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close a connection, after what was sent."""

    stream: StreamId


Transmit = Datagram | Connect | StreamBytes | Close


class Hub:
    """Messages wait here by destination until the node packs them; events until they are told."""

    def __init__(self, settings: GossipSettings, random: Random) -> None:
        self.settings = settings
        self.random = random
        self.timers = Timers()
        self.counters: Counter[str] = Counter()
        self.events: list[Event] = []
        self.outbox: dict[Address, list[bytes]] = {}
        self.transmits: list[Transmit] = []
        self._alarms: dict[tuple[AlarmKind, object], str] = {}
        self.unreadable: OrderedDict[Address, tuple[str, float]] = OrderedDict()

    def send(self, address: Address, *messages: object) -> None:
        """Have messages sent, in one packet with others for the same address where they fit."""
        box = self.outbox.get(address)
        if box is None:
            box = self.outbox[address] = []
        for message in messages:
            box.append(message if type(message) is bytes else encode(message))

    def alarm(self, kind: AlarmKind, about: object, text: str) -> None:
        """Tell an operator, once for each `about`."""
        if (kind, about) in self._alarms:
            return
        self._alarms[kind, about] = text
        if len(self._alarms) > ALARMS_KEPT:
            del self._alarms[next(iter(self._alarms))]
        self.counters["alarms"] += 1
        self.events.append(Alarm(kind, text))

    def calm(self, kind: AlarmKind, about: object) -> None:
        """What an alarm was about is over: the next one is told again."""
        self._alarms.pop((kind, about), None)

    def over(self, kind: AlarmKind, about: object) -> None:
        """The same, and an operator need look at it no more."""
        text = self._alarms.pop((kind, about), None)
        if text is not None:
            self.events.append(AlarmOver(text))

    def note_unreadable(self, source: Address, why: str, now: float) -> None:
        """A packet from there could not be opened: the latest of each sender is kept for people."""
        self.unreadable[source] = why, now
        self.unreadable.move_to_end(source)
        if len(self.unreadable) > REFUSALS_KEPT:
            self.unreadable.popitem(last=False)

    def jitter(self, span_s: float) -> float:
        """A moment between now and `span_s`."""
        return self.random.random() * span_s
