"""A network that only hosts are in: a port of the datapath with the daemon itself behind it.

What goes through it takes the very way that frames of endpoints take: the switch, the datapath's
threads, VXLAN, the underlay. No endpoint can join it, and gossip says nothing of it, since who is
in it follows from who is a member.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from vxnet.control.base import ControlPlane
from vxnet.datapath.base import Change, Datapath, Peer, Port, Segment, SetEntry, SetPeers
from vxnet.gossip.events import Event, Member, MemberChanged, MemberState
from vxnet.link.memory import MemoryLink
from vxnet.switch.actions import PortId
from vxnet.wire.addr import PROBE_VNI, Mac
from vxnet.wire.probe import mac_of

__all__ = ["PORT", "Channel"]

PORT: Final = PortId(0x7FFF_FFFF)
SETTLE_S: Final = 0.1
"""Changes of members in so short a time are followed at once."""

FRAMES_MAX: Final = 64
LIVE: Final = (MemberState.ALIVE, MemberState.SUSPECT)

Receive = Callable[[bytes], None]


class Channel:
    """Frames between this host and others, from `open` on; the datapath closes its port."""

    def __init__(self, datapath: Datapath, control: ControlPlane, mtu: int) -> None:
        """`mtu` is that of a network as large as the underlay allows."""
        self.mtu = mtu
        self._datapath = datapath
        self._control = control
        self._link = MemoryLink("probe", uso=False)
        self._receive: Receive | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._known: set[Mac] = set()
        self.mac = Mac(bytes(6))

    def open(self, receive: Receive) -> None:
        """Be in the network. To be called once the control plane has started."""
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self.mac = mac_of(self._control.members()[0].id)
        self._datapath.set_segment(
            Segment(PROBE_VNI, self.mtu, learning=False, flood_unknown=False)
        )
        self._datapath.add_port(Port(PORT, PROBE_VNI, self.mac), self._link)
        self._loop.add_reader(self._link.host_fd, self._drain)
        self._control.subscribe(self._hear)
        self._follow()

    def close(self) -> None:
        """Read no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._loop is not None:
            self._loop.remove_reader(self._link.host_fd)
            self._loop = None

    def send(self, frame: bytes) -> None:
        """Send a frame. Raises BlockingIOError where too many wait."""
        self._link.send(frame)

    def _drain(self) -> None:
        for _ in range(FRAMES_MAX):
            arrived = self._link.receive()
            if arrived is None or self._receive is None:
                return
            self._receive(arrived[1])

    def _hear(self, events: Sequence[Event]) -> None:
        changed = any(isinstance(event, MemberChanged) for event in events)
        if changed and self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(SETTLE_S, self._follow)

    def _follow(self) -> None:
        """Everybody who lives is in the network."""
        self._timer = None
        others = [m for m in self._control.members() if not m.local and m.state in LIVE]
        known = {mac_of(member.id) for member in others}
        changes: list[Change] = [SetPeers(PROBE_VNI, _peers(others))]
        changes += [SetEntry(PROBE_VNI, mac_of(m.id), m.vtep) for m in others]
        self._datapath.program(changes)
        self._known = known


def _peers(members: Sequence[Member]) -> tuple[Peer, ...]:
    return tuple(Peer(vtep) for vtep in sorted({member.vtep for member in members}))
