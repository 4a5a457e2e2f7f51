"""The switch: for each frame one decision, from a local port or out of a tunnel.

It does no I/O and reads no clock. The path of a frame whose stations are known is two table
look-ups and returns a value that was made before; everything else is a method further away.
"""

from collections.abc import Iterable, Iterator
from struct import error

from vxnet.errors import StateError, WireError
from vxnet.switch import neighbours
from vxnet.switch.actions import Action, Deliver, Drop, DropReason, PortId, Rewrite, SwitchEvent
from vxnet.switch.flows import Flows
from vxnet.switch.journal import Journal
from vxnet.switch.limits import Limits
from vxnet.switch.model import (
    Change,
    FdbRow,
    Port,
    RemoveEntry,
    Segment,
    ServiceStations,
    SetEntry,
    SetPeers,
    SetRelays,
    SetServices,
)
from vxnet.switch.neighbours import MAY_BE_ND
from vxnet.switch.places import LocalPort, RemotePeer, Station
from vxnet.switch.segment import Domain
from vxnet.wire import ethernet, mss
from vxnet.wire.addr import Ip, Mac, Vni
from vxnet.wire.ethernet import VLAN_ETHERTYPES, Buffer, Ethertype

__all__ = ["Switch"]

_unpack = ethernet.HEADER.unpack_from
_IPV4, _IPV6 = int(Ethertype.IPV4), int(Ethertype.IPV6)
_NEXT_HEADER = ethernet.HEADER_BYTES + 6

_DROPS = {reason: Drop(reason) for reason in DropReason}
_FRAME_MALFORMED = _DROPS[DropReason.FRAME_MALFORMED]
_FRAME_SHORT = _DROPS[DropReason.FRAME_SHORT]
_PORT_UNKNOWN = _DROPS[DropReason.PORT_UNKNOWN]
_SAME_PORT = _DROPS[DropReason.SAME_PORT]
_UNKNOWN_VNI = _DROPS[DropReason.UNKNOWN_VNI]
_UNKNOWN_VTEP = _DROPS[DropReason.UNKNOWN_VTEP]
_VLAN_TAGGED = _DROPS[DropReason.VLAN_TAGGED]
_VXLAN_RESERVED = _DROPS[DropReason.VXLAN_RESERVED]


class Switch:
    """The networks of one host. A frame is a buffer that begins at its Ethernet header.

    Frames may be super-frames of 64 KiB; they are looked at and never copied. `now` is in seconds
    of one monotonic clock.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits if limits is not None else Limits()
        self._journal = Journal(self._limits.events_max)
        self._domains: dict[Vni, Domain] = {}
        self._ports: dict[PortId, LocalPort] = {}
        self._is_watched = False
        self._resets: list[tuple[PortId, bytes]] = []
        self.flows = Flows()
        """Those that go through services."""

    # Frames

    def from_link(self, port_id: PortId, frame: Buffer, now: float) -> Action:
        """What to do with a frame that a local port sent."""
        local = self._ports.get(port_id)
        if local is None:
            return _PORT_UNKNOWN
        try:
            destination, source, ethertype = _unpack(frame)
        except error:
            return _FRAME_SHORT
        stations = local.stations
        known = stations.get(source)
        if known is not None and known.place is local:
            known.seen = now
        else:
            refusal = self._domains[local.port.vni].admission.admit(local, source, known, now)
            if refusal is not None:
                return refusal
        if ethertype != _IPV4 and (
            ethertype != _IPV6 or len(frame) <= _NEXT_HEADER or frame[_NEXT_HEADER] in MAY_BE_ND
        ):
            domain = self._domains[local.port.vni]
            verdict = _inspect(domain, local, frame, destination, source, ethertype, now)
            if verdict is not None:
                return verdict
        balancer = local.balancer
        if source in balancer.members:
            served = balancer.homeward(source, frame, now)
            if isinstance(served, Drop):
                return served
            if served is not None:
                change, client, has_ports = served
                target = stations.get(client)
                if target is not None:
                    return Rewrite(change, target.action, has_ports)
        if destination in balancer.members and mss.may_be_syn(frame):
            balancer.make_way(frame, now)
        target = stations.get(destination)
        if target is None:
            action = balancer.outward(local, destination, frame, now)
            if action is not None:
                return action
            domain = self._domains[local.port.vni]
            return domain.flooding.outward(local, destination, ethertype, frame, now)
        if target.place is local:
            return _SAME_PORT
        return target.action

    def from_underlay(
        self, vni: Vni, source_ip: Ip, frame: Buffer, now: float, reserved: bool = False
    ) -> Action:
        """What to do with a frame that came out of a tunnel; never Send.

        `source_ip` is the outer source address; `reserved` says that the VXLAN header had reserved
        bits set (`vxlan.parse` tells).
        """
        domain = self._domains.get(vni)
        if domain is None:
            return _UNKNOWN_VNI
        remote = domain.peers.get(source_ip)
        if remote is None:
            if domain.segment.learn_vteps:
                domain.meet(source_ip, now)
            return _UNKNOWN_VTEP
        if reserved and domain.segment.strict_reserved:
            return _VXLAN_RESERVED
        try:
            destination, source, ethertype = _unpack(frame)
        except error:
            return _FRAME_SHORT
        stations = domain.fdb.stations
        known = stations.get(source)
        if known is not None and known.place is remote:
            known.seen = now
        else:
            refusal = domain.admission.admit_remote(remote, source, known, now)
            if refusal is not None:
                return refusal
        if ethertype != _IPV4:
            if ethertype in VLAN_ETHERTYPES and not domain.segment.vlan_transparent:
                return _VLAN_TAGGED
            if remote.learning:
                _listen(domain, remote, frame, source, now)
        if source in domain.balancer.members:
            served = domain.balancer.homeward(source, frame, now)
            if isinstance(served, Drop):
                return served
            if served is not None:
                change, client, has_ports = served
                target = stations.get(client)
                if target is not None and isinstance(target.action, Deliver):
                    return Rewrite(change, target.action, has_ports)
        target = stations.get(destination)
        if target is None:
            return domain.flooding.inward(remote, destination, ethertype, frame, now)
        return target.inward

    # What exists

    def set_segment(self, segment: Segment) -> None:
        """Add a network, or change its settings."""
        domain = self._domains.get(segment.vni)
        if domain is None:
            domain = Domain(segment, self._limits, self._journal, self.flows)
            domain.fdb.changed = set() if self._is_watched else None
            self._domains[segment.vni] = domain
        else:
            domain.configure(segment)

    def remove_segment(self, vni: Vni) -> None:
        """Forget a network and its entries. Raises StateError while it has ports."""
        domain = self._domains.get(vni)
        if domain is None:
            return
        if domain.ports:
            raise StateError(
                f"network {vni} still has {len(domain.ports)} ports; remove them before it"
            )
        domain.set_services(())
        del self._domains[vni]

    def add_port(self, port: Port) -> None:
        """Take a port in. Raises StateError where the VNI is unknown, or the id or MAC taken."""
        domain = self._domains.get(port.vni)
        if domain is None:
            raise StateError(f"port {port.id} is for network {port.vni}, which is not on this host")
        if port.id in self._ports:
            raise StateError(f"port {port.id} exists already")
        self._ports[port.id] = domain.add_port(port)

    def remove_port(self, port_id: PortId) -> None:
        """Let a port go, and forget what was behind it. Unknown ids are ignored."""
        local = self._ports.pop(port_id, None)
        if local is not None:
            self._domains[local.port.vni].remove_port(port_id)
            self.flows.forget(port_id)

    def program(self, changes: Iterable[Change]) -> None:
        """Apply what the control plane says, in order. Unknown VNIs are ignored."""
        for change in changes:
            domain = self._domains.get(change.vni)
            if domain is None:
                continue
            match change:
                case SetEntry():
                    domain.set_entry(change)
                case RemoveEntry(_, mac):
                    domain.remove_entry(mac)
                case SetPeers(_, peers):
                    domain.set_peers(peers)
                case SetServices(_, services):
                    self._resets += domain.set_services(services)
                case SetRelays():
                    domain.set_relays(change)

    # What happened

    def expire(self, now: float) -> None:
        """Forget the stations that were silent for too long. To be called about once a second."""
        for domain in self._domains.values():
            domain.expire(now)
        self.flows.expire(now)

    def services(self) -> Iterator[ServiceStations]:
        """Of each network the stations that services and clients outside are behind."""
        for vni, domain in self._domains.items():
            relayed = domain.balancer.relayed
            macs = frozenset(domain.balancer.by_mac)
            if relayed.gateway is not None:
                macs |= {relayed.gateway}
            servers = self.flows.members(vni)
            yield ServiceStations(vni, macs, servers, relayed.relays, relayed.suspects)

    def resets(self) -> list[tuple[PortId, bytes]]:
        """Frames of our own that ports are to get, since the last call."""
        resets, self._resets = self._resets, []
        return resets

    def events(self) -> list[SwitchEvent]:
        """What was seen since the last call. To be called often: until then it is kept, and when
        too much waits to be told, nothing more is learned from local ports.
        """
        return self._journal.drain()

    @property
    def refused(self) -> int:
        """How often something was not learned because a limit was reached."""
        return self._journal.refused

    def rows(self, now: float) -> list[FdbRow]:
        """The forwarding table, for people."""
        return [row for domain in self._domains.values() for row in domain.rows(now)]

    # For a datapath that keeps a copy of the table

    def watch(self) -> None:
        """Note which entries change from now on, for `changes`. To be called before all others."""
        self._is_watched = True

    def changes(self) -> Iterator[tuple[Vni, bytes, Station | None]]:
        """The entries that changed since the last call, as they are now; None for those gone."""
        for vni, domain in self._domains.items():
            if domain.fdb.changed:
                changed, domain.fdb.changed = domain.fdb.changed, set()
                find = domain.fdb.stations.get
                for mac in changed:
                    yield vni, mac, find(mac)

    def refresh(self, vni: Vni, mac: Mac, seen: float) -> None:
        """A station sent frames that were not shown to the switch, the last of them at `seen`."""
        domain = self._domains.get(vni)
        station = domain.fdb.stations.get(mac) if domain is not None else None
        if station is not None and seen > station.seen:
            station.seen = seen

    def blocked(self) -> set[PortId]:
        """The ports whose frames are all dropped, as they are joined to others outside."""
        return {
            port_id for port_id, local in self._ports.items() if local.blocked_until is not None
        }


def _inspect(
    domain: Domain,
    local: LocalPort,
    frame: Buffer,
    destination: bytes,
    source: bytes,
    ethertype: int,
    now: float,
) -> Action | None:
    """A local port's frame that is tagged, or may be ARP or ND. None sends it on its way."""
    if ethertype in VLAN_ETHERTYPES and not domain.segment.vlan_transparent:
        return _VLAN_TAGGED
    try:
        notice = neighbours.read(frame)
    except WireError:
        # What cannot be read cannot be checked; an unguarded port's receivers discard it.
        return _FRAME_MALFORMED if local.port.mac is not None else None
    if notice is None:
        return None
    return domain.admission.heed(local, source, destination, notice, now)


def _listen(domain: Domain, remote: RemotePeer, frame: Buffer, source: bytes, now: float) -> None:
    """A learning peer's frame that may be ARP or ND."""
    try:
        notice = neighbours.read(frame)
    except WireError:
        return  # its receivers discard it
    if notice is not None:
        domain.admission.heed_remote(remote, source, notice, now)
