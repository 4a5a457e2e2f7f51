"""Control planes that hear each other at once: the cluster of tests."""

from collections.abc import Sequence

from vxnet.control.base import Listener
from vxnet.gossip.events import (
    Entry,
    EntryFlag,
    EntryGone,
    EntrySet,
    Event,
    LetterReceived,
    Member,
    MemberState,
    NetworkPeer,
    NodeId,
    Record,
    RecordGone,
    RecordKind,
    RecordSet,
)
from vxnet.wire.addr import Ip, Mac, Vni, Vtep, format_ip

__all__ = ["MemoryCluster", "MemoryControl"]


class MemoryCluster:
    """The hosts of a test."""

    def __init__(self) -> None:
        self.planes: list[MemoryControl] = []

    def join(self, name: str, vtep: Vtep) -> "MemoryControl":
        """A control plane of one more host."""
        plane = MemoryControl(self, NodeId(len(self.planes) + 1), name, vtep)
        self.planes.append(plane)
        return plane


class MemoryControl:
    """One host's control plane; every other one of the cluster hears it immediately."""

    def __init__(self, cluster: MemoryCluster, node: NodeId, name: str, vtep: Vtep) -> None:
        self.node = node
        self.vtep = vtep
        self.running = False
        self._cluster = cluster
        self._name = name
        self._listeners: list[Listener] = []
        self._attached: set[Vni] = set()
        self._entries: dict[tuple[Vni, Mac], Entry] = {}
        self._records: dict[tuple[RecordKind, bytes], Record] = {}

    async def start(self) -> None:
        self.running = True
        for plane in self._others():
            for event in plane._everything():
                self._tell([event])
            plane._tell(self._everything())

    async def close(self) -> None:
        if self.running:
            self._broadcast(
                [
                    *(EntryGone(vni, mac) for vni, mac in self._entries),
                    *(NetworkPeer(vni, self.node, self.vtep, False) for vni in self._attached),
                    *(RecordGone(kind, key, self.node) for kind, key in self._records),
                ]
            )
            self.running = False

    def attach(self, vni: Vni) -> None:
        self._attached.add(vni)
        self._broadcast([NetworkPeer(vni, self.node, self.vtep, True)])

    def detach(self, vni: Vni) -> None:
        for key in [key for key in self._entries if key[0] == vni]:
            self.withdraw(*key)
        self._attached.discard(vni)
        self._broadcast([NetworkPeer(vni, self.node, self.vtep, False)])

    def announce(
        self,
        vni: Vni,
        mac: Mac,
        ips: tuple[Ip, ...] = (),
        *,
        flags: EntryFlag = EntryFlag.NONE,
        moved: bool = False,
    ) -> None:
        rivals = [p._entries[vni, mac] for p in self._others() if (vni, mac) in p._entries]
        sequence = max((rival.sequence + moved for rival in rivals), default=0)
        entry = Entry(vni, mac, ips, self.vtep, self.node, sequence, flags)
        self._entries[vni, mac] = entry
        if moved:
            for plane in self._others():
                plane._entries.pop((vni, mac), None)
        self._broadcast([EntrySet(entry)])

    def withdraw(self, vni: Vni, mac: Mac) -> None:
        if self._entries.pop((vni, mac), None) is not None:
            self._broadcast([EntryGone(vni, mac)])

    def publish(self, kind: RecordKind, key: bytes, body: bytes) -> None:
        record = Record(kind, key, body, self.node)
        self._records[kind, key] = record
        self._broadcast([RecordSet(record)])

    def retract(self, kind: RecordKind, key: bytes) -> None:
        if self._records.pop((kind, key), None) is not None:
            self._broadcast([RecordGone(kind, key, self.node)])

    def write(self, to: NodeId, body: bytes) -> None:
        for plane in self._others():
            if plane.node == to:
                plane._tell([LetterReceived(self.node, body)])

    def members(self) -> list[Member]:
        return [self._member(local=True), *(p._member(local=False) for p in self._others())]

    def entries(self, vni: Vni | None = None) -> list[Entry]:
        planes = [self, *self._others()]
        return [e for p in planes for e in p._entries.values() if vni is None or e.vni == vni]

    def records(self, kind: RecordKind) -> list[Record]:
        planes = [self, *self._others()]
        return [r for p in planes for r in p._records.values() if r.kind == kind]

    def subscribe(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def forget_listeners(self) -> None:
        """Whoever listened has ended; the next life of this host will listen for itself."""
        self._listeners.clear()

    def _member(self, *, local: bool) -> Member:
        gossip = (format_ip(self.vtep.ip), 7947)
        return Member(
            self.node, self._name, MemberState.ALIVE, self.vtep, gossip, since=0.0, local=local
        )

    def _others(self) -> "list[MemoryControl]":
        if not self.running:
            return []
        return [plane for plane in self._cluster.planes if plane is not self and plane.running]

    def _everything(self) -> list[Event]:
        return [
            *(NetworkPeer(vni, self.node, self.vtep, True) for vni in self._attached),
            *(EntrySet(entry) for entry in self._entries.values()),
            *(RecordSet(record) for record in self._records.values()),
        ]

    def _broadcast(self, events: Sequence[Event]) -> None:
        if self.running:
            for plane in [self, *self._others()]:
                plane._tell(events)

    def _tell(self, events: Sequence[Event]) -> None:
        for listener in self._listeners:
            listener(events)
