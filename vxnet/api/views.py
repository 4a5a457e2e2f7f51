"""What the daemon knows, as the API tells it."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import vxnet
from vxnet.addresses import Addresses
from vxnet.api.model import (
    CountersView,
    DnsView,
    DriverView,
    EndpointView,
    FdbView,
    ForeignView,
    HistoryView,
    KeyView,
    LeaseView,
    MemberView,
    NetworkView,
    PlaceView,
    SandboxView,
    StatsView,
    StatusView,
    SubnetView,
)
from vxnet.cnm.driver import NetworkDriver
from vxnet.cnm.model import Endpoint, EndpointId, Network, Sandbox, SandboxKind
from vxnet.control.base import ControlPlane
from vxnet.control.history import History, Line
from vxnet.control.rotation import Rotation
from vxnet.datapath.accounting import differences, unbalanced
from vxnet.datapath.base import Counters, Datapath, FdbRow, Stats
from vxnet.endpoints import Endpoints
from vxnet.foreign import ForeignPeer
from vxnet.forwarding import Forwarding
from vxnet.gossip.events import Member, NodeId
from vxnet.networks import Networks
from vxnet.probe.channel import PORT as PROBE_PORT
from vxnet.resolvers import Resolvers
from vxnet.sandboxes import Sandboxes
from vxnet.services import Services
from vxnet.switch.actions import PortId
from vxnet.wire.addr import PROBE_VNI, Vni, Vtep, format_ip, format_mac, parse_ip, parse_mac

__all__ = ["Identity", "Views", "foreign_view"]

LOOKS_MAX, LOOK_EVERY_S = 40, 0.05  # at the books, until they balance


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change while the daemon runs."""

    name: str
    cluster: str
    vtep: Vtep
    underlay_device: str
    underlay_mtu: int
    datapath_reason: str
    gossip_encrypted: bool
    started: float
    """On the loop's clock."""


@dataclass(frozen=True, slots=True)
class Views:
    """Reads the daemon's parts; changes nothing."""

    identity: Identity
    control: ControlPlane
    datapath: Datapath
    forwarding: Forwarding
    networks: Networks
    endpoints: Endpoints
    sandboxes: Sandboxes
    addresses: Addresses
    port_of: Callable[[EndpointId], PortId | None]
    alarms: Callable[[], Sequence[str]]
    control_counters: Callable[[], dict[str, int]]
    own_counters: Callable[[], dict[str, int]]
    clock: Callable[[], float]
    now_ms: Callable[[], int]
    past: History
    path_mtus: Callable[[], dict[Vtep, int]]
    resolvers: Resolvers
    services: Services

    def status(self) -> StatusView:
        """The host at a glance."""
        identity, stats = self.identity, self._stats()
        drops: Counter[str] = Counter({str(r): n for r, n in stats.stray.items() if n})
        for counters in (*stats.ports.values(), *stats.tunnels.values()):
            drops.update({str(reason): n for reason, n in counters.drops.items() if n})
        return StatusView(
            name=identity.name,
            version=vxnet.__version__,
            pid=os.getpid(),
            uptime_s=round(self.clock() - identity.started, 1),
            vtep=str(identity.vtep),
            underlay_device=identity.underlay_device,
            underlay_mtu=identity.underlay_mtu,
            datapath=self.datapath.name,
            datapath_reason=identity.datapath_reason,
            gossip_encrypted=identity.gossip_encrypted,
            cluster=identity.cluster,
            members=dict(Counter(str(member.state) for member in self.control.members())),
            networks=_count(self.networks),
            endpoints=_count(self.endpoints),
            alarms=tuple(self.alarms()),
            drops=dict(sorted(drops.items())),
        )

    def members(self) -> list[MemberView]:
        """Every host of the cluster, this one first."""
        return [self.member(member) for member in self.control.members()]

    def network(self, network: Network) -> NetworkView:
        """One network."""
        names = self.host_names()
        others = {} if network.vni is None else self.forwarding.peers(network.vni)
        return NetworkView(
            id=network.id,
            name=network.name,
            driver=network.driver,
            vni=network.vni,
            mtu=network.mtu,
            subnets=tuple(
                SubnetView(str(s.prefix), None if s.gateway is None else str(s.gateway))
                for s in network.subnets
            ),
            options=network.options,
            created_ms=network.created_ms,
            endpoints=tuple(e.name for e in self.endpoints if e.network == network.id),
            hosts=tuple(sorted(names.get(vtep, str(vtep)) for vtep in others.values())),
        )

    def endpoint(self, endpoint: Endpoint) -> EndpointView:
        """One endpoint of this host."""
        network = self.networks.by_id(endpoint.network)
        return EndpointView(
            id=endpoint.id,
            name=endpoint.name,
            network=endpoint.network if network is None else network.name,
            mac=format_mac(endpoint.mac),
            addresses=tuple(map(str, endpoint.addresses)),
            state="absent" if self.endpoints.is_absent(endpoint) else str(endpoint.state),
            sandbox=None if endpoint.sandbox is None else str(endpoint.sandbox),
            ifname=endpoint.ifname,
            created_ms=endpoint.created_ms,
            published=tuple(map(str, endpoint.published)),
            priority=endpoint.priority,
            aliases=endpoint.aliases,
            services=endpoint.services,
        )

    def sandbox(self, sandbox: Sandbox) -> SandboxView:
        """A network namespace."""
        return SandboxView(
            name=sandbox.value if sandbox.kind is SandboxKind.NETNS else str(sandbox),
            path=sandbox.path,
            made_by_vxnet=self.sandboxes.is_own(sandbox),
            endpoints=tuple(e.name for e in self.endpoints if e.sandbox == sandbox),
        )

    def leases(self, network: str | None) -> list[LeaseView]:
        """Every address that anybody holds. Raises StateError for an unknown network."""
        only = None if network is None else self.networks.get(network).id
        names = {n.id: n.name for n in self.networks}
        now_ms = self.now_ms()
        found = sorted(
            self.addresses.leases(), key=lambda lease: (lease.network, lease.address.packed)
        )
        return [
            LeaseView(
                network=names.get(lease.network, lease.network),
                address=str(lease.address),
                holder=lease.holder,
                host=self.addresses.name_of(lease.owner),
                age_s=round(max(0, now_ms - lease.since_ms) / 1000, 1),
                reason="in grace" if lease.in_grace else "in use",
            )
            for lease in found
            if only is None or lease.network == only
        ]

    def dns(self, name: str, network: str) -> DnsView:
        """What a name is to somebody in a network. Raises StateError for an unknown network."""
        asked = self.networks.get(network)
        found = self.resolvers.explain(name, asked)
        if found is None:
            upstream = tuple(self.resolvers.upstream())
            why = "no name of the network; the host's resolvers are asked"
            if not upstream:
                why = "no name of the network, and this host has no resolver to ask"
            return DnsView(name, asked.name, "passed on", (), (), why, upstream)
        hosts = {member.id: member.name for member in self.control.members()}
        return DnsView(
            name=name,
            network=found.scope.name,
            kind=str(found.kind),
            addresses=tuple(map(format_ip, found.addresses)),
            endpoints=tuple(
                f"{one.row.name} on {hosts.get(NodeId(one.owner), 'a host that is gone')}"
                for one in found.named
            ),
            why=found.why,
            resolvers=tuple(map(str, found.scope.resolvers)),
        )

    async def driver(self, driver: NetworkDriver) -> DriverView:
        """What makes networks, and whether it can here."""
        about = driver.about
        return DriverView(
            name=driver.name,
            scope=str(driver.scope),
            purpose=about.purpose,
            limits=about.limits,
            own_mac=about.own_mac,
            own_ip=about.own_ip,
            crosses_hosts=about.crosses_hosts,
            way_out=about.way_out,
            lacks=await driver.lacks(),
        )

    def fdb(self, network: str | None) -> list[FdbView]:
        """The forwarding table, of one network or of all. Raises StateError for an unknown one."""
        only = None if network is None else self.networks.get(network).vni
        rows = (
            row
            for row in self.datapath.fdb()
            if row.vni != PROBE_VNI and (network is None or row.vni == only)
        )
        hosts, networks = self.host_names(), self.network_names()
        ports = self.endpoint_names()
        return sorted(
            (_fdb_view(row, hosts, networks, ports) for row in rows),
            key=lambda view: (view.vni, view.mac),
        )

    def stats(self) -> StatsView:
        """Everything counted."""
        stats = self._stats()
        ports, networks, hosts = (
            self.endpoint_names(),
            self.network_names(),
            self.host_names(),
        )
        places = [
            *(_place("endpoint", ports.get(p, f"port {p}"), c) for p, c in stats.ports.items()),
            *(_place("network", networks.get(v, f"vni {v}"), c) for v, c in stats.tunnels.items()),
            *(_place("peer", hosts.get(v, str(v)), c) for v, c in stats.peers.items()),
        ]
        return StatsView(
            places=tuple(places),
            stray={str(reason): n for reason, n in stats.stray.items()},
            io=dict(stats.io),
            strangers={format_ip(ip): n for ip, n in stats.strangers.items()},
            control={
                **self.control_counters(),
                **self.own_counters(),
                "refused_announcements": self.forwarding.refused_announcements,
            },
        )

    async def unaccounted(self) -> tuple[str, ...]:
        """Where frames are in no counter, a sentence each; none where the books balance."""
        looks = []
        for _ in range(LOOKS_MAX):
            looks.append(differences(self.datapath.stats()))
            if not unbalanced(looks):
                return ()
            await asyncio.sleep(LOOK_EVERY_S)
        ports, networks, hosts = (
            self.endpoint_names(),
            self.network_names(),
            self.host_names(),
        )
        names: dict[object, str] = {
            **{("port", port): f"endpoint {name}" for port, name in ports.items()},
            **{("network", vni): f"network {name}" for vni, name in networks.items()},
            **{("peer", vtep): f"peer {name}" for vtep, name in hosts.items()},
        }
        return tuple(
            f"{names.get(place, ' '.join(map(str, place)))}: "
            + (
                f"{missing} frames entered and are in no other counter"
                if missing > 0
                else f"{-missing} frames are counted more often than they entered"
            )
            for place, missing in unbalanced(looks).items()
        )

    def history(self, about: str, value: str) -> list[HistoryView]:
        """What happened to a MAC, an IP or a peer. Raises WireError or StateError."""
        members = self.control.members()
        match about:
            case "mac":
                lines = self.past.of_mac(parse_mac(value))
            case "ip":
                lines = self.past.of_ip(parse_ip(value))
            case _:
                named = frozenset(member.id for member in members if member.name == value)
                lines = self.past.of_peer(named, value)
        names = {member.id: member.name for member in members}
        networks = self.network_names()
        return [_history_view(line, names, networks) for line in lines]

    def keys(self, rotation: Rotation) -> list[KeyView]:
        """The gossip's keys. Raises StateError where it is not encrypted."""
        return [
            KeyView(key.id, key.in_use, key.accepted_by, key.lacking_on)
            for key in rotation.states()
        ]

    def member(self, member: Member) -> MemberView:
        """A host of the cluster."""
        host, port = member.gossip
        return MemberView(
            id=f"{member.id:016x}",
            name=member.name,
            state=str(member.state),
            vtep=str(member.vtep),
            gossip=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            for_s=round(max(0.0, self.clock() - member.since), 1),
            rtt_ms=None if member.rtt_s is None else round(member.rtt_s * 1000, 3),
            version=vxnet.__version__ if member.local else member.version,
            datapath=self.datapath.name if member.local else member.datapath,
            local=member.local,
            path_mtu=self.path_mtus().get(member.vtep),
            local_health=self.control_counters().get("local_health") if member.local else None,
            pings=member.pings,
            pings_lost=member.pings_lost,
        )

    def _stats(self) -> Stats:
        """What was counted, without what hosts send to find out about each other."""
        stats = self.datapath.stats()
        return replace(
            stats,
            ports={port: c for port, c in stats.ports.items() if port != PROBE_PORT},
            tunnels={vni: c for vni, c in stats.tunnels.items() if vni != PROBE_VNI},
        )

    def host_names(self) -> dict[Vtep, str]:
        """The hosts, by where their tunnels end."""
        return {member.vtep: member.name for member in self.control.members()}

    def network_names(self) -> dict[Vni, str]:
        """The networks, by their number on the wire."""
        return {network.vni: network.name for network in self.networks if network.vni is not None}

    def endpoint_names(self) -> dict[PortId, str]:
        """The endpoints of this host, by their ports."""
        names = {self.port_of(endpoint.id): endpoint.name for endpoint in self.endpoints}
        own = {port: f"resolver of {name}" for port, name in self.resolvers.ports().items()}
        return own | {port: name for port, name in names.items() if port is not None}


def foreign_view(one: ForeignPeer) -> ForeignView:
    """A VTEP that is no host of the cluster."""
    return ForeignView(str(one.peer.vtep), one.source, one.peer.learning, one.peer.mtu)


def _count(things: Iterable[object] | Iterator[object]) -> int:
    return sum(1 for _ in things)


def _place(kind: str, name: str, counters: Counters) -> PlaceView:
    return PlaceView(
        kind,
        name,
        CountersView(
            received=counters.received,
            received_bytes=counters.received_bytes,
            delivered=counters.delivered,
            sent=counters.sent,
            flooded=counters.flooded,
            replied=counters.replied,
            drops={str(reason): n for reason, n in counters.drops.items() if n},
            out=counters.out,
            out_bytes=counters.out_bytes,
        ),
    )


def _fdb_view(
    row: FdbRow, hosts: dict[Vtep, str], networks: dict[Vni, str], ports: dict[PortId, str]
) -> FdbView:
    return FdbView(
        network=networks.get(row.vni, ""),
        vni=row.vni,
        mac=format_mac(row.mac),
        ips=tuple(map(format_ip, row.ips)),
        vtep=None if row.vtep is None else str(row.vtep),
        host=None if row.vtep is None else hosts.get(row.vtep),
        endpoint=None if row.port is None else ports.get(row.port, f"port {row.port}"),
        source=row.source,
        age_s=row.age_s,
    )


def _history_view(line: Line, names: dict[NodeId, str], networks: dict[Vni, str]) -> HistoryView:
    return HistoryView(
        applied_ms=line.applied_ms,
        what=line.what,
        host=line.name or names.get(line.owner, f"{line.owner:016x}"),
        network="" if line.vni is None else networks.get(line.vni, f"VNI {line.vni}"),
        mac="" if line.mac is None else format_mac(line.mac),
        ips=tuple(map(format_ip, line.ips)),
        announced_ms=line.announced_ms,
        version=line.version,
        sequence=line.sequence,
    )
