"""An imagined host whose API is served on a real Unix socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from tests.helpers.hosts import ImaginedHost
from vxnet.api.client import Client
from vxnet.api.routes import Routes
from vxnet.api.server import ApiServer
from vxnet.api.service_routes import ServiceRoutes
from vxnet.api.views import Identity, Views
from vxnet.control.gossip import GossipControl
from vxnet.control.history import History
from vxnet.control.memory import MemoryCluster
from vxnet.control.rotation import Rotation
from vxnet.foreign import ForeignPeers

__all__ = ["ServedHost", "serve"]

T = TypeVar("T")


class ServedHost(ImaginedHost):
    """Its API answers at `socket`; `ask` calls the client without blocking the server's loop."""

    def __init__(self, cluster: MemoryCluster, socket: Path, name: str = "a") -> None:
        super().__init__(cluster, name)
        self.socket = socket
        self.alarms: list[str] = []
        self.history = History(lambda: 1_700_000_000_000)
        self.control.subscribe(self.history.hear)
        identity = Identity(
            name=name,
            cluster="lab",
            vtep=self.control.vtep,
            underlay_device="under0",
            underlay_mtu=1500,
            datapath_reason="it is imagined",
            gossip_encrypted=False,
            started=0.0,
        )
        self.views = Views(
            identity,
            self.control,
            self.datapath,
            self.forwarding,
            self.networks,
            self.endpoints,
            self.sandboxes,
            self.addresses,
            port_of=self.overlay.port_of,
            alarms=lambda: self.alarms,
            control_counters=lambda: {"refutations": 3},
            own_counters=lambda: {"devices_restored": self.guard.restored},
            clock=lambda: 75.0,
            now_ms=self.clock,
            path_mtus=dict,
            past=self.history,
            resolvers=self.resolvers,
            services=self.services,
        )
        gossip = GossipControl(name=name, vtep=self.control.vtep, state_file=socket)
        rotation = Rotation(gossip, None)
        foreign = ForeignPeers(self.networks, self.forwarding, self.store, self.control.vtep)
        parts = self.networks, self.endpoints, self.sandboxes, self.addresses, rotation, foreign
        services = ServiceRoutes(self.views, self.services, self.health, self.ingress)
        routes = (*Routes(self.views, *parts).all(), *services.all())
        self.server = ApiServer(socket, routes)

    async def ask(self, question: Callable[[Client], T]) -> T:
        return await asyncio.to_thread(lambda: question(Client(str(self.socket), 20.0)))


@asynccontextmanager
async def serve(socket: Path, cluster: MemoryCluster | None = None) -> AsyncIterator[ServedHost]:
    host = ServedHost(cluster or MemoryCluster(), socket)
    await host.start()
    await host.server.start()
    try:
        yield host
    finally:
        await host.server.close()
        await host.stop()
