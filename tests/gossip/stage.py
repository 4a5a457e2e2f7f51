"""One real node on a stage, and actors around it that say on the wire what a test has them say."""

from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from vxnet.gossip.events import Alarm, AlarmKind, Event, Member, MemberState, NodeId
from vxnet.gossip.hub import Close, Connect, Datagram, StreamBytes, StreamId
from vxnet.gossip.member import Address, Identity, Peer
from vxnet.gossip.node import Node
from vxnet.gossip.security import Keyring, Security
from vxnet.gossip.settings import LAN, GossipSettings
from vxnet.gossip.stream import Stream, vni_scope
from vxnet.gossip.table import ATTACH, ENTRY, NODE
from vxnet.wire.addr import Ip, Mac, Vni, Vtep
from vxnet.wire.gossip import (
    Ack,
    Alive,
    Dead,
    Hello,
    Left,
    Message,
    Ping,
    Rows,
    Suspect,
    decode_body,
    encode,
    pack,
    split_records,
)
from vxnet.wire.rows import AttachBody, EntryBody, NodeBody, Row

__all__ = [
    "BLUE",
    "EPOCH",
    "GREEN",
    "QUIET",
    "Actor",
    "Stage",
    "identity",
    "mac",
]

EPOCH = 1_700_000_000_000
BLUE, GREEN = Vni(7), Vni(8)
PORT = 7947

QUIET = replace(
    LAN, compare_interval_s=1e6, heal_interval_s=1e6, scrub_interval_s=1e6, tombstone_s=1e6
)
"""Nothing is done that a test did not ask for, but probing."""

MessageT = TypeVar("MessageT")


def mac(number: int) -> Mac:
    """A MAC by number."""
    return Mac(b"\x02\0" + number.to_bytes(4, "big"))


def identity(at: int, name: str, *, epoch: int = EPOCH) -> Identity:
    """Who the host at this place is; its id is its place, so tests can tell who comes first."""
    ip = Ip(bytes((10, 0, at >> 8, at & 255)))
    return Identity(NodeId(at), epoch, name, Vtep(ip, 4789), Address(ip, PORT))


class Stage:
    """The node is `me`, at place 100. Time passes only in `wait`."""

    def __init__(
        self,
        settings: GossipSettings = QUIET,
        *,
        keys: tuple[bytes, ...] = (),
        seed: int = 1,
    ) -> None:
        self.now = 0.0
        self.keys = keys
        self.settings = settings
        self.identity = identity(100, "me")
        self.node = Node(
            self.identity,
            settings,
            Random(seed),
            now=0.0,
            keyring=Keyring(keys) if keys else None,
        )
        self.address = self.identity.address
        self.actors: dict[Address, Actor] = {}
        self.events: list[Event] = []
        self.datagrams: list[Datagram] = []
        self.connects: list[Connect] = []
        self.closed: list[StreamId] = []
        self.streams: dict[StreamId, bytearray] = {}
        self._last_place = 0
        self.collect()

    # ── time ────────────────────────────────────────────────────────────────────────────────

    def wait(self, for_s: float) -> None:
        """Let time pass; the node's timer is served when it asks for it."""
        end = self.now + for_s
        while (due := self.node.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.node.tick(self.now)
            self.collect()
        self.now = end

    def sleep(self, for_s: float) -> None:
        """Let time pass while the node's process stands still."""
        self.now += for_s
        self.node.tick(self.now)
        self.collect()

    def collect(self) -> None:
        """Carry what the node wants sent, and note what it tells."""
        for transmit in self.node.transmits():
            match transmit:
                case Datagram(address):
                    self.datagrams.append(transmit)
                    if address in self.actors:
                        self.actors[address].take(transmit.data)
                case Connect():
                    self.connects.append(transmit)
                case StreamBytes(stream, data):
                    self.streams.setdefault(stream, bytearray()).extend(data)
                case Close(stream):
                    self.closed.append(stream)
        self.events += self.node.events()

    # ── people ──────────────────────────────────────────────────────────────────────────────

    def actor(self, name: str = "", *, at: int | None = None, joins: bool = True) -> "Actor":
        """One more host around; it has joined, and answers probes."""
        self._last_place = at or self._last_place + 1
        actor = Actor(self, identity(self._last_place, name or f"n{self._last_place}"))
        self.actors[actor.address] = actor
        if joins:
            actor.join()
        return actor

    def cast(self, count: int) -> "list[Actor]":
        """Some hosts around."""
        return [self.actor() for _ in range(count)]

    # ── the node ────────────────────────────────────────────────────────────────────────────

    def do(self, command: str, *arguments: Any, **named: Any) -> Any:
        """Have the node told something, now."""
        out = getattr(self.node, command)(*arguments, now=self.now, **named)
        self.collect()
        return out

    def told(self, kind: type[MessageT]) -> list[MessageT]:
        """The events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def alarms(self, kind: AlarmKind) -> list[str]:
        """The texts of alarms of a kind so far."""
        return [alarm.text for alarm in self.told(Alarm) if alarm.kind is kind]

    def count(self, name: str) -> int:
        """One of the node's counters."""
        return self.node.hub.counters[name]

    @property
    def me(self) -> Peer:
        """The node as it sees itself."""
        return self.node.roster.me

    def entries(self, vni: Vni = BLUE) -> dict[Mac, int]:
        """Which owner counts for each station of a network."""
        return {entry.mac: entry.owner for entry in self.node.entries(vni)}


class Actor:
    """A host that knows the wire format and does nothing of its own accord but answer probes."""

    def __init__(self, stage: Stage, who: Identity, *, boot: int | None = None) -> None:
        self.stage = stage
        self.who = who
        self.id = who.id
        self.name = who.name
        self.address = who.address
        self.epoch = who.epoch
        self.inc = 0
        self.answers = True
        self.inbox: list[Message] = []
        self.security = Security(
            who.cluster,
            who.id,
            boot or who.epoch,
            Keyring(stage.keys) if stage.keys else None,
        )
        self.streams: dict[int, Stream] = {0: Stream(who.id, who.epoch, 0, 1)}

    # ── talking ─────────────────────────────────────────────────────────────────────────────

    def packet(self, *messages: object) -> bytes:
        """A datagram of ours."""
        return self.security.seal(pack([encode(message) for message in messages]))

    def say(self, *messages: object, source: Address | None = None) -> None:
        """Send the node a datagram."""
        self.send(self.packet(*messages), source=source)

    def send(self, data: bytes, *, source: Address | None = None) -> None:
        """Send the node any octets."""
        self.stage.node.receive(data, source or self.address, self.stage.now)
        self.stage.collect()

    def take(self, data: bytes) -> None:
        """The node sent us a datagram."""
        _, body = self.security.open(data)
        for message in decode_body(body):
            self.inbox.append(message)
            if isinstance(message, Ping) and message.target == self.id and self.answers:
                self.stage.node.receive(
                    self.packet(Ack(message.seq, message.root)), self.address, self.stage.now
                )

    def heard(self, kind: type[MessageT]) -> list[MessageT]:
        """Messages of a kind that the node sent us, since we `forgot`."""
        return [message for message in self.inbox if isinstance(message, kind)]

    def forget(self) -> None:
        """Only what comes from now on is of interest."""
        self.inbox.clear()

    # ── being a member ──────────────────────────────────────────────────────────────────────

    def alive(self) -> Alive:
        """What we say of ourselves."""
        return Alive(
            self.id, self.epoch, self.inc, self.name, self.who.vtep.ip, self.who.vtep.port, PORT
        )

    def hello(self, **fields: Any) -> Hello:
        """A hello of ours."""
        given = {"token": b"12345678", "low": 1, "high": 1, "features": 0, "pad": bytes(160)}
        return Hello(alive=self.alive(), **{**given, **fields})

    def join(self) -> None:
        """Say hello, and answer the question whether it is us."""
        self.say(self.hello())
        self.stage.collect()
        assert self.peer.live

    @property
    def peer(self) -> Peer:
        """How the node sees us."""
        peer = self.stage.node.roster.get(self.id)
        assert peer is not None
        return peer

    @property
    def state(self) -> MemberState:
        """What the node believes of us."""
        return self.peer.state

    @property
    def member(self) -> Member | None:
        """What the node tells of us."""
        return next((m for m in self.stage.node.members() if m.id == self.id), None)

    def suspects(self, whom: "Actor | Stage") -> None:
        """Say that another is in doubt."""
        self.say(Suspect(*_life(whom), self.id))

    def buries(self, whom: "Actor | Stage") -> None:
        """Say that another is dead."""
        self.say(Dead(*_life(whom), self.id))

    def leaves(self) -> None:
        """Say farewell."""
        self.say(Left(self.id, self.epoch, self.inc))

    def refutes(self) -> None:
        """Say that reports of our death are exaggerated."""
        self.inc += 1
        self.say(self.alive())

    def reborn(self) -> None:
        """Begin another life with the same identity: nothing is published yet."""
        self.epoch += 1
        self.inc = 0
        self.streams = {0: Stream(self.id, self.epoch, 0, 1)}
        self.join()

    # ── rows ────────────────────────────────────────────────────────────────────────────────

    def publish(self, scope: int, kind: int, key: bytes, body: bytes | None) -> Row:
        """The next version of one of our streams; nobody is told."""
        return self.streams[scope].publish(kind, key, body)

    def push(self, scope: int, *rows: Row) -> None:
        """Push rows, with the stream as it is now."""
        self.say(Rows(self.streams[scope].head(), list(rows)))

    def describe(self, *keys: bytes, version: str = "1.0", features: int = 0) -> None:
        """Publish our record."""
        body = encode(NodeBody(version, "pure", 1, 1, features, keys))
        self.push(0, self.publish(0, NODE, b"", body))

    def attach(self, vni: int = BLUE, *, att: int = 1) -> None:
        """Take up a network."""
        self.streams[vni_scope(vni)] = Stream(self.id, self.epoch, vni_scope(vni), att)
        row = self.publish(0, ATTACH, vni.to_bytes(3, "big"), encode(AttachBody(att)))
        self.push(0, row)

    def detach(self, vni: int = BLUE) -> None:
        """Give up a network."""
        self.push(0, self.publish(0, ATTACH, vni.to_bytes(3, "big"), None))

    def announce(self, station: Mac, *ips: bytes, vni: int = BLUE, **fields: Any) -> Row:
        """Say that a station is with us."""
        body = EntryBody(fields.pop("flags", 0), fields.pop("sequence", 0), ips, **fields)
        row = self.publish(vni_scope(vni), ENTRY, station, encode(body))
        self.push(vni_scope(vni), row)
        return row

    def withdraw(self, station: Mac, *, vni: int = BLUE) -> Row:
        """Say that a station is gone."""
        row = self.publish(vni_scope(vni), ENTRY, station, None)
        self.push(vni_scope(vni), row)
        return row

    # ── connections ─────────────────────────────────────────────────────────────────────────

    def record(self, *messages: object) -> bytes:
        """What goes over TCP."""
        data = self.packet(*messages)
        return len(data).to_bytes(2, "big") + data

    def dial(self) -> StreamId | None:
        """Connect to the node."""
        return self.stage.node.accepted(self.address, self.stage.now)

    def stream(self, stream: StreamId, data: bytes) -> None:
        """Send octets on a connection, and take what comes back until nothing does."""
        node = self.stage.node
        node.stream_received(stream, data, self.stage.now)
        self.stage.collect()
        size = -1
        while size != (size := len(self.stage.streams.get(stream, b""))):
            node.drained(stream, self.stage.now)
            self.stage.collect()

    def answers_on(self, stream: StreamId) -> list[Message]:
        """All messages that the node sent on a connection."""
        buffer = self.stage.streams.pop(stream, bytearray())
        found: list[Message] = []
        for record in split_records(buffer):
            found += decode_body(self.security.open(record)[1])
        assert not buffer
        return found


def _life(whom: Actor | Stage) -> tuple[int, int, int]:
    if isinstance(whom, Stage):
        return whom.me.id, whom.me.epoch, whom.me.inc
    return whom.id, whom.epoch, whom.inc
