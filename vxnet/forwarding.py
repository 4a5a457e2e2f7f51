"""Keeps the datapath's table a pure function of the control plane and of local ports.

Downwards go the winning entries and the peers of each network this host has; upwards go the
stations behind this host's ports, those vxnet attached and those the datapath saw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vxnet.control.base import ControlPlane
from vxnet.datapath.base import (
    Change,
    Datapath,
    FdbRow,
    Peer,
    Port,
    RemoveEntry,
    Segment,
    SetEntry,
    SetPeers,
    SetRelays,
    SetServices,
)
from vxnet.errors import StateError
from vxnet.gossip.events import (
    Entry,
    EntryFlag,
    EntryGone,
    EntrySet,
    Event,
    Feature,
    NetworkPeer,
    NodeId,
)
from vxnet.link.base import Link
from vxnet.switch.actions import Forgotten, Learned, Moved, PortId, Stranger, SwitchEvent
from vxnet.switch.flows import Tally
from vxnet.wire.addr import Ip, Mac, Vni, Vtep, format_ip, format_mac
from vxnet.wire.ethernet import HEADER_BYTES

__all__ = ["MET_MAX", "OUTER_BYTES", "Forwarding", "Presumed"]

OUTER_BYTES = {4: 36, 16: 56}
"""Outer IP, UDP and VXLAN headers, by the octets of an address."""

MET_MAX = 256  # VTEPs that one network learns: anybody can send from any address
IPS_MAX = 8  # what one entry of the control plane can carry


@dataclass(frozen=True, slots=True)
class Presumed:
    """What a former daemon knew of other hosts: taken for true until gossip has told it again."""

    peers: tuple[SetPeers, ...] = ()
    entries: tuple[SetEntry, ...] = ()


@dataclass(slots=True)
class _Station:
    """Something behind a port of this host. `assigned`: by vxnet, so it does not age."""

    port: PortId
    ips: tuple[Ip, ...]
    assigned: bool
    told: bool = True  # False: every host has one of it, so that none tells the others


class Forwarding:
    """Joins one datapath to one control plane."""

    def __init__(self, datapath: Datapath, control: ControlPlane) -> None:
        """Subscribes to both; make it before either is started, so that nothing is missed."""
        self._datapath = datapath
        self._control = control
        self._segments: set[Vni] = set()
        self._peers: dict[Vni, dict[NodeId, Peer]] = {}
        self._foreign: dict[Vni, tuple[Peer, ...]] = {}
        self._met: dict[Vni, dict[Ip, Peer]] = {}
        self._stations: dict[tuple[Vni, Mac], _Station] = {}
        self._presumed = Presumed()
        self._own: NodeId | None = None
        self.refused_announcements = 0
        datapath.subscribe(self._on_datapath)
        control.subscribe(self._on_control)

    def add_segment(self, segment: Segment) -> None:
        """Have a network on this host, or change its settings: its entries are wanted now."""
        self._datapath.set_segment(segment)
        if segment.vni in self._segments:
            return
        self._segments.add(segment.vni)
        self._control.attach(segment.vni)
        changes: list[Change] = [self._all_peers(segment.vni)]
        changes.extend(entry for entry in self._presumed.entries if entry.vni == segment.vni)
        changes.extend(_set(e) for e in self._control.entries(segment.vni) if not self._is_own(e))
        self._datapath.program(changes)

    def remove_segment(self, vni: Vni) -> None:
        """No longer have a network on this host."""
        if vni in self._segments:
            self._segments.remove(vni)
            self._met.pop(vni, None)
            self._control.detach(vni)
            self._datapath.remove_segment(vni)

    def set_foreign_peers(self, vni: Vni, peers: tuple[Peer, ...]) -> None:
        """The VTEPs of a network that do not speak our gossip."""
        before = self._narrow()
        self._foreign[vni] = peers
        if not peers:
            del self._foreign[vni]
        now = self._narrow()
        for vtep in before.keys() | now.keys():
            if before.get(vtep) != now.get(vtep):
                mtu = now.get(vtep)
                self._datapath.set_path(vtep, None if mtu is None else mtu + HEADER_BYTES)
        if vni in self._segments:
            self._datapath.program([self._all_peers(vni)])

    def set_path_mtu(self, vtep: Vtep, mtu: int | None) -> None:
        """What the way to a host carries: octets of outer IP packets; None: all that is sent."""
        overhead = OUTER_BYTES[len(vtep.ip)]
        self._datapath.set_path(vtep, None if mtu is None else mtu - overhead)

    def vteps(self) -> set[Vtep]:
        """The other hosts of the cluster that share a network with this one."""
        return {peer.vtep for vni in self._segments for peer in self._peers.get(vni, {}).values()}

    def met(self, vni: Vni) -> dict[Ip, Peer]:
        """The VTEPs that a network learned from their frames."""
        return dict(self._met.get(vni, {}))

    def has(self, vni: Vni) -> bool:
        """Whether this host has a network."""
        return vni in self._segments

    def flows(self, vni: Vni, vips: tuple[Ip, ...]) -> dict[Mac, Tally]:
        """The flows of this host's clients to these addresses of services, by member."""
        return self._datapath.flows(vni, vips)

    def set_services(self, change: SetServices) -> None:
        """Balance a network's services like this from now on."""
        self._datapath.program([change])

    def set_relays(self, change: SetRelays) -> None:
        """Have members of a network answer clients outside like this from now on."""
        self._datapath.program([change])

    def add_port(self, port: Port, link: Link) -> None:
        """Take an endpoint's link into service; its station is not announced yet."""
        self._datapath.add_port(port, link)

    def remove_port(self, port: PortId) -> None:
        """Take an endpoint's link out of service, and withdraw what is behind it."""
        for (vni, mac), station in list(self._stations.items()):
            if station.port == port:
                self.withdraw(vni, mac)
        self._datapath.remove_port(port)

    def keep(self, vni: Vni, mac: Mac, ips: tuple[Ip, ...], port: PortId) -> None:
        """Have a station here that every host has one of, so that no other is told."""
        self._stations[vni, mac] = _Station(port, ips, assigned=True, told=False)

    def announce(self, vni: Vni, mac: Mac, ips: tuple[Ip, ...], port: PortId) -> None:
        """Tell every host that this station is here. Raises what the control plane's does."""
        moved = any(e.mac == mac and not self._is_own(e) for e in self._control.entries(vni))
        self._control.announce(vni, mac, ips, moved=moved)
        self._stations[vni, mac] = _Station(port, ips, assigned=True)

    def withdraw(self, vni: Vni, mac: Mac) -> None:
        """Tell every host that this station is gone."""
        station = self._stations.pop((vni, mac), None)
        if station is not None and station.told:
            self._control.withdraw(vni, mac)

    def peers(self, vni: Vni) -> dict[NodeId, Vtep]:
        """The other hosts that have a network."""
        return {owner: peer.vtep for owner, peer in self._peers.get(vni, {}).items()}

    def known(self) -> Presumed:
        """What gossip has told of other hosts, for a daemon that follows this one at once."""
        return Presumed(
            tuple(
                SetPeers(vni, tuple(peers.values()))
                for vni, peers in self._peers.items()
                if vni in self._segments
            ),
            tuple(
                _set(entry)
                for entry in self._control.entries()
                if entry.vni in self._segments and not self._is_own(entry)
            ),
        )

    def presume(self, presumed: Presumed) -> None:
        """Go by what a former daemon knew; call it before there are segments."""
        self._presumed = presumed

    def stop_presuming(self) -> None:
        """Go by gossip alone."""
        presumed, self._presumed = self._presumed, Presumed()
        told = {(entry.vni, entry.mac) for entry in self._control.entries()}
        self._datapath.program(
            [
                *(self._all_peers(vni) for vni in self._segments),
                *(
                    RemoveEntry(entry.vni, entry.mac)
                    for entry in presumed.entries
                    if entry.vni in self._segments and (entry.vni, entry.mac) not in told
                ),
            ]
        )

    def verify(self) -> list[str]:
        """How the table differs from what it must be, a sentence each; none where it is right."""
        entries = [entry for entry in self._control.entries() if entry.vni in self._segments]
        own = {(entry.vni, entry.mac) for entry in entries if self._is_own(entry)}
        wanted = {(entry.vni, entry.mac): entry for entry in entries if not self._is_own(entry)}
        rows = self._datapath.fdb()
        held = {
            (row.vni, row.mac): row
            for row in rows
            if row.source == "control" and row.vni in self._segments
        }
        presumed = {(entry.vni, entry.mac) for entry in self._presumed.entries}
        here = {(row.vni, row.mac) for row in rows if row.port is not None}
        stations = {key for key, station in self._stations.items() if station.assigned}
        told = {key for key, station in self._stations.items() if station.told}
        return [
            *(f"{_name(key)} is attached here and missing" for key in stations - here),
            *(
                f"{_name(key)} is attached here and gossip does not know"
                for key in (stations & told) - own - wanted.keys()
            ),
            *(
                f"{_name(key)} is not here, and gossip says it is"
                for key in own - self._stations.keys()
            ),
            *(f"{_name(key)} is missing" for key in wanted.keys() - held.keys()),
            *(
                f"{_name(key)} is held by nobody any more"
                for key in held.keys() - wanted.keys() - presumed
            ),
            *(
                f"{_name(key)} is at {held[key].vtep} here, and at {wanted[key].vtep} by gossip"
                for key in wanted.keys() & held.keys()
                if held[key].vtep != wanted[key].vtep
            ),
            *(
                f"{_name(key)} has {_ips(held[key])} here, and {_ips(wanted[key])} by gossip"
                for key in wanted.keys() & held.keys()
                if set(held[key].ips) != set(wanted[key].ips)
            ),
        ]

    def _on_control(self, events: Sequence[Event]) -> None:
        changes: list[Change] = []
        for event in events:
            match event:
                case NetworkPeer():
                    changes.extend(self._on_peer(event))
                case EntrySet(entry) if entry.vni in self._segments:
                    changes.append(
                        RemoveEntry(entry.vni, entry.mac) if self._is_own(entry) else _set(entry)
                    )
                case EntryGone(vni, mac) if vni in self._segments:
                    changes.append(RemoveEntry(vni, mac))
                    self._claim_back(vni, mac)
                case _:
                    pass
        if changes:
            self._datapath.program(changes)

    def _claim_back(self, vni: Vni, mac: Mac) -> None:
        """Another host had a station of ours, and has it no more: say again that it is here."""
        station = self._stations.get((vni, mac))
        if station is not None and station.assigned and station.told:
            try:
                self._control.announce(vni, mac, station.ips)
            except StateError:
                self.refused_announcements += 1

    def _on_peer(self, event: NetworkPeer) -> Iterator[Change]:
        if event.owner == self._own_id():
            return
        peers = self._peers.setdefault(event.vni, {})
        if event.present:
            completes = Feature.COMPLETES_CHECKSUMS in event.features
            peers[event.owner] = Peer(event.vtep, completes_checksums=completes)
        else:
            peers.pop(event.owner, None)
        if not peers:
            del self._peers[event.vni]
        if event.vni in self._segments:
            yield self._all_peers(event.vni)

    def _on_datapath(self, events: Sequence[SwitchEvent]) -> None:
        for event in events:
            try:
                match event:
                    case Learned(vni, mac, port, ip):
                        self._learn(vni, mac, port, ip, moved=False)
                    case Moved(vni, mac, _, port):
                        self._learn(vni, mac, port, None, moved=True)
                    case Forgotten(vni, mac, port):
                        self._forget(vni, mac, port)
                    case Stranger(vni, ip):
                        self._meet(vni, ip)
            except StateError:
                # A bound of the control plane: the station works here, others flood to find it.
                self.refused_announcements += 1

    def _learn(self, vni: Vni, mac: Mac, port: PortId, ip: Ip | None, *, moved: bool) -> None:
        station = self._stations.get((vni, mac))
        if station is None:
            station = _Station(port, (), assigned=False)
        elif not station.told or (
            not moved and station.port == port and (ip is None or ip in station.ips)
        ):
            return
        station.port = port
        if ip is not None and ip not in station.ips:
            # The newest are kept: an address that is spoken for is more use than one of long ago.
            station.ips = (*station.ips, ip)[-IPS_MAX:]
        self._stations[vni, mac] = station
        self._control.announce(vni, mac, station.ips, moved=moved)

    def _forget(self, vni: Vni, mac: Mac, port: PortId) -> None:
        station = self._stations.get((vni, mac))
        if station is not None and station.port == port and not station.assigned:
            self.withdraw(vni, mac)

    def _meet(self, vni: Vni, ip: Ip) -> None:
        """A VTEP that nobody named has sent frames, and its network wants such to be peers."""
        met = self._met.setdefault(vni, {})
        if vni in self._segments and ip not in met and len(met) < MET_MAX:
            port = self._control.members()[0].vtep.port
            met[ip] = Peer(Vtep(ip, port), learning=True)
            self._datapath.program([self._all_peers(vni)])

    def _narrow(self) -> dict[Vtep, int]:
        """The foreign VTEPs that are known to be reached with so much only."""
        found: dict[Vtep, int] = {}
        for peer in (peer for peers in self._foreign.values() for peer in peers):
            if peer.mtu is not None:
                found[peer.vtep] = min(peer.mtu, found.get(peer.vtep, peer.mtu))
        return found

    def _all_peers(self, vni: Vni) -> SetPeers:
        members = {
            p.vtep: p for some in self._presumed.peers if some.vni == vni for p in some.peers
        }
        members.update((peer.vtep, peer) for peer in self._peers.get(vni, {}).values())
        known = tuple(members[vtep] for vtep in sorted(members))
        there = {peer.vtep.ip for peer in known}
        for peer in (*self._foreign.get(vni, ()), *self._met.get(vni, {}).values()):
            if peer.vtep.ip not in there:
                there.add(peer.vtep.ip)
                known += (peer,)
        return SetPeers(vni, known)

    def _own_id(self) -> NodeId:
        if self._own is None:
            self._own = self._control.members()[0].id
        return self._own

    def _is_own(self, entry: Entry) -> bool:
        return entry.owner == self._own_id()


def _set(entry: Entry) -> SetEntry:
    return SetEntry(
        entry.vni,
        entry.mac,
        entry.vtep,
        entry.ips,
        router=EntryFlag.ROUTER in entry.flags,
    )


def _name(key: tuple[Vni, Mac]) -> str:
    return f"{format_mac(key[1])} in VNI {key[0]}"


def _ips(row: FdbRow | Entry) -> str:
    return ", ".join(sorted(map(format_ip, row.ips))) or "no address"
