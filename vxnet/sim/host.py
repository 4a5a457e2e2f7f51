"""A simulated host: one real gossip node, a process that can stand still, and a state file."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from vxnet.gossip.events import NodeId
from vxnet.gossip.hub import StreamId
from vxnet.gossip.member import Address, Identity
from vxnet.gossip.node import Node
from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.gossip.security import Keyring
from vxnet.gossip.settings import GossipSettings
from vxnet.sim.clock import Clock
from vxnet.sim.network import Network
from vxnet.wire.addr import Ip, Mac, Vni

if TYPE_CHECKING:
    from vxnet.gossip.events import Event

__all__ = ["Host"]

SOCKET_DATAGRAMS = 512
"""How many datagrams a socket holds for a process that does not read."""

Call = Callable[[], None]


class Host:
    """Runs a node as the daemon does, and lets its process stand still or be slow."""

    def __init__(
        self,
        identity: Identity,
        settings: GossipSettings,
        network: Network,
        clock: Clock,
        random: Random,
        *,
        keys: tuple[bytes, ...] = (),
        rules: Rule = ALL_RULES,
    ) -> None:
        self.identity = identity
        self.settings = settings
        self.keys = keys
        self.rules = rules
        self.log: list[tuple[float, Event]] = []
        self.watchers: list[Callable[[float, Event], None]] = []
        self.seeds: list[Address] = []
        self.up = False
        self.slow_s = 0.0  # how long the process takes for each datagram
        self.node: Node
        self._clock = clock
        self._network = network
        self._random = random
        self._wake_at: float | None = None
        self._paused = False
        self._waiting: list[Call] = []
        self._busy_until = 0.0
        self._life = 0

    @property
    def name(self) -> str:
        """What people call it."""
        return self.identity.name

    @property
    def address(self) -> Address:
        """Where its gossip is."""
        return self.identity.address

    @property
    def now(self) -> float:
        """The virtual time."""
        return self._clock.now

    @property
    def started(self) -> bool:
        """Whether it ever ran."""
        return self._life > 0

    # ── living and dying ────────────────────────────────────────────────────────────────────

    def start(self, seeds: list[Address], *, warm: bool = False) -> None:
        """Start the process; `warm`: what it knows and seeks is told it by somebody else."""
        self._life += 1
        self.seeds = seeds
        self.node = Node(
            self.identity,
            self.settings,
            Random(self._random.getrandbits(64)),  # noqa: S311 - to be repeated, not to be secret
            now=self.now,
            keyring=Keyring(self.keys) if self.keys else None,
            rules=self.rules,
        )
        self.up = True
        self._paused = False
        self._waiting.clear()
        self._wake_at = None
        self._network.add(self)
        if not warm:
            self.node.join(seeds, self.now)
            self.act()

    def crash(self) -> None:
        """The process is killed."""
        self.up = False
        self._paused = False
        self._life += 1
        self._network.remove(self)

    def restart(self, *, state: bool = True, node_id: NodeId | None = None) -> None:
        """Start again: with its state file a higher epoch, without one another identity."""
        epoch = max(self.node.epoch + 1, self.identity.epoch + int(self.now * 1000))
        identity = replace(self.identity, epoch=epoch)
        if not state:
            identity = replace(identity, id=node_id or NodeId(self._random.getrandbits(63) + 1))
        self.identity = identity
        self.start(self.seeds)

    def leave(self) -> None:
        """Say farewell, answer for a moment, then stop."""
        self.node.leave(self.now)
        self.act()
        life = self._life
        self._clock.at(
            self.now + self.settings.leave_s, lambda: self.crash() if self._life == life else None
        )

    def pause(self, for_s: float) -> None:
        """The process stands still; its socket fills."""
        self._paused = True
        life = self._life
        self._clock.at(self.now + for_s, lambda: self._resume(life))

    def _resume(self, life: int) -> None:
        if life != self._life or not self._paused:
            return
        self._paused = False
        waiting, self._waiting = self._waiting, []
        self._wake_at = None
        self._wake(life)  # an event loop sees to its timers before it reads
        for call in waiting:
            call()

    # ── what arrives ────────────────────────────────────────────────────────────────────────

    def datagram(self, data: bytes, source: Address) -> None:
        """A datagram is at the socket."""
        if self.up and not self._paused and not self.slow_s:
            self.node.receive(data, source, self._clock.now)
            self.act()
        else:
            self._soon(lambda: self.node.receive(data, source, self.now), bounded=True)

    def accepted(self, source: Address) -> StreamId | None:
        """A connection is at the socket: the kernel takes it even for a process that sleeps."""
        if self._paused:
            return None
        stream = self.node.accepted(source, self.now)
        self.act()
        return stream

    def connected(self, stream: StreamId) -> None:
        """A connection of ours is open."""
        self._soon(lambda: self.node.connected(stream, self.now))

    def stream_data(self, stream: StreamId, data: bytes) -> None:
        """Octets on a connection."""
        self._soon(lambda: self.node.stream_received(stream, data, self.now))

    def stream_drained(self, stream: StreamId) -> None:
        """A connection takes more."""
        self._soon(lambda: self.node.drained(stream, self.now))

    def stream_closed(self, stream: StreamId) -> None:
        """A connection is over."""
        self._soon(lambda: self.node.stream_closed(stream, self.now))

    def _soon(self, call: Call, *, bounded: bool = False) -> None:
        if not self.up:
            return
        life = self._life

        def act() -> None:
            if self._life == life and self.up:
                call()
                self.act()

        if self._paused:
            if not bounded or len(self._waiting) < SOCKET_DATAGRAMS:
                self._waiting.append(act)
        elif self.slow_s:
            if bounded and self._busy_until - self.now > SOCKET_DATAGRAMS * self.slow_s:
                return
            self._busy_until = max(self._busy_until, self.now) + self.slow_s
            self._clock.at(self._busy_until, act)
        else:
            act()

    # ── what it is told ─────────────────────────────────────────────────────────────────────

    def do(self, command: Callable[[Node, float], None]) -> None:
        """Have the node told something, as the daemon would: `host.do(lambda node, now: ...)`."""
        command(self.node, self.now)
        self.act()

    def attach(self, vni: int) -> None:
        """Take up a network."""
        self.do(lambda node, now: node.attach(Vni(vni), now))

    def detach(self, vni: int) -> None:
        """Give up a network."""
        self.do(lambda node, now: node.detach(Vni(vni), now))

    def announce(self, vni: int, mac: bytes, *addresses: bytes, moved: bool = False) -> None:
        """A station is here."""
        ips = tuple(Ip(address) for address in addresses)
        self.do(lambda node, now: node.announce(Vni(vni), Mac(mac), ips, moved=moved, now=now))

    def withdraw(self, vni: int, mac: bytes) -> None:
        """A station is gone."""
        self.do(lambda node, now: node.withdraw(Vni(vni), Mac(mac), now))

    # ── what it does ────────────────────────────────────────────────────────────────────────

    def act(self) -> None:
        """Send what the node wants sent, tell what happened, arm its timer."""
        node = self.node
        transmits = node.transmits()
        if transmits:
            self._network.carry(self, transmits)
        for event in node.events():
            self.log.append((self.now, event))
            for watcher in self.watchers:
                watcher(self.now, event)
        deadline = node.deadline()
        if deadline is None or (self._wake_at is not None and self._wake_at <= deadline):
            return
        self._wake_at = deadline
        self._clock.at(max(deadline, self._busy_until), self._wake, self._life, deadline)

    def _wake(self, life: int, when: float | None = None) -> None:
        if life != self._life or not self.up or self._paused:
            return
        if when is not None and self._wake_at != when:
            return
        self._wake_at = None
        self.node.tick(self.now)
        self.act()
