"""Resolvers come with a network and go with it, once, whatever else happens meanwhile."""

import asyncio
import ipaddress

from tests.helpers.hosts import NETNS, ImaginedHost
from vxnet.cnm.model import IpInterface, Subnet
from vxnet.control.memory import MemoryCluster
from vxnet.door import Door
from vxnet.endpoints import EndpointRequest
from vxnet.errors import HostError
from vxnet.networks import NetworkRequest
from vxnet.wire.addr import Mac

SUBNETS = (Subnet(ipaddress.ip_network("10.9.0.0/24")),)


class SlowHost(ImaginedHost):
    """Its doors open when `may_open` is set, or fail with `refused`."""

    def __init__(self, cluster: MemoryCluster) -> None:
        super().__init__(cluster)
        self.may_open = asyncio.Event()
        self.refused: HostError | None = None
        self.asked = 0
        self.was_asked = asyncio.Event()

    async def _open_door(
        self, addresses: tuple[IpInterface, ...], mac: Mac, mtu: int, port: int
    ) -> Door:
        self.asked += 1
        self.was_asked.set()
        await self.may_open.wait()
        refused, self.refused = self.refused, None
        if refused is not None:
            raise refused
        return await super()._open_door(addresses, mac, mtu, port)


async def started() -> tuple[SlowHost, asyncio.Task[object]]:
    host = SlowHost(MemoryCluster())
    await host.start()
    await host.networks.create(NetworkRequest("blue", subnets=SUBNETS))
    attaching = asyncio.create_task(host.endpoints.attach(EndpointRequest("blue"), NETNS))
    await host.was_asked.wait()
    return host, attaching


async def test_a_door_that_is_being_opened_is_not_opened_again() -> None:
    host, attaching = await started()
    await host.resolvers.tend()
    host.may_open.set()
    await attaching
    await host.resolvers.tend()
    assert host.asked == 1
    assert sorted(port.private for port, _ in host.datapath.ports.values()) == [False, True]


async def test_a_door_that_did_not_open_is_tried_again_and_costs_nobody_an_endpoint() -> None:
    host, attaching = await started()
    host.refused = HostError("there is no room for a namespace")
    host.may_open.set()
    await attaching
    assert host.reports == ["there is no room for a namespace"]
    assert [port.private for port, _ in host.datapath.ports.values()] == [False]
    await host.resolvers.tend()
    assert sorted(port.private for port, _ in host.datapath.ports.values()) == [False, True]
