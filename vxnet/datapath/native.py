"""The datapath in Rust: threads carry frames by a copy of what the switch concluded.

The switch is the same as the pure datapath's, and the only one that decides. The engine asks it,
in batches, about frames its copy of the table says nothing of: stations not known behind their
port, ARP and neighbour discovery, frames for many, flows of services that begin and end. After
every batch the copy is made to agree.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import TYPE_CHECKING

from vxnet._native import Engine, reasons
from vxnet.datapath.advice import Adviser
from vxnet.datapath.base import (
    Change,
    DatapathSettings,
    FdbRow,
    Listener,
    Peer,
    Port,
    Segment,
    SetPeers,
    Stats,
)
from vxnet.datapath.carrier import Carrier
from vxnet.datapath.engine import counters, drops, segment_settings, workers
from vxnet.datapath.ports import NO_LIMIT
from vxnet.datapath.sight import Watcher
from vxnet.datapath.sighting import sight_of
from vxnet.errors import HostError
from vxnet.link.base import Link
from vxnet.switch.actions import (
    Action,
    Deliver,
    Drop,
    DropReason,
    Flood,
    PortId,
    Reply,
    Rewrite,
    Send,
)
from vxnet.switch.flows import Tally
from vxnet.switch.forward import Switch
from vxnet.switch.places import Source
from vxnet.underlay.udp import explain, source_ports
from vxnet.wire import ethernet
from vxnet.wire.addr import Ip, Mac, Vni, Vtep

if TYPE_CHECKING:
    from vxnet.switch.model import ServiceStations

__all__ = ["NativeDatapath"]

_TICK_S = 1.0  # how often old entries are looked for
_REFRESH_S = 5  # how often the switch is told who was seen
_PUNTS_MAX = 64  # decided for one wake-up, so that others get their turn
_SIGHTS_MAX = 256  # told at a time to who captures
_SPARE_PORTS = 100  # tried where somebody else has one

_DROP, _DELIVER, _SEND, _FLOOD, _REPLY, _REPLACE, _REWRITE = range(7)  # the engine's verbs

_ENTRY = Struct("=I6sIH").pack  # VNI, MAC, number of a port or VTEP, flags
_GONE, _IS_VTEP, _AGES = 1, 2, 4

_REASONS = tuple(DropReason(name) for name in reasons())
_REASON_NUMBERS = {reason: number for number, reason in enumerate(_REASONS)}


class NativeDatapath:
    """Links on one side, VXLAN over UDP on the other, and threads between them."""

    def __init__(
        self,
        local: Vtep,
        *,
        settings: DatapathSettings | None = None,
        switch: Switch | None = None,
    ) -> None:
        self._local = local
        self._settings = settings if settings is not None else DatapathSettings()
        self._switch = switch if switch is not None else Switch()
        self._switch.watch()
        self._carrier = Carrier(self._switch.flows)
        self._adviser = Adviser()
        self._segments: dict[Vni, Segment] = {}
        self._links: dict[PortId, tuple[Port, Link]] = {}
        self._peers: dict[Vni, SetPeers] = {}
        self._vteps: dict[Vtep, int] = {}  # the engine's numbers for them
        self._paths: dict[Vtep, int] = {}  # how long a frame to each may be, where that is known
        self._blocked: set[PortId] = set()
        self._services: dict[Vni, ServiceStations] = {}
        self._listeners: list[Listener] = []
        self._engine: Engine | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._watcher: Watcher | None = None

    @property
    def name(self) -> str:
        """`native`."""
        return "native"

    @property
    def completes_checksums(self) -> bool:
        """Offered and used where outer checksums cover them; a member's are completed anyway."""
        return self._settings.remote_checksum and self._settings.udp.checksum

    async def start(self, inherited: Sequence[int] = ()) -> None:
        """Open the VXLAN sockets, or go on with those a former daemon received on.

        Raises HostError where the system refuses (port in use).
        """
        udp = self._settings.udp
        try:
            self._engine = Engine(
                self._local.ip,
                self._local.port,
                workers=workers(),
                source_ports=source_ports(self._local, udp.source_ports + _SPARE_PORTS),
                senders=udp.source_ports,
                receive_buffer=udp.receive_buffer_bytes,
                send_buffer=udp.send_buffer_bytes,
                checksum=udp.checksum,
                busy_poll_us=self._settings.busy_poll_us,
                inherited=inherited,
            )
        except OSError as error:
            raise HostError(explain(self._local, error)) from error
        self._carrier.begin(self._engine.flows())
        for segment in self._segments.values():
            self._enter_segment(segment)
        self._enter_peers(self._peers.values())
        for port, link in self._links.values():
            self._enter_port(port, link)
        self._follow()
        try:
            self._engine.begin()
        except OSError as error:
            raise HostError(explain(self._local, error)) from error
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._engine.punt_fd(), self._decide)
        self._tick()

    def listeners(self) -> tuple[int, ...]:
        """The sockets that datagrams arrive at, for a daemon that follows this one."""
        return () if self._engine is None else tuple(self._engine.listeners())

    async def close(self) -> None:
        """Stop, close every link and socket. What is queued is dropped. Idempotent."""
        for port_id in list(self._links):
            self.remove_port(port_id)
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._carrier.end()
        engine, self._engine = self._engine, None
        if engine is not None and self._loop is not None:
            self._loop.remove_reader(engine.punt_fd())
            self._loop.remove_reader(engine.watch_fd())
            engine.close()

    def set_segment(self, segment: Segment) -> None:
        """Add a network, or change its settings."""
        self._switch.set_segment(segment)
        self._segments[segment.vni] = segment
        self._enter_segment(segment)

    def remove_segment(self, vni: Vni) -> None:
        """Forget a network and its entries. Raises StateError while it has ports."""
        self._switch.remove_segment(vni)
        self._segments.pop(vni, None)
        self._services.pop(vni, None)  # the engine forgets them too
        before = self._known_peers()
        self._peers.pop(vni, None)
        if self._engine is not None:
            self._engine.remove_segment(vni)
            self._forget(before)

    def add_port(self, port: Port, link: Link) -> None:
        """Take a link into service. Raises StateError where the VNI is unknown or the id taken."""
        self._switch.add_port(port)
        self._links[port.id] = (port, link)
        self._enter_port(port, link)
        self._follow()

    def remove_port(self, port_id: PortId) -> None:
        """Take a link out of service and close it. Unknown ids are ignored."""
        _, link = self._links.pop(port_id, (None, None))
        if link is None:
            return
        if self._engine is not None:
            self._engine.remove_port(port_id)
        self._switch.remove_port(port_id)
        self._adviser.forget(port_id)
        link.close()
        self._follow()
        self._tell()

    def program(self, changes: Sequence[Change]) -> None:
        """Apply what the control plane says, in order. Unknown VNIs are ignored."""
        self._switch.program(changes)
        peers = {
            change.vni: change
            for change in changes
            if isinstance(change, SetPeers) and change.vni in self._segments
        }
        if peers:
            before = self._known_peers()
            self._peers.update(peers)
            self._enter_peers(peers.values())
            self._forget(before)
        self._follow()
        self._tell()

    def set_path(self, vtep: Vtep, frame_max_bytes: int | None) -> None:
        """What the way to a VTEP carries: octets of the longest inner frame; None: all of them."""
        if frame_max_bytes is None:
            self._paths.pop(vtep, None)
        else:
            self._paths[vtep] = frame_max_bytes
        if self._engine is not None and vtep in self._vteps:
            self._enter_path(vtep)

    def flows(self, vni: Vni, vips: tuple[Ip, ...]) -> dict[Mac, Tally]:
        """The flows of this host's clients to these addresses of services, by member."""
        return self._switch.flows.count(vni, vips)

    def fdb(self) -> list[FdbRow]:
        """The forwarding table as it is."""
        self._refresh()
        return self._switch.rows(self._now())

    def stats(self) -> Stats:
        """The counters as they are."""
        if self._engine is None:
            return Stats({}, {}, {}, {}, {})
        ports, tunnels, vteps, stray, io = self._engine.stats()
        used = {
            vtep: counters(vteps[number]) for vtep, number in self._vteps.items() if number in vteps
        }
        return Stats(
            ports={PortId(port): counters(row) for port, row in ports.items()},
            tunnels={Vni(vni): counters(row) for vni, row in tunnels.items()},
            peers={vtep: row for vtep, row in used.items() if row.received or row.out},
            stray=drops(stray),
            io=io,
            strangers={Ip(ip): frames for ip, frames in self._engine.strangers()},
        )

    def subscribe(self, listener: Listener) -> None:
        """Have what the switch saw told, in batches, from the event loop."""
        self._listeners.append(listener)

    def watch(self, snap: int, watcher: Watcher) -> None:
        """Have every frame told from now on; `snap` 0 ends that."""
        self._watcher = watcher if snap else None
        if self._engine is None or self._loop is None:
            return
        self._engine.watch(snap)
        if snap:
            self._loop.add_reader(self._engine.watch_fd(), self._look)
        else:
            self._loop.remove_reader(self._engine.watch_fd())

    def decide(self, port_id: PortId, frame: bytes) -> Action:
        """What the switch decides about a frame of this port."""
        action = self._switch.from_link(port_id, frame, self._now())
        self._follow()
        self._tell()
        return action

    def inject(self, port_id: PortId, frame: bytes) -> None:
        """Carry a frame as if this port's link had sent it. Unknown ids are ignored."""
        if self._engine is not None:
            self._engine.inject(port_id, frame)

    # On the event loop

    def _now(self) -> float:
        return time.monotonic()

    def _decide(self) -> None:
        """The engine has frames it cannot decide on."""
        engine, now = self._engine, self._now()
        if engine is None:
            return
        decisions = []
        for port_id, vni, ip, reserved, frame, frame_max in engine.take(_PUNTS_MAX):
            if port_id is not None and frame_max is not None:
                action = self._advise(PortId(port_id), frame, frame_max, now)
            elif port_id is not None:
                action = self._switch.from_link(PortId(port_id), frame, now)
            else:
                action = self._switch.from_underlay(Vni(vni), Ip(ip), frame, now, reserved)
            decisions.append(self._verdict(action))
        self._follow()  # before the frames go on, so that their answers find what was learned
        engine.settle(decisions)
        self._tell()

    def _advise(self, port_id: PortId, frame: bytes, frame_max: int, now: float) -> Action:
        """What to do about a frame that was too big, and is dropped and counted already."""
        port, _ = self._links.get(port_id, (None, None))
        if port is not None:
            mtu = min(self._segments[port.vni].mtu, frame_max - ethernet.HEADER_BYTES)
            answer = self._adviser.advise(port_id, frame, mtu, now)
            if answer is not None:
                return Reply(answer)
        return Drop(DropReason.TOO_BIG)

    def _verdict(self, action: Action) -> tuple[int, object]:
        """A decision about a frame, as the engine takes it."""
        match action:
            case Rewrite(bytes() as frame, then):
                return _REPLACE, (frame, *self._verdict(then))
            case Rewrite(edit, then, has_ports):
                return _REWRITE, (edit, has_ports, *self._verdict(then))
            case Drop(reason):
                return _DROP, _REASON_NUMBERS[reason]
            case Deliver(port_id):
                return _DELIVER, port_id
            case Send(vtep):
                return _SEND, self._number(vtep)
            case Flood(port_ids, vteps):
                return _FLOOD, (port_ids, tuple(map(self._number, vteps)))
            case Reply(frame):
                return _REPLY, frame

    def _look(self) -> None:
        """The engine has seen frames that somebody captures."""
        if self._engine is None or self._watcher is None:
            return
        rows, missed = self._engine.sights(_SIGHTS_MAX)
        vteps = {number: vtep for vtep, number in self._vteps.items()}
        self._watcher([sight_of(row, vteps, _REASONS) for row in rows], missed)

    def _tick(self) -> None:
        """Once a second."""
        self._ticks += 1
        if self._ticks % _REFRESH_S == 0:
            self._refresh()
        self._switch.expire(self._now())
        self._follow()
        self._tell()
        if self._loop is not None:
            self._tick_timer = self._loop.call_later(_TICK_S, self._tick)

    def _refresh(self) -> None:
        """Tell the switch whom the engine has seen since the last time."""
        if self._engine is not None:
            now = self._now()
            for vni, mac, ago in self._engine.seen(_REFRESH_S + 1):
                self._switch.refresh(Vni(vni), Mac(mac), now - ago)

    def _tell(self) -> None:
        """Tell the listeners what the switch saw, outside of whatever is going on now."""
        events = self._switch.events()
        if events and self._loop is not None:
            for listener in self._listeners:
                self._loop.call_soon(listener, events)

    # What the engine knows

    def _enter_segment(self, segment: Segment) -> None:
        if self._engine is not None:
            self._engine.set_segment(segment.vni, **segment_settings(segment))

    def _enter_port(self, port: Port, link: Link) -> None:
        if self._engine is not None:
            self._engine.add_port(port.id, port.vni, port.mac, link.fds, link.uso)

    def _enter_peers(self, changes: Iterable[SetPeers]) -> None:
        if self._engine is not None:
            self._engine.set_peers(
                [(change.vni, [self._peer(one) for one in change.peers]) for change in changes]
            )

    def _peer(self, peer: Peer) -> tuple[int, bool, bool]:
        completes = peer.completes_checksums and self.completes_checksums  # both do
        return self._number(peer.vtep), peer.learning, completes

    def _number(self, vtep: Vtep) -> int:
        """What stands for a VTEP in the engine's table."""
        number = self._vteps.get(vtep)
        if number is None:
            assert self._engine is not None
            number = self._vteps[vtep] = self._engine.vtep(vtep.ip, vtep.port)
            self._enter_path(vtep)
        return number

    def _enter_path(self, vtep: Vtep) -> None:
        if self._engine is not None:
            self._engine.set_path(self._vteps[vtep], self._paths.get(vtep, NO_LIMIT))

    def _known_peers(self) -> set[Vtep]:
        return {peer.vtep for change in self._peers.values() for peer in change.peers}

    def _forget(self, before: set[Vtep]) -> None:
        """What was found out about the ways to peers that left every network is void."""
        for vtep in before - self._known_peers():
            if self._engine is not None and vtep in self._vteps:
                self._engine.forget_vtep(self._vteps[vtep])
                self._enter_path(vtep)

    def _follow(self) -> None:
        """Bring the engine's copy up to date."""
        engine = self._engine
        if engine is None:
            return
        entries = bytearray()
        targets: dict[int, tuple[int, int]] = {}  # all stations of a place have the same action
        for vni, mac, station in self._switch.changes():
            if station is None:
                entries += _ENTRY(vni, mac, 0, _GONE)
                continue
            target = targets.get(id(station.action))
            if target is None:
                target = targets[id(station.action)] = self._target(station.action)
            number, flags = target
            if station.source is Source.LEARNED:
                flags |= _AGES
            entries += _ENTRY(vni, mac, number, flags)
        if entries:
            engine.program(bytes(entries))
        self._follow_services(engine)
        blocked = self._switch.blocked()
        for port_id in blocked ^ self._blocked:
            engine.block_port(port_id, port_id in blocked)
        self._blocked = blocked

    def _follow_services(self, engine: Engine) -> None:
        """Frames for services come to the switch, and those of whoever answers for them here; but
        for those of flows that are settled.
        """
        self._carrier.follow()
        for stations in self._switch.services():
            if self._services.get(stations.vni) != stations:
                self._services[stations.vni] = stations
                engine.set_services(stations.vni, *map(list, stations[1:]))
        for port_id, frame in self._switch.resets():
            engine.give(port_id, frame)

    def _target(self, action: Deliver | Send) -> tuple[int, int]:
        """A place as the engine's table has it: a number, and what it is the number of."""
        if isinstance(action, Send):
            return self._number(action.vtep), _IS_VTEP
        return int(action.port), 0
