"""The datapath in Python: the specification, always there.

Driven by the event loop: a link or the underlay becomes readable, a bounded batch is carried, and
the loop goes on to whatever else waits, so gossip is never starved by traffic.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from vxnet.datapath.base import (
    Change,
    Counters,
    DatapathSettings,
    FdbRow,
    Listener,
    Port,
    Segment,
    SetPeers,
    Stats,
)
from vxnet.datapath.inbound import Inbound
from vxnet.datapath.ledger import Ledger
from vxnet.datapath.outbound import Outbound
from vxnet.datapath.ports import Attachment, Ports
from vxnet.datapath.sight import Recorder, Watcher
from vxnet.link.base import Link
from vxnet.switch.actions import Action, PortId
from vxnet.switch.flows import Tally
from vxnet.switch.forward import Switch
from vxnet.underlay.base import Underlay
from vxnet.underlay.udp import UdpUnderlay
from vxnet.wire import virtio
from vxnet.wire.addr import Ip, Mac, Vni, Vtep

__all__ = ["PureDatapath"]

_TICK_S = 1.0  # how often old entries are looked for
_LINK_RETRY_S = 1.0  # how long a failing link is left alone


class PureDatapath:
    """Links on one side, VXLAN over UDP on the other, and one switch between them."""

    def __init__(
        self,
        local: Vtep,
        *,
        settings: DatapathSettings | None = None,
        underlay: Underlay | None = None,
        switch: Switch | None = None,
    ) -> None:
        chosen = settings if settings is not None else DatapathSettings()
        self._underlay = underlay if underlay is not None else UdpUnderlay(local, chosen.udp)
        self._switch = switch if switch is not None else Switch()
        self._ports = Ports()
        self._ledger = Ledger()
        self._paths: dict[Vtep, int] = {}
        self._recorder = Recorder()
        self._watcher: Watcher | None = None
        parts = (
            self._switch,
            self._ports,
            self._underlay,
            self._ledger,
            self._paths,
            self._recorder,
        )
        self._outbound = Outbound(*parts)
        self._inbound = Inbound(*parts)
        self._segments: dict[Vni, Segment] = {}
        self._peers: dict[Vni, tuple[Vtep, ...]] = {}
        self._listeners: list[Listener] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tick_timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """`pure`."""
        return "pure"

    @property
    def completes_checksums(self) -> bool:
        """Never: it could read them as quickly as write them."""
        return False

    async def start(self, inherited: Sequence[int] = ()) -> None:
        """Open the VXLAN sockets, or go on with those a former daemon received on.

        Raises HostError where the system refuses (port in use).
        """
        self._underlay.open(inherited)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._underlay.fd, self._receive)
        for attachment in self._ports:
            self._watch(attachment)
        self._tick()

    def listeners(self) -> tuple[int, ...]:
        """The sockets that datagrams arrive at, for a daemon that follows this one."""
        return self._underlay.listeners()

    async def close(self) -> None:
        """Stop, close every link and socket. What is queued is dropped. Idempotent."""
        for attachment in list(self._ports):
            self.remove_port(attachment.port.id)
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.remove_reader(self._underlay.fd)
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._underlay.close()

    def set_segment(self, segment: Segment) -> None:
        """Add a network, or change its settings."""
        self._switch.set_segment(segment)
        self._segments[segment.vni] = segment
        self._ledger.tunnels.setdefault(segment.vni, Counters())
        self._inbound.mtus[segment.vni] = segment.mtu
        for attachment in self._ports:
            if attachment.port.vni == segment.vni:
                attachment.adjust(segment)

    def remove_segment(self, vni: Vni) -> None:
        """Forget a network and its entries. Raises StateError while it has ports."""
        self._switch.remove_segment(vni)
        self._segments.pop(vni, None)
        self._ledger.tunnels.pop(vni, None)
        self._inbound.mtus.pop(vni, None)
        self._set_peers(vni, ())

    def add_port(self, port: Port, link: Link) -> None:
        """Take a link into service. Raises StateError where the VNI is unknown or the id taken."""
        self._switch.add_port(port)
        counters = self._ledger.ports[port.id] = Counters()
        tunnel = self._ledger.tunnels[port.vni]
        attachment = Attachment(port, link, self._segments[port.vni], counters, tunnel)
        self._ports.add(attachment)
        self._watch(attachment)

    def remove_port(self, port_id: PortId) -> None:
        """Take a link out of service and close it. Unknown ids are ignored."""
        attachment = self._ports.pop(port_id)
        if attachment is None:
            return
        if self._loop is not None:
            self._loop.remove_reader(attachment.fd)
        self._switch.remove_port(port_id)
        self._outbound.adviser.forget(port_id)
        self._ledger.ports.pop(port_id, None)
        attachment.link.close()
        self._tell()

    def program(self, changes: Sequence[Change]) -> None:
        """Apply what the control plane says, in order. Unknown VNIs are ignored."""
        self._switch.program(changes)
        for port_id, frame in self._switch.resets():
            self._ports.deliver(port_id, (virtio.PLAIN, frame), 1, len(frame))
        for change in changes:
            if isinstance(change, SetPeers) and change.vni in self._segments:
                self._set_peers(change.vni, tuple(peer.vtep for peer in change.peers))
        self._tell()

    def set_path(self, vtep: Vtep, frame_max_bytes: int | None) -> None:
        """What the way to a VTEP carries: octets of the longest inner frame; None: all of them."""
        if frame_max_bytes is None:
            self._paths.pop(vtep, None)
        else:
            self._paths[vtep] = frame_max_bytes

    def flows(self, vni: Vni, vips: tuple[Ip, ...]) -> dict[Mac, Tally]:
        """The flows of this host's clients to these addresses of services, by member."""
        return self._switch.flows.count(vni, vips)

    def fdb(self) -> list[FdbRow]:
        """The forwarding table as it is."""
        return self._switch.rows(self._now())

    def stats(self) -> Stats:
        """The counters as they are."""
        stats = self._ledger.snapshot()
        io = {
            **stats.io,
            **self._underlay.counters(),
            "learning_refused": self._switch.refused,
        }
        return replace(stats, io=io)

    def subscribe(self, listener: Listener) -> None:
        """Have what the switch saw told, in batches, from the event loop."""
        self._listeners.append(listener)

    def watch(self, snap: int, watcher: Watcher) -> None:
        """Have every frame told from now on; `snap` 0 ends that."""
        self._recorder.set(snap)
        self._watcher = watcher if snap else None

    def decide(self, port_id: PortId, frame: bytes) -> Action:
        """What the switch decides about a frame of this port."""
        action = self._switch.from_link(port_id, frame, self._now())
        self._tell()
        return action

    def inject(self, port_id: PortId, frame: bytes) -> None:
        """Carry a frame as if this port's link had sent it. Unknown ids are ignored."""
        attachment = self._ports.get(port_id)
        if attachment is not None:
            self._outbound.inject(attachment, frame, self._now())
            self._tell()

    # On the event loop

    def _now(self) -> float:
        return time.monotonic()

    def _watch(self, attachment: Attachment) -> None:
        """Carry what the link brings from now on, if it is still in service."""
        if self._loop is not None and attachment in self._ports:
            self._loop.add_reader(attachment.fd, self._send, attachment)

    def _send(self, attachment: Attachment) -> None:
        """A link has frames."""
        try:
            self._outbound.drain(attachment, self._now())
        except OSError:
            self._rest(attachment)
        self._tell()

    def _rest(self, attachment: Attachment) -> None:
        """A link failed (its device is gone): leave it alone for a while, and try again."""
        self._ledger.note("link_errors")
        if self._loop is not None:
            self._loop.remove_reader(attachment.fd)
            self._loop.call_later(_LINK_RETRY_S, self._watch, attachment)

    def _receive(self) -> None:
        """The underlay has datagrams."""
        self._inbound.drain(self._now())
        self._tell()

    def _tick(self) -> None:
        """Once a second."""
        self._switch.expire(self._now())
        self._tell()
        if self._loop is not None:
            self._tick_timer = self._loop.call_later(_TICK_S, self._tick)

    def _tell(self) -> None:
        """Tell the listeners what the switch saw, outside of whatever is going on now."""
        events = self._switch.events()
        if events and self._loop is not None:
            for listener in self._listeners:
                self._loop.call_soon(listener, events)
        if self._watcher is not None and self._loop is not None:
            sights, missed = self._recorder.take()
            if sights:
                self._loop.call_soon(self._watcher, sights, missed)

    def _set_peers(self, vni: Vni, vteps: tuple[Vtep, ...]) -> None:
        """Know peers by their addresses; forget the ways to those that left every network."""
        before = set(self._inbound.peers.values())
        self._peers[vni] = vteps
        if not vteps:
            del self._peers[vni]
        now: dict[Ip, Vtep] = {vtep.ip: vtep for some in self._peers.values() for vtep in some}
        self._inbound.peers = now
        for vtep in before - set(now.values()):
            self._underlay.forget(vtep)
            self._ledger.peers.pop(vtep, None)
