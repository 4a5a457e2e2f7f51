"""Hosts made of memory parts: everything above the datapath and the control plane, for real."""

import ipaddress
from random import Random

from vxnet.addresses import Addresses
from vxnet.cnm.model import EndpointId, Sandbox, SandboxKind
from vxnet.control.memory import MemoryCluster, MemoryControl
from vxnet.datapath.memory import MemoryDatapath
from vxnet.drivers.overlay import OverlayDriver
from vxnet.endpoints import Endpoints
from vxnet.errors import HostError
from vxnet.forwarding import Forwarding
from vxnet.host.memory import MemoryHost, MemoryStore
from vxnet.link.base import Link
from vxnet.networks import Networks
from vxnet.wire.addr import Ip, Vtep

__all__ = ["NETNS", "ImaginedHost", "ImaginedLink", "vtep_of"]

NETNS = Sandbox(SandboxKind.NETNS, "web")


def vtep_of(number: int) -> Vtep:
    """192.0.2.`number`, port 4789."""
    return Vtep(Ip(ipaddress.ip_address(f"192.0.2.{number}").packed), 4789)


class ImaginedLink:
    """A link that carries nothing; it knows whether it is closed."""

    fds = ()

    def __init__(self, name: str, host: MemoryHost) -> None:
        self.name = name
        self.closed = False
        self._host = host

    def close(self) -> None:
        self.closed = True
        self._host.vanish(self.name)


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
    ) -> None:
        number = len(cluster.planes) + 1
        self.control = control or cluster.join(name, vtep_of(number))
        self.datapath = MemoryDatapath()
        self.host = MemoryHost()
        self.host.sandboxes[NETNS.path] = {}
        self.store = store or MemoryStore()
        self.links: list[ImaginedLink] = []
        self.now_ms = 1_000_000
        self.forwarding = Forwarding(self.datapath, self.control)
        self.overlay = OverlayDriver(self.forwarding, self._open_link, 62_000)
        self.networks = Networks(
            self.control,
            self.forwarding,
            {"overlay": self.overlay},
            self.host,
            self.store,
            mtu_max=1450,
            now_ms=self._now,
            random=Random(number),
        )
        self.addresses = Addresses(self.control)
        self.endpoints = Endpoints(
            self.networks,
            self.addresses,
            self.host,
            self.store,
            now_ms=self._now,
            random=Random(number),
        )
        self.reports: list[str] = []

    async def start(self) -> "ImaginedHost":
        """As the daemon does: hear the cluster, then take up what was saved."""
        await self.control.start()
        await self.networks.load()
        await self.endpoints.load(lambda error: self.reports.append(str(error)))
        return self

    async def stop(self) -> None:
        await self.endpoints.close()
        await self.control.close()

    async def settle(self, seconds: int = 0) -> None:
        """Follow what was heard, after some time went by."""
        self.now_ms += seconds * 1000
        await self.networks.tend()

    def port_of(self, endpoint: str) -> int:
        port = self.overlay.port_of(EndpointId(endpoint))
        assert port is not None
        return port

    def _now(self) -> int:
        return self.now_ms

    async def _open_link(self, name: str) -> Link:
        refusal, self.link_refusal = self.link_refusal, None
        if refusal is not None:
            raise refusal
        link = ImaginedLink(name, self.host)
        self.links.append(link)
        return link
