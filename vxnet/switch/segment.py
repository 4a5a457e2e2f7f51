"""One network on this host: its ports, its peers, its stations, and how they come and go."""

from vxnet.errors import StateError
from vxnet.switch.actions import Deliver, PortId, Send, Stranger
from vxnet.switch.admission import Admission
from vxnet.switch.balancer import Balancer
from vxnet.switch.bucket import TokenBucket
from vxnet.switch.flooding import Flooding
from vxnet.switch.flows import Flows
from vxnet.switch.journal import Journal
from vxnet.switch.limits import Limits
from vxnet.switch.model import FdbRow, Peer, Port, Segment, Service, SetEntry, SetRelays
from vxnet.switch.places import LocalPort, RemotePeer, Source, Station
from vxnet.wire.addr import Ip, Mac, Vtep, format_mac, is_group

__all__ = ["Domain"]

_NO_MAC = bytes(6)


class Domain:
    """A broadcast domain: frames of one VNI never leave it for another."""

    def __init__(self, segment: Segment, limits: Limits, journal: Journal, flows: Flows) -> None:
        self.segment = segment
        self.ports: dict[PortId, LocalPort] = {}
        self.peers: dict[Ip, RemotePeer] = {}
        self.flooding = Flooding(segment, self.ports, self.peers, limits)
        self.admission = Admission(segment, limits, journal, on_block=self.flooding.rewire)
        self.fdb = self.admission.fdb
        self.balancer = Balancer(segment.vni, flows, self.fdb.stations)
        self._limits = limits
        self._services: list[Station] = []  # what answers ARP and ND for their addresses
        self._relays = SetRelays(segment.vni)
        self._journal = journal
        self._meetings = TokenBucket(limits.strangers_per_s, limits.strangers_per_s)
        self._tunnels: dict[Vtep, RemotePeer] = {}  # to peers, and to where entries point

    def configure(self, segment: Segment) -> None:
        """Change the settings."""
        self.segment = self.flooding.segment = self.admission.segment = segment
        self._stand_in()

    # What belongs to the network

    def add_port(self, port: Port) -> LocalPort:
        """Take a port in. Raises StateError where its MAC is no station's, or another port's."""
        if port.mac is not None:
            if is_group(port.mac) or port.mac == _NO_MAC:
                raise StateError(
                    f"port {port.id} cannot have the MAC {format_mac(port.mac)}: "
                    "it does not name a single station"
                )
            if any(other.port.mac == port.mac for other in self.ports.values()):
                raise StateError(
                    f"port {port.id} cannot have the MAC {format_mac(port.mac)}: "
                    f"another port of network {port.vni} has it"
                )
        local = self.ports[port.id] = LocalPort(
            port, self.fdb.stations, self._limits, self.balancer
        )
        self._assign(local)
        self.flooding.rewire()
        return local

    def remove_port(self, port_id: PortId) -> None:
        """Let a port go, and forget what was behind it."""
        local = self.ports.pop(port_id)
        for station in [station for station in self.fdb if station.place is local]:
            self.admission.forget(station)
        self.flooding.forget(local)
        self.flooding.rewire()

    def set_peers(self, peers: tuple[Peer, ...]) -> None:
        """Replace the set of other VTEPs; what was learned from those that left is forgotten."""
        before = dict(self.peers)
        self.peers.clear()
        for peer in peers:
            remote = self._tunnel(peer.vtep)
            remote.learning = peer.learning
            self.peers[peer.vtep.ip] = remote
        for remote in before.values():
            is_gone = self.peers.get(remote.vtep.ip) is not remote
            if is_gone or not remote.learning:
                for station in self.fdb.learned(remote):
                    self.admission.forget(station)
            if is_gone:
                self.flooding.forget(remote)
        in_use = {station.place for station in self.fdb} | {*self.peers.values()}
        self._tunnels = {vtep: tunnel for vtep, tunnel in self._tunnels.items() if tunnel in in_use}
        self.flooding.rewire()
        self._stand_in()

    def set_entry(self, entry: SetEntry) -> None:
        """The control plane holds a station at a VTEP; groups and zero are nobody's and ignored."""
        if is_group(entry.mac) or entry.mac == _NO_MAC:
            return
        station = Station(entry.mac, self._tunnel(entry.vtep), Source.CONTROL)
        station.ips, station.router = entry.ips, entry.router
        self.admission.vouch(station)

    def remove_entry(self, mac: Mac) -> None:
        """The control plane no longer holds a station; a port made for it takes it back."""
        station = self.fdb.stations.get(mac)
        if station is None or station.source is not Source.CONTROL:
            return
        self.admission.forget(station)
        for local in self.ports.values():
            if local.port.mac == mac:
                self._assign(local)

    def set_services(self, services: tuple[Service, ...]) -> list[tuple[PortId, bytes]]:
        """Replace the services; returns frames for the clients of members that are gone."""
        for station in self._services:
            self.admission.neighbours.forget(station)
        self._services = [
            _stand_in(service.mac, service.ip, self._limits)
            for service in services
            if service.members
        ]
        for station in self._services:
            self.admission.neighbours.fix(station)
        return self.balancer.configure(services)

    def set_relays(self, change: SetRelays) -> None:
        """Replace those by whom clients outside reach members here."""
        self._relays = change
        self.balancer.relay(change)
        self._stand_in()

    def expire(self, now: float) -> None:
        """Forget what was not heard again for too long, and unblock ports that waited enough."""
        for station in self.fdb.stale(now):
            self.admission.forget(station)
        self.flooding.expire(now)
        self.balancer.relayed.expire(now)
        for local in self.ports.values():
            if local.blocked_until is not None and now >= local.blocked_until:
                local.blocked_until = None
                local.stations = self.fdb.stations
                self.flooding.rewire()

    def rows(self, now: float) -> list[FdbRow]:
        """The forwarding table, for people."""
        return [
            FdbRow(
                vni=self.segment.vni,
                mac=station.mac,
                vtep=station.action.vtep if isinstance(station.action, Send) else None,
                port=station.action.port if isinstance(station.action, Deliver) else None,
                ips=station.ips + station.heard,
                source=station.source,
                age_s=now - station.seen if station.source is Source.LEARNED else None,
            )
            for station in self.fdb
        ]

    def meet(self, ip: Ip, now: float) -> None:
        """A VTEP that is no peer has sent a frame: tell of it, now and then."""
        if not self._journal.is_full and self._meetings.take(now):
            self._journal.tell(Stranger(self.segment.vni, ip))

    # How that is done

    def _tunnel(self, vtep: Vtep) -> RemotePeer:
        """The one place that stands for a VTEP, so that its action can be compared by identity."""
        tunnel = self._tunnels.get(vtep)
        if tunnel is None:
            tunnel = self._tunnels[vtep] = RemotePeer(vtep, self._limits)
        return tunnel

    def _stand_in(self) -> None:
        """Answer for a gateway that nobody is, so that members can answer clients outside.

        Where VTEPs of others are, a router of theirs may be it.
        """
        mac, ips = self._relays.gateway, self._relays.gateway_ips
        is_ours = not self.segment.learn_vteps and not any(p.learning for p in self.peers.values())
        self.admission.neighbours.stand_ins.clear()
        if mac is not None and is_ours:
            for ip in ips:
                station = _stand_in(mac, ip, self._limits)
                station.router = True
                self.admission.neighbours.stand_ins[ip] = station

    def _assign(self, local: LocalPort) -> None:
        """Enter the station a port was made for."""
        if local.port.mac is not None:
            station = Station(local.port.mac, local, Source.LOCAL)
            station.ips = local.port.ips
            self.admission.vouch(station)


def _stand_in(mac: Mac, ip: Ip, limits: Limits) -> Station:
    """A station that is in no table of frames: behind it is whoever the balancer chooses."""
    place = RemotePeer(Vtep(ip, 0), limits)
    station = Station(mac, place, Source.SERVICE)
    station.ips = (ip,)
    return station
