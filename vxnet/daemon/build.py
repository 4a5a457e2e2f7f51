"""Settings become parts: the one place that names concrete classes, and who owns what it opens."""

import asyncio
import ipaddress
import logging
import os
import socket
import time
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from vxnet.addresses import Addresses
from vxnet.api.routes import Routes
from vxnet.api.server import ApiServer
from vxnet.api.service_routes import ServiceRoutes
from vxnet.api.views import Identity, Views
from vxnet.cnm.model import Subnet
from vxnet.config import NetworkSettings, Settings, parse_host_port
from vxnet.control.address import from_socket
from vxnet.control.gossip import GossipControl
from vxnet.control.history import History
from vxnet.control.keyfile import read_keys
from vxnet.control.paths import Paths
from vxnet.control.rotation import Rotation
from vxnet.convergence import Convergence
from vxnet.daemon.handover import PRESUMED_S, Handover, Inheritance
from vxnet.daemon.journal import Journal
from vxnet.daemon.lock import lock
from vxnet.daemon.lookout import Lookout
from vxnet.daemon.naming import Naming, build_naming, build_resolvers
from vxnet.datapath.base import Datapath, DatapathSettings, Peer
from vxnet.datapath.select import select
from vxnet.drivers.bridge import PREFIX as BRIDGE_PREFIX
from vxnet.drivers.bridge import BridgeDriver
from vxnet.drivers.chooser import DriverChooser
from vxnet.drivers.host import HostDriver
from vxnet.drivers.ipvlan import IpvlanDriver
from vxnet.drivers.macvlan import MacvlanDriver
from vxnet.drivers.none import NoneDriver
from vxnet.drivers.overlay import OverlayDriver
from vxnet.drivers.remote import RemoteDriver
from vxnet.endpoints import Endpoints
from vxnet.errors import VxnetError
from vxnet.foreign import ForeignPeers
from vxnet.forwarding import OUTER_BYTES, Forwarding
from vxnet.gossip.events import Feature, MemberState
from vxnet.guard import Guard
from vxnet.host.base import HostNetwork, Underlay
from vxnet.host.firewall import DockerForwardPass, NftFirewall
from vxnet.host.links import NetlinkLinks
from vxnet.host.namespace import run_inside
from vxnet.host.netlink import NetlinkHost
from vxnet.host.plugins import find_plugin
from vxnet.host.store import open_store
from vxnet.host.watch import NetlinkWatch
from vxnet.link.packet import PacketLink
from vxnet.link.tap import Tap
from vxnet.nameservice import NameService
from vxnet.network_table import NetworkTable
from vxnet.networks import NetworkRequest, Networks
from vxnet.plumbing import Plumbing
from vxnet.pools import Pools
from vxnet.recovery import Recoverer
from vxnet.registry import Registry
from vxnet.sandboxes import Sandboxes
from vxnet.surroundings import Surroundings
from vxnet.underlay.udp import UdpSettings
from vxnet.wire.addr import Vni, Vtep, parse_ip
from vxnet.wire.ethernet import HEADER_BYTES

__all__ = ["Daemon", "build"]

if TYPE_CHECKING:
    from vxnet.docker.steward import Steward

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Daemon:
    """The parts that a running daemon is made of."""

    identity: Identity
    datapath: Datapath
    control: GossipControl
    forwarding: Forwarding
    networks: Networks
    convergence: Convergence
    endpoints: Endpoints
    recoverer: Recoverer
    guard: Guard
    bridge: BridgeDriver
    pools: Pools
    steward: "Steward | None"
    handover: Handover
    naming: Naming
    surroundings: Surroundings
    paths: Paths
    journal: Journal
    foreign: ForeignPeers

    def tend_paths(self, now: float) -> None:
        """Look at the ways to the hosts that share a network with this one."""
        wanted = self.forwarding.vteps()
        self.paths.set_peers(
            (
                (member.vtep, from_socket(*member.gossip))
                for member in self.control.members()
                if member.vtep in wanted and member.state is MemberState.ALIVE
            ),
            now,
        )

    async def apply(self, settings: Settings, changed: AbstractSet[str]) -> None:
        """Take over what may change while running."""
        if "gossip.seeds" in changed:
            self.control.set_seeds(_seeds(settings))
        if "network" in changed:
            await _ensure_networks(settings, self.networks, self.foreign)


async def build(
    settings: Settings, stack: AsyncExitStack, plugin: socket.socket | None = None
) -> Daemon:
    """Make and start every part; the stack ends them, last one first. Raises VxnetError."""
    loop = asyncio.get_running_loop()
    state = Path(settings.node.state_dir)
    stack.callback(os.close, lock(state))
    store = await open_store(state / "vxnet.db")
    stack.push_async_callback(store.close)

    host = NetlinkHost()
    vtep = Vtep(parse_ip(settings.node.vtep), settings.vxlan.port)
    underlay = await _underlay(settings, host)
    chosen = DatapathSettings(
        UdpSettings(checksum=settings.vxlan.checksum),
        busy_poll_us=settings.node.busy_poll_us,
        remote_checksum=settings.vxlan.remote_checksum,
    )
    datapath, reason = select(settings.node.datapath, vtep, chosen)
    key_file = Path(settings.gossip.key_file) if settings.gossip.key_file else None
    keys = () if key_file is None else read_keys(key_file)
    control = GossipControl(
        name=settings.node.name,
        vtep=vtep,
        port=settings.gossip.port,
        cluster=settings.gossip.cluster,
        seeds=_seeds(settings),
        keys=keys,
        state_file=state / "gossip.json",
        profile=settings.gossip.profile,
        datapath=datapath.name,
        features=Feature.COMPLETES_CHECKSUMS if datapath.completes_checksums else Feature.NONE,
    )
    journal = Journal()
    control.subscribe(journal.hear)
    history = History(_now_ms)
    control.subscribe(history.hear)
    forwarding = Forwarding(datapath, control)
    datapath.subscribe(journal.see)
    paths = Paths(underlay.mtu, control.send_beside, partial(_path_found, forwarding))
    control.hear_beside(lambda data, source: paths.receive(data, source, loop.time()))
    inheritance = Inheritance(vtep)
    stack.callback(inheritance.close)
    registry = Registry(store)
    names = NameService(control, registry)

    resolvers = build_resolvers(
        settings,
        names,
        registry,
        forwarding,
        lambda network: table.by_id(network),
        lambda network, name: naming.services.find(network, name),
        _report,
    )
    mtu_max = underlay.mtu - OUTER_BYTES[len(vtep.ip)] - HEADER_BYTES
    overlay = OverlayDriver(
        forwarding,
        partial(_open_tap, inheritance),
        mtu_max=mtu_max,
        gso_max_bytes=settings.vxlan.gso_max_bytes,
        companion=resolvers if settings.dns.enabled else None,
    )
    handover = Handover(store, datapath, forwarding, overlay, _now_ms)
    links = NetlinkLinks()
    table_name = _table_name(settings.node.name)
    bridge = BridgeDriver(links, NftFirewall(table_name), DockerForwardPass(BRIDGE_PREFIX))
    drivers = DriverChooser(
        (
            overlay,
            bridge,
            MacvlanDriver(links),
            IpvlanDriver(links),
            HostDriver(host),
            NoneDriver(),
        ),
        partial(_find_remote, host),
    )
    random = SystemRandom()
    table = NetworkTable(control, store, drivers)
    pools = Pools(control, store, table.by_id, _now_ms)
    addresses = Addresses(pools, control, _now_ms)
    convergence = Convergence(table, control, addresses, now_ms=_now_ms, random=random)
    surroundings = Surroundings(control, host)
    networks = Networks(table, control, forwarding, addresses, surroundings, now_ms=_now_ms)
    foreign = ForeignPeers(networks, forwarding, store, vtep)
    tellers = (control, store, networks, addresses, registry, names, resolvers, forwarding)
    naming = build_naming(settings, *tellers, overlay, host, _now_ms, random)
    table.users.append(naming.services.users)
    watch = NetlinkWatch()
    plumbing = Plumbing(networks, registry, host, watch)
    recoverer = Recoverer(table, addresses, registry, plumbing)
    guard = Guard(table, registry, plumbing, recoverer, host)
    watch.subscribe(guard.changed)
    endpoints = Endpoints(
        table, networks, addresses, registry, plumbing, host, now_ms=_now_ms, random=random
    )
    sandboxes = Sandboxes(table, registry, host, store)
    identity = Identity(
        name=settings.node.name,
        cluster=settings.gossip.cluster,
        vtep=vtep,
        underlay_device=underlay.device,
        underlay_mtu=underlay.mtu,
        datapath_reason=reason.removeprefix(f"{datapath.name}: "),
        gossip_encrypted=bool(keys),
        started=loop.time(),
    )
    views = Views(
        identity,
        control,
        datapath,
        forwarding,
        networks,
        endpoints,
        sandboxes,
        addresses,
        port_of=overlay.port_of,
        alarms=journal.alarms,
        control_counters=control.counters,
        own_counters=lambda: {
            "bad_network_records": convergence.bad_records,
            "bad_address_rows": pools.bad_rows,
            "devices_restored": guard.restored,
            **naming.counters(),
        },
        clock=loop.time,
        now_ms=_now_ms,
        past=history,
        resolvers=resolvers,
        services=naming.services,
        path_mtus=paths.mtus,
    )
    rotation = Rotation(control, key_file)
    routes = Routes(views, networks, endpoints, sandboxes, addresses, rotation, foreign)
    service_routes = ServiceRoutes(views, naming.services, naming.health, naming.ingress)
    lookout = Lookout(settings, views, control, journal, networks, endpoints, mtu_max)
    every = (*routes.all(), *service_routes.all(), *lookout.routes())
    api = ApiServer(Path(settings.node.socket), every)

    if not keys:
        _log.warning("gossip is not encrypted", {"mend": "set gossip.key_file"})
    stack.push_async_callback(datapath.close)
    if not inheritance.listeners:
        await datapath.start()
    stack.push_async_callback(lambda: control.close(farewell=not handover.asked))
    await control.start()
    names.follow_members()
    if await handover.take_up():
        stack.callback(loop.call_later(PRESUMED_S, forwarding.stop_presuming).cancel)
    lookout.open(stack)
    await pools.load()
    await networks.load()
    await naming.services.load()
    await foreign.load()
    await _ensure_networks(settings, networks, foreign)
    stack.callback(resolvers.close)
    # Docker's containers have no other device, so theirs stay for the next daemon.
    keep_devices = settings.node.keep_devices or settings.docker.enabled
    stack.push_async_callback(lambda: overlay.close(keep_devices=keep_devices or handover.asked))
    stack.push_async_callback(naming.files.close, _report)
    stack.push_async_callback(naming.ingress.close)
    stack.callback(watch.close)
    await watch.start()
    await sandboxes.load()
    await recoverer.load(_report)
    if inheritance.listeners:
        # What waits in these sockets is for endpoints that had to be there first.
        await datapath.start(inheritance.listeners)
    inheritance.settle()
    steward = None
    if settings.docker.enabled:
        # Here, so that hosts without Docker do not hold what serves it.
        from vxnet.daemon.docker import serve_docker

        firewall = NftFirewall(f"{table_name}_docker")
        steward = await serve_docker(
            settings.docker,
            stack,
            store,
            networks,
            endpoints,
            addresses,
            host,
            links,
            overlay,
            firewall,
            _now_ms,
            plugin,
        )
    stack.push_async_callback(api.close)
    await api.start()
    await lookout.serve(stack)
    return Daemon(
        identity,
        datapath,
        control,
        forwarding,
        networks,
        convergence,
        endpoints,
        recoverer,
        guard,
        bridge,
        pools,
        steward,
        handover,
        naming,
        surroundings,
        paths,
        journal,
        foreign,
    )


async def _underlay(settings: Settings, host: NetlinkHost) -> Underlay:
    found = await host.underlay(ipaddress.ip_address(settings.node.vtep))
    mtu = found.mtu if settings.node.mtu is None else settings.node.mtu
    return Underlay(found.device, mtu)


async def _ensure_networks(settings: Settings, networks: Networks, foreign: ForeignPeers) -> None:
    """The networks of the settings exist, and reach the foreign VTEPs that are named there."""
    reached: dict[Vni, tuple[Peer, ...]] = {}
    for wanted in settings.network:
        network = await networks.ensure(_network_request(wanted))
        if network.vni != wanted.vni:
            _log.warning(
                "a network exists with another VNI than the settings say",
                {"network": wanted.name, "setting": wanted.vni, "vni": network.vni},
            )
        if network.vni is not None:
            reached[network.vni] = _peers(wanted, settings.vxlan.port)
    foreign.configure(reached)


def _network_request(wanted: NetworkSettings) -> NetworkRequest:
    return NetworkRequest(
        wanted.name,
        subnets=tuple(Subnet(ipaddress.ip_network(text)) for text in wanted.subnets),
        vni=wanted.vni,
        mtu=wanted.mtu,
        allow_overlap=True,  # whoever wrote it down for every host meant it
    )


def _peers(wanted: NetworkSettings, port: int) -> tuple[Peer, ...]:
    found = []
    for peer in wanted.peers:
        host, peer_port = parse_host_port(peer.vtep, port)
        found.append(Peer(Vtep(parse_ip(host), peer_port), peer.learning, peer.mtu))
    return tuple(found)


def _path_found(forwarding: Forwarding, vtep: Vtep, mtu: int | None) -> None:
    forwarding.set_path_mtu(vtep, mtu)
    if mtu is None:
        _log.info("the way to a host carries all that is sent", {"vtep": vtep})
    else:
        _log.warning("the way to a host carries less than its device", {"vtep": vtep, "mtu": mtu})


def _seeds(settings: Settings) -> list[tuple[str, int]]:
    return [parse_host_port(seed, settings.gossip.port) for seed in settings.gossip.seeds]


def _find_remote(host: HostNetwork, name: str) -> RemoteDriver | None:
    plugin = find_plugin(name)
    return None if plugin is None else RemoteDriver(name, plugin, host)


def _table_name(node: str) -> str:
    """Two daemons on one machine, in one namespace, have a table each."""
    return "vxnet_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in node)


async def _open_tap(
    inheritance: Inheritance, path: str | None, name: str, for_vm: bool
) -> Tap | PacketLink:
    if path is not None and (left := inheritance.tap(path, name)) is not None:
        return left
    if for_vm:
        work = PacketLink.make if path is None else PacketLink.resume
        return await run_inside(None, partial(work, name))
    # Registering a device waits for a lock of the whole kernel, so it is not done on the loop.
    return await run_inside(path, partial(Tap.open, name, persistent=True))


def _report(error: VxnetError) -> None:
    _log.warning("not taken up", {"reason": error})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
