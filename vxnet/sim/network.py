"""The network between simulated hosts: slow, lossy, split, and never the same for two seeds."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Protocol

from vxnet.gossip.hub import Close, Connect, Datagram, StreamBytes, StreamId, Transmit
from vxnet.gossip.member import Address
from vxnet.sim.clock import Clock

__all__ = ["Conditions", "Endpoint", "Network"]

TRACED_BYTES = 65_536
"""So much is hashed at once, for to begin costs more than a datagram's octets."""

UDP_IP_BYTES = 28
"""Octets of IPv4 and UDP headers, counted with each datagram."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the network does to datagrams. TCP suffers the delay and the cuts, not the loss."""

    loss: float = 0.0
    latency_s: float = 0.0005
    jitter_s: float = 0.0005
    duplicates: float = 0.0
    reordering: float = 0.0  # the share of datagrams that are late by up to reorder_s
    reorder_s: float = 0.1
    damage: float = 0.0  # the share of datagrams with one bit turned
    breaks: float = 0.0  # the share of writes to a TCP connection after which it is gone


class Endpoint(Protocol):
    """Whoever is behind an address."""

    @property
    def address(self) -> Address: ...

    @property
    def up(self) -> bool: ...

    def datagram(self, data: bytes, source: Address) -> None: ...

    def accepted(self, source: Address) -> StreamId | None: ...

    def connected(self, stream: StreamId) -> None: ...

    def stream_data(self, stream: StreamId, data: bytes) -> None: ...

    def stream_drained(self, stream: StreamId) -> None: ...

    def stream_closed(self, stream: StreamId) -> None: ...


class Wire:
    """One TCP connection: two ends, each a host and its number for it."""

    __slots__ = ("ends", "latest", "open")

    def __init__(self, client: Endpoint, stream: StreamId) -> None:
        self.ends: list[tuple[Endpoint, StreamId]] = [(client, stream)]
        self.open = True
        self.latest = 0.0


class Network:
    """Carries what hosts want sent, and keeps a hash over all of it."""

    def __init__(self, clock: Clock, random: Random, conditions: Conditions) -> None:
        self.clock = clock
        self.conditions = conditions
        self.counters: Counter[str] = Counter()
        self.octets: Counter[Address] = Counter()
        self._random = random
        self._hosts: dict[Address, Endpoint] = {}
        self._group: dict[Address, int] = {}
        self._cuts: set[tuple[Address, Address]] = set()
        self._wires: dict[tuple[Address, StreamId], Wire] = {}
        self._trace = hashlib.blake2b(digest_size=16)
        self._traced = bytearray()  # what is to be hashed next

    @property
    def trace(self) -> str:
        """A hash over every datagram sent so far, with its time and its ends."""
        self._hash()
        return self._trace.hexdigest()

    def add(self, host: Endpoint) -> None:
        """Somebody is at an address now."""
        self._hosts[host.address] = host

    def remove(self, host: Endpoint) -> None:
        """Nobody is there any more; connections break."""
        if self._hosts.get(host.address) is host:
            del self._hosts[host.address]
        for wire in [w for w in self._wires.values() if any(end is host for end, _ in w.ends)]:
            self._break(wire, host)

    def split(self, *groups: list[Address]) -> None:
        """Nothing passes between these groups, in either direction."""
        self._group = {address: at for at, group in enumerate(groups) for address in group}

    def cut(self, source: Address, target: Address) -> None:
        """Nothing passes this way; the other way it does."""
        self._cuts.add((source, target))

    def heal(self) -> None:
        """Everything passes again."""
        self._group.clear()
        self._cuts.clear()

    def passes(self, source: Address, target: Address) -> bool:
        """Whether packets pass from one address to another."""
        groups = self._group
        if groups and groups.get(source) != groups.get(target):
            return False
        return (source, target) not in self._cuts

    # ── carrying ────────────────────────────────────────────────────────────────────────────

    def carry(self, host: Endpoint, transmits: list[Transmit]) -> None:
        """Send what a host wants sent."""
        for transmit in transmits:
            match transmit:
                case Datagram():
                    self._datagram(host, transmit.address, transmit.data)
                case Connect(stream, address):
                    self._connect(host, stream, address)
                case StreamBytes(stream, data):
                    self._stream(host, stream, data)
                case Close(stream):
                    wire = self._wires.get((host.address, stream))
                    if wire is not None:
                        self._break(wire, host)

    def _delay(self) -> float:
        conditions = self.conditions
        delay = conditions.latency_s + conditions.jitter_s * self._random.random()
        if conditions.reordering and self._random.random() < conditions.reordering:
            delay += conditions.reorder_s * self._random.random()
        return delay

    def _datagram(self, host: Endpoint, address: Address, data: bytes) -> None:
        source = host.address
        self.counters["datagrams"] += 1
        self.octets[source] += len(data) + UDP_IP_BYTES
        now = self.clock.now
        self._traced += b"".join((b"%.9f" % now, source.ip, address.ip, data))
        if len(self._traced) > TRACED_BYTES:
            self._hash()
        conditions = self.conditions
        copies = 1
        if conditions.duplicates and self._random.random() < conditions.duplicates:
            copies = 2
        if conditions.damage and self._random.random() < conditions.damage:
            at = self._random.randrange(len(data))
            damaged = data[at] ^ (1 << self._random.randrange(8))
            data = data[:at] + bytes((damaged,)) + data[at + 1 :]
        for _ in range(copies):
            if conditions.loss and self._random.random() < conditions.loss:
                self.counters["lost"] += 1
                continue
            self.clock.at(now + self._delay(), self._deliver, source, address, data)

    def _hash(self) -> None:
        self._trace.update(self._traced)
        self._traced.clear()

    def _deliver(self, source: Address, address: Address, data: bytes) -> None:
        host = self._hosts.get(address)
        if host is not None and host.up and self.passes(source, address):
            host.datagram(data, source)
        else:
            self.counters["undelivered"] += 1

    # ── TCP ─────────────────────────────────────────────────────────────────────────────────

    def _connect(self, client: Endpoint, stream: StreamId, address: Address) -> None:
        wire = Wire(client, stream)
        self._wires[client.address, stream] = wire
        self.clock.at(self.clock.now + 2 * self._delay(), lambda: self._open(wire, address))

    def _open(self, wire: Wire, address: Address) -> None:
        client, stream = wire.ends[0]
        if not wire.open:
            return
        source = client.address
        if not (self.passes(source, address) and self.passes(address, source)):
            return  # silence: the client's own patience ends it
        host = self._hosts.get(address)
        accepted = host.accepted(source) if host is not None and host.up else None
        if host is None or accepted is None:
            self._break(wire, None)
            return
        wire.ends.append((host, accepted))
        self._wires[host.address, accepted] = wire
        client.connected(stream)

    def _stream(self, host: Endpoint, stream: StreamId, data: bytes) -> None:
        wire = self._wires.get((host.address, stream))
        if wire is None or len(wire.ends) < 2:
            return
        self.counters["stream_octets"] += len(data)
        if self.conditions.breaks and self._random.random() < self.conditions.breaks:
            self.counters["broken"] += 1
            self._break(wire, None)
            return
        other, other_stream = wire.ends[1] if wire.ends[0][0] is host else wire.ends[0]
        wire.latest = max(wire.latest, self.clock.now + self._delay())

        def arrive() -> None:
            if not self.passes(host.address, other.address):
                return
            if wire.open:
                other.stream_data(other_stream, data)
            if wire.open:
                host.stream_drained(stream)

        self.clock.at(wire.latest, arrive)

    def _break(self, wire: Wire, by: Endpoint | None) -> None:
        """A connection ends for both; whoever ended it knows, the other hears."""
        if not wire.open:
            return
        when = max(wire.latest, self.clock.now + self._delay())

        def tell() -> None:
            wire.open = False
            for host, stream in wire.ends:
                self._wires.pop((host.address, stream), None)
                if host is not by and host.up:
                    host.stream_closed(stream)

        self.clock.at(when, tell)
