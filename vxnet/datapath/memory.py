"""A datapath that moves nothing and remembers what it was told: for tests of what drives one."""

from collections.abc import Sequence

from vxnet.datapath.base import (
    Change,
    FdbRow,
    Listener,
    Port,
    RemoveEntry,
    Segment,
    Service,
    SetEntry,
    SetPeers,
    SetRelays,
    SetServices,
    Stats,
)
from vxnet.datapath.sight import Watcher
from vxnet.errors import StateError
from vxnet.link.base import Link
from vxnet.switch.actions import Action, Drop, DropReason, PortId, SwitchEvent
from vxnet.switch.flows import Tally
from vxnet.wire.addr import Ip, Mac, Vni, Vtep

__all__ = ["MemoryDatapath"]


class MemoryDatapath:
    """Holds segments, ports, entries and peers as they were last set."""

    name = "memory"

    def __init__(self) -> None:
        self.segments: dict[Vni, Segment] = {}
        self.ports: dict[PortId, tuple[Port, Link]] = {}
        self.entries: dict[tuple[Vni, Mac], SetEntry] = {}
        self.peers: dict[Vni, SetPeers] = {}
        self.services: dict[Vni, tuple[Service, ...]] = {}
        self.relays: dict[Vni, SetRelays] = {}
        self.paths: dict[Vtep, int | None] = {}
        self.watcher: Watcher | None = None
        self.injected: list[tuple[PortId, bytes]] = []
        self._listeners: list[Listener] = []

    async def start(self, inherited: Sequence[int] = ()) -> None:
        """There is nothing to open."""

    def listeners(self) -> tuple[int, ...]:
        return ()

    async def close(self) -> None:
        for port_id in list(self.ports):
            self.remove_port(port_id)

    def set_segment(self, segment: Segment) -> None:
        self.segments[segment.vni] = segment

    def remove_segment(self, vni: Vni) -> None:
        if any(port.vni == vni for port, _ in self.ports.values()):
            raise StateError(f"VNI {vni} still has ports")
        self.segments.pop(vni, None)
        self.peers.pop(vni, None)
        self.entries = {key: entry for key, entry in self.entries.items() if key[0] != vni}

    def add_port(self, port: Port, link: Link) -> None:
        if port.vni not in self.segments:
            raise StateError(f"VNI {port.vni} is unknown")
        self.ports[port.id] = (port, link)

    def remove_port(self, port_id: PortId) -> None:
        if port_id in self.ports:
            _, link = self.ports.pop(port_id)
            link.close()

    def program(self, changes: Sequence[Change]) -> None:
        for change in changes:
            match change:
                case SetEntry(vni, mac):
                    self.entries[vni, mac] = change
                case RemoveEntry(vni, mac):
                    self.entries.pop((vni, mac), None)
                case SetPeers(vni):
                    self.peers[vni] = change
                case SetServices(vni, services):
                    self.services[vni] = services
                case SetRelays(vni):
                    self.relays[vni] = change

    def set_path(self, vtep: Vtep, frame_max_bytes: int | None) -> None:
        self.paths[vtep] = frame_max_bytes

    def flows(self, vni: Vni, vips: tuple[Ip, ...]) -> dict[Mac, Tally]:
        return {}

    def fdb(self) -> list[FdbRow]:
        remote = [
            FdbRow(e.vni, e.mac, e.vtep, None, e.ips, "control") for e in self.entries.values()
        ]
        local = [
            FdbRow(port.vni, port.mac, None, port.id, port.ips, "local")
            for port, _ in self.ports.values()
            if port.mac is not None
        ]
        return remote + local

    def stats(self) -> Stats:
        return Stats(ports={}, tunnels={}, peers={}, stray={}, io={})

    def subscribe(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def watch(self, snap: int, watcher: Watcher) -> None:
        self.watcher = watcher if snap else None

    def decide(self, port_id: PortId, frame: bytes) -> Action:
        return Drop(DropReason.NO_RECEIVER)

    def inject(self, port_id: PortId, frame: bytes) -> None:
        self.injected.append((port_id, frame))

    def saw(self, *events: SwitchEvent) -> None:
        """Tell the listeners what frames would have shown."""
        for listener in self._listeners:
            listener(events)
