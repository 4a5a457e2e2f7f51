"""The gossip on the event loop: one node, its sockets, one timer, and its state file."""

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from random import Random

from vxnet.control.address import from_socket, to_socket
from vxnet.control.base import Listener
from vxnet.control.connections import Connections
from vxnet.control.datagrams import Datagrams
from vxnet.control.paths import MAGIC
from vxnet.control.state import State, read_state, write_state
from vxnet.errors import HostError, StateError
from vxnet.gossip.events import (
    Entry,
    EntryFlag,
    Feature,
    Member,
    NodeId,
    Record,
    RecordKind,
)
from vxnet.gossip.hub import Close, Connect, Datagram, StreamBytes, StreamId
from vxnet.gossip.keys import Keys
from vxnet.gossip.member import Address, Identity
from vxnet.gossip.node import Node
from vxnet.gossip.security import Keyring
from vxnet.gossip.settings import LAN, WAN, GossipSettings
from vxnet.wire.addr import Ip, Mac, Vni, Vtep, format_ip

__all__ = ["GossipControl"]

PROFILES = {"lan": LAN, "wan": WAN}
SAVE_S = 60.0
PROBE_OCTET = bytes([MAGIC])
CPUINFO = Path("/proc/cpuinfo")

_log = logging.getLogger(__name__)


class GossipControl:
    """A control plane that all hosts of a cluster keep together; see docs/gossip.md.

    `seeds` are hosts (addresses or DNS names) and ports; `keys` are 32 octets each, the one to send
    with first, and none means that gossip is in clear. `settings` is in place of `profile` where
    given. Port 0 lets the system choose.
    """

    def __init__(
        self,
        *,
        name: str,
        vtep: Vtep,
        state_file: Path,
        port: int = 7947,
        cluster: str = "vxnet",
        seeds: Sequence[tuple[str, int]] = (),
        keys: Sequence[bytes] = (),
        profile: str = "lan",
        datapath: str = "",
        features: Feature = Feature.NONE,
        settings: GossipSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._vtep = vtep
        self._state_file = state_file
        self._port = port
        self._cluster = cluster
        self._seeds = list(seeds)
        self._keys = tuple(keys)
        self._datapath = datapath
        self._features = features
        self._settings = settings or PROFILES[profile]
        self._clock = clock
        self._counters: Counter[str] = Counter()
        self._listeners: list[Listener] = []
        self._node: Node | None = None
        self._datagrams = Datagrams(self._datagram, self._flush, self._counters)
        self._connections = Connections(self, self._counters)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._flushing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._resolved: list[Address] = []
        self._saved: State | None = None
        self._save_soon = asyncio.Event()
        self._known: tuple[Address, ...] = ()
        self._beside: Callable[[bytes, Address], None] = lambda data, source: None
        self._closed = False
        self._over = False  # it has said farewell, and answers no more

    # ── life ────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Open sockets and look for the others. Raises HostError where the system refuses."""
        state = await asyncio.to_thread(read_state, self._state_file)
        await asyncio.to_thread(write_state, self._state_file, state)
        aes = await asyncio.to_thread(_has_aes)
        self._saved = state
        self._known = tuple(from_socket(host, port) for host, port in state.peers)
        host = format_ip(self._vtep.ip)
        try:
            self._port = await self._datagrams.open(host, self._port)
            await self._connections.open(host, self._port)
        except BaseException:
            await self._datagrams.close()
            raise
        identity = Identity(
            id=NodeId(state.node_id),
            epoch=state.epoch,
            name=self._name,
            vtep=self._vtep,
            address=Address(self._vtep.ip, self._port),
            version=version("vxnet"),
            datapath=self._datapath,
            cluster=self._cluster,
            features=self._features,
        )
        self._node = Node(
            identity,
            self._settings,
            Random(os.urandom(32)),  # noqa: S311 - chooses peers, not keys
            now=self._clock(),
            keyring=Keyring(self._keys) if self._keys else None,
            aes=aes,
        )
        self._tasks = [
            asyncio.create_task(self._resolve(), name="gossip-resolve"),
            asyncio.create_task(self._save(), name="gossip-save"),
        ]
        self._soon()

    async def close(self, *, farewell: bool = True) -> None:
        """Say farewell, answer for a moment, then close. Idempotent.

        Without a farewell the others keep what this host said: it is back before they miss it.
        """
        if self._closed:
            return
        self._closed = True
        if self._node is not None and farewell:
            self._node.leave(self._clock())
            self._flush()
            await asyncio.sleep(self._settings.leave_s)
        self._over = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._datagrams.close()
        await self._connections.close()
        if self._node is not None:
            await self._save_now(self._node)

    @property
    def port(self) -> int:
        """The port of the gossip, UDP and TCP."""
        return self._port

    # ── commands ────────────────────────────────────────────────────────────────────────────

    def attach(self, vni: Vni) -> None:
        """This host has the network now: its entries are wanted, flooded frames too."""
        self._running().attach(vni, self._clock())
        self._soon()

    def detach(self, vni: Vni) -> None:
        """This host no longer has the network; its own entries in it are withdrawn."""
        self._running().detach(vni, self._clock())
        self._soon()

    def announce(
        self,
        vni: Vni,
        mac: Mac,
        ips: tuple[Ip, ...] = (),
        *,
        flags: EntryFlag = EntryFlag.NONE,
        moved: bool = False,
    ) -> None:
        """This host has the station. Raises StateError beyond a bound."""
        node = self._running()
        wall_ms = time.time_ns() // 1_000_000
        node.announce(vni, mac, ips, flags=flags, moved=moved, wall_ms=wall_ms, now=self._clock())
        self._soon()

    def withdraw(self, vni: Vni, mac: Mac) -> None:
        """This host no longer has the station."""
        self._running().withdraw(vni, mac, self._clock())
        self._soon()

    def publish(self, kind: RecordKind, key: bytes, body: bytes) -> None:
        """Put a record into the catalogue, or replace it. Raises StateError as `announce` does."""
        self._running().publish(kind, key, body, self._clock())
        self._soon()

    def retract(self, kind: RecordKind, key: bytes) -> None:
        """Take a record of this host out of the catalogue."""
        self._running().retract(kind, key, self._clock())
        self._soon()

    def write(self, to: NodeId, body: bytes) -> None:
        """Say something to one member. Raises StateError for one that is not known."""
        self._running().write(to, body, self._clock())
        self._soon()

    def unreadable(self) -> list[tuple[Address, str, float]]:
        """Who sent packets that could not be opened, why, and how many seconds ago."""
        now = self._clock()
        noted = self._running().hub.unreadable.items()
        return [(source, why, now - at) for source, (why, at) in noted]

    def seeds(self) -> list[Address]:
        """The addresses of the seeds, as far as they were resolved."""
        return list(self._resolved)

    def set_seeds(self, seeds: Sequence[tuple[str, int]]) -> None:
        """Where to look for the others from now on."""
        self._seeds = list(seeds)
        if self._tasks and not self._closed:
            self._tasks[0].cancel()
            self._tasks[0] = asyncio.create_task(self._resolve(), name="gossip-resolve")

    def send_beside(self, address: Address, data: bytes) -> None:
        """Send a datagram that is none of the gossip's, from its port."""
        self._datagrams.send(address, data)

    def hear_beside(self, receive: Callable[[bytes, Address], None]) -> None:
        """Be given the datagrams that begin as path probes do."""
        self._beside = receive

    @property
    def keys(self) -> Keys:
        """The keys of the gossip, to look at and to change."""
        self._soon()  # whoever asks may change them, and the others are to hear of it
        return self._running().keys

    def now(self) -> float:
        """The time that commands to the node carry, in seconds."""
        return self._clock()

    # ── what is known ───────────────────────────────────────────────────────────────────────

    def members(self) -> list[Member]:
        """Every host known, this one first."""
        return self._running().members()

    def entries(self, vni: Vni | None = None) -> list[Entry]:
        """The winning entries, this host's own included."""
        return self._running().entries(vni)

    def records(self, kind: RecordKind) -> list[Record]:
        """The catalogue's records of one kind, every owner's."""
        return self._running().records(kind)

    def subscribe(self, listener: Listener) -> None:
        """Have every event told, in order, in batches."""
        self._listeners.append(listener)

    def counters(self) -> dict[str, int]:
        """What was counted since the start."""
        node = self._node
        if node is None:
            return dict(self._counters)
        return {**node.hub.counters, **self._counters, "local_health": node.health}

    def _running(self) -> Node:
        if self._node is None:
            raise StateError("the gossip is not started yet")
        return self._node

    # ── the loop around the node ────────────────────────────────────────────────────────────

    def _datagram(self, data: bytes, source: Address) -> None:
        if data[:1] == PROBE_OCTET:
            self._beside(data, source)
        elif self._node is not None:
            self._node.receive(data, source, self._clock())

    def accepted(self, source: Address) -> StreamId | None:
        """Somebody connected over TCP."""
        return None if self._node is None else self._node.accepted(source, self._clock())

    def connected(self, stream: StreamId) -> None:
        """A connection that the node asked for is open."""
        self._running().connected(stream, self._clock())
        self._soon()

    def stream_received(self, stream: StreamId, data: bytes) -> None:
        """Octets arrived on a connection."""
        self._running().stream_received(stream, data, self._clock())
        self._soon()

    def stream_drained(self, stream: StreamId) -> None:
        """A connection takes more."""
        self._running().drained(stream, self._clock())
        self._soon()

    def stream_closed(self, stream: StreamId) -> None:
        """A connection is over, or could not be opened."""
        self._running().stream_closed(stream, self._clock())
        self._soon()

    def _tick(self) -> None:
        self._timer = None
        if self._node is not None:
            self._datagrams.drain()
            self._node.tick(self._clock())
            self._flush()

    def _soon(self) -> None:
        """Many commands in a row are one flush, and no listener is called from within one."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send what is to be sent, tell what happened, arm the timer."""
        self._flushing = False
        node = self._node
        if node is None or self._over:
            return
        for transmit in node.transmits():
            match transmit:
                case Datagram(address, data):
                    self._datagrams.send(address, data)
                case Connect(stream, address):
                    self._connections.dial(stream, address)
                case StreamBytes(stream, data):
                    self._connections.send(stream, data)
                case Close(stream):
                    self._connections.hang_up(stream)
        events = node.events()
        if events:
            for listener in self._listeners:
                listener(events)
        if self._saved is not None and node.epoch != self._saved.epoch:
            self._save_soon.set()  # it was raised: the next start must begin above it
        self._arm(node)

    def _arm(self, node: Node) -> None:
        deadline = node.deadline()
        if self._timer is not None:
            if deadline is not None and self._timer_at == deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer_at = deadline
            delay = max(0.0, deadline - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    # ── names and state ─────────────────────────────────────────────────────────────────────

    async def _resolve(self) -> None:
        """Seeds by name may be elsewhere tomorrow: look them up again and again."""
        loop = asyncio.get_running_loop()
        while True:
            found: list[Address] = []
            for host, port in self._seeds:
                try:
                    infos = await loop.getaddrinfo(host, port, type=2)
                except (OSError, ValueError) as error:  # ValueError: no name at all
                    self._counters["seeds_unresolved"] += 1
                    _log.warning("seed not resolved", {"seed": host, "reason": str(error)})
                    continue
                found += [from_socket(info[4][0], port) for info in infos]
            self._resolved = found
            usable = [a for a in (*found, *self._known) if len(a.ip) == len(self._vtep.ip)]
            if self._node is not None:
                self._node.join(usable, self._clock())
                self._soon()
            await asyncio.sleep(self._settings.resolve_interval_s)

    async def _save(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAVE_S):
                    await self._save_soon.wait()
            self._save_soon.clear()
            if self._node is not None:
                await self._save_now(self._node)

    async def _save_now(self, node: Node) -> None:
        keyring = node.security.keyring
        state = State(
            node.identity.id,
            node.epoch,
            tuple(kid.hex() for kid in keyring.ids) if keyring else (),
            tuple(to_socket(peer.address) for peer in node.roster.live),
        )
        if state != self._saved:
            self._saved = state
            with contextlib.suppress(HostError):  # a full disk must not stop the gossip
                await asyncio.to_thread(write_state, self._state_file, state)


def _has_aes() -> bool:
    """Whether the processor encrypts AES by itself; without, ChaCha20 is the faster one."""
    try:
        flags = CPUINFO.read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return " aes" in flags
