"""Hosts made of memory parts: everything above the datapath and the control plane, for real."""

import asyncio
import ipaddress
from collections.abc import Callable
from functools import partial
from random import Random

from vxnet.addresses import Addresses
from vxnet.cnm.model import EndpointId, IpInterface, Sandbox, SandboxKind
from vxnet.control.memory import MemoryCluster, MemoryControl
from vxnet.convergence import Convergence
from vxnet.datapath.memory import MemoryDatapath
from vxnet.door import Door
from vxnet.drivers.chooser import DriverChooser
from vxnet.drivers.host import HostDriver
from vxnet.drivers.none import NoneDriver
from vxnet.drivers.overlay import OverlayDriver
from vxnet.endpoints import Endpoints
from vxnet.errors import HostError, VxnetError
from vxnet.forwarding import Forwarding
from vxnet.guard import Guard
from vxnet.health import HealthChecks
from vxnet.host.memory import MemoryHost, MemoryStore, MemoryWatch
from vxnet.host.upstream import Upstream
from vxnet.ingress import Ingress
from vxnet.nameservice import NameService
from vxnet.network_table import NetworkTable
from vxnet.networks import Networks
from vxnet.plumbing import Plumbing
from vxnet.pools import Pools
from vxnet.recovery import Recoverer
from vxnet.registry import Registry
from vxnet.resolvers import Resolvers
from vxnet.sandboxes import Sandboxes
from vxnet.services import Services
from vxnet.surroundings import Surroundings
from vxnet.waysback import WaysBack
from vxnet.waysout import WaysOut
from vxnet.wire.addr import Ip, Mac, Vtep

__all__ = ["NETNS", "ImaginedHost", "ImaginedLink", "vtep_of"]

NETNS = Sandbox(SandboxKind.NETNS, "web")


def vtep_of(number: int) -> Vtep:
    """192.0.2.`number`, port 4789."""
    return Vtep(Ip(ipaddress.ip_address(f"192.0.2.{number}").packed), 4789)


class ImaginedLink:
    """A link that carries nothing; it knows whether it is closed."""

    fds = ()

    def __init__(self, name: str, host: MemoryHost) -> None:
        self.name = self.device = name
        self.closed = False
        self.persistent = True
        self._host = host

    def part(self, *, keep_device: bool) -> Callable[[], None]:
        self.persistent = keep_device
        return lambda: None

    def close(self) -> None:
        self.closed = True
        if not self.persistent:
            self._host.vanish(self.device)


class ImaginedHost:
    """One host: the verbs over fakes. A second one with the same store is the first, restarted."""

    link_refusal: HostError | None = None

    def __init__(
        self,
        cluster: MemoryCluster,
        name: str = "a",
        *,
        store: MemoryStore | None = None,
        control: MemoryControl | None = None,
        host: MemoryHost | None = None,
        seed: int = 0,
    ) -> None:
        number = len(cluster.planes) + 1
        self.control = control or cluster.join(name, vtep_of(number))
        self.control.forget_listeners()
        self.datapath = MemoryDatapath()
        self.host = host or MemoryHost()
        self.host.sandboxes.setdefault(NETNS.path, {})
        self.store = store or MemoryStore()
        self.links: list[ImaginedLink] = []
        self.now_ms = 1_000_000
        self.forwarding = Forwarding(self.datapath, self.control)
        self.registry = Registry(self.store)
        self.names = NameService(self.control, self.registry)
        self.resolvers = Resolvers(
            self.names,
            self.registry,
            self.forwarding,
            lambda network: self.table.by_id(network),
            lambda network, name: self.services.find(network, name),
            self._open_door,
            partial(Upstream, [("192.0.2.53", 53)]),
            self.report,
        )
        self.overlay = OverlayDriver(
            self.forwarding,
            self._open_link,
            mtu_max=1450,
            gso_max_bytes=62_000,
            companion=self.resolvers,
        )
        drivers = DriverChooser([self.overlay, NoneDriver(), HostDriver(self.host)])
        self.table = NetworkTable(self.control, self.store, drivers)
        self.pools = Pools(self.control, self.store, self.table.by_id, self.clock)
        self.addresses = Addresses(self.pools, self.control, self.clock)
        self.convergence = Convergence(
            self.table,
            self.control,
            self.addresses,
            now_ms=self.clock,
            random=Random(f"{number} {seed}"),
        )
        self.surroundings = Surroundings(self.control, self.host)
        self.networks = Networks(
            self.table,
            self.control,
            self.forwarding,
            self.addresses,
            self.surroundings,
            now_ms=self.clock,
        )
        self.services = Services(
            self.control,
            self.store,
            self.networks,
            self.addresses,
            self.names,
            self.forwarding,
            now_ms=self.clock,
            random=Random(f"{number} {seed}"),
        )
        self.services.watchers.append(self.resolvers.renew)
        self.resolvers.arrivals.append(self.services.arrived)
        self.health = HealthChecks(self.names, self.registry, self.services, self.resolvers)
        self.ingress = Ingress(
            self.services,
            self.networks,
            self.addresses,
            self.overlay,
            self.host,
            lambda: self.control.members()[0].id,
            Random(f"{number} {seed}"),
        )
        self.ways_out = WaysOut(self.names, self.registry, self.services, self.host)
        self.ways_back = WaysBack(
            self.services, self.networks, self.registry, self.forwarding, self.control
        )
        self.resolvers.arrivals.append(self.ways_back.arrived)
        self.watch = MemoryWatch()
        plumbing = Plumbing(self.networks, self.registry, self.host, self.watch)
        self.recoverer = Recoverer(self.table, self.addresses, self.registry, plumbing)
        self.endpoints = Endpoints(
            self.table,
            self.networks,
            self.addresses,
            self.registry,
            plumbing,
            self.host,
            now_ms=self.clock,
            random=Random(f"{number} {seed}"),
        )
        self.guard = Guard(self.table, self.registry, plumbing, self.recoverer, self.host)
        self.sandboxes = Sandboxes(self.table, self.registry, self.host, self.store)
        self.reports: list[str] = []

    async def start(self) -> "ImaginedHost":
        """As the daemon does: hear the cluster, then take up what was saved."""
        await self.control.start()
        self.names.follow_members()
        await self.pools.load()
        await self.networks.load()
        await self.services.load()
        await self.sandboxes.load()
        self._answering = asyncio.create_task(self.pools.run(self.report))
        await self.recoverer.load(self.report)
        return self

    async def stop(self) -> None:
        self._answering.cancel()
        await self.overlay.close(keep_devices=False)
        await self.control.close()

    async def crash(self) -> None:
        """End without a goodbye; devices stay where they are."""
        self._answering.cancel()
        await self.overlay.close(keep_devices=True)
        await self.control.close()

    def report(self, error: VxnetError) -> None:
        """Remember what was reported."""
        self.reports.append(str(error))

    async def settle(self, seconds: int = 0) -> None:
        """Follow what was heard, after some time went by."""
        self.now_ms += seconds * 1000
        await self.convergence.tend()

    def port_of(self, endpoint: str) -> int:
        port = self.overlay.port_of(EndpointId(endpoint))
        assert port is not None
        return port

    def clock(self) -> int:
        return self.now_ms

    async def _open_door(
        self, addresses: tuple[IpInterface, ...], mac: Mac, mtu: int, port: int
    ) -> Door:
        link = ImaginedLink("dns0", self.host)
        self.links.append(link)
        return Door(link, (), ())

    async def _open_link(self, path: str | None, name: str, for_vm: bool) -> ImaginedLink:
        refusal, self.link_refusal = self.link_refusal, None
        if refusal is not None:
            raise refusal
        link = ImaginedLink(name, self.host)
        if path is not None:
            link.device = self.host.device_at(path, name)
        self.links.append(link)
        return link
