"""Endpoints of Docker's: when vxnet begins to look after their devices, and many at once."""

import asyncio
from dataclasses import replace

from tests.docker.parts import Plugin, docker_id
from tests.helpers.hosts import ImaginedHost
from vxnet.cnm.model import device_name
from vxnet.control.memory import MemoryCluster
from vxnet.docker.endpoints import endpoint_id

POOL = ("10.9.0.0/24", "10.9.0.1/24")


async def test_a_device_is_looked_after_once_whoever_moves_it_is_done() -> None:
    plugin = await Plugin(await ImaginedHost(MemoryCluster()).start()).start()
    network = await plugin.create_network("blue", POOL, options={"network": "blue"})
    await plugin.run("web", network, "10.9.0.5/24")
    wanted = endpoint_id(docker_id("web"))
    host, endpoints = plugin.host.host, plugin.host.endpoints
    assert await endpoints.settle(wanted) is None  # it is still here
    [path] = [path for path in host.sandboxes if path.endswith("/web") and "docker" in path]
    moved = replace(host.prepared[device_name(wanted)], name="eth0")
    host.down.add("eth0")
    host.sandboxes[path]["eth0"] = moved
    assert await endpoints.settle(wanted) is None  # dockerd gives it its addresses
    host.down.clear()
    settled = await endpoints.settle(wanted)
    assert settled is not None
    assert settled.ifname == "eth0"
    await plugin.host.stop()


async def test_containers_that_come_at_once_share_one_gateway_and_the_last_takes_it_along() -> None:
    plugin = await Plugin(await ImaginedHost(MemoryCluster()).start()).start()
    network = await plugin.create_network("blue", POOL, options={"network": "blue"})
    names = [f"c{number}" for number in range(20)]
    joined = await asyncio.gather(
        *(plugin.run(name, network, f"10.9.0.{10 + n}/24") for n, name in enumerate(names))
    )
    assert {answer["Gateway"] for answer in joined} == {"10.9.0.1"}
    assert len(plugin.gateways.networks()) == 1
    assert plugin.forward.open
    await asyncio.gather(*(plugin.stop(name, network) for name in names))
    assert plugin.endpoint_ids() == set()
    assert plugin.gateways.networks() == []
    assert plugin.firewall.chains is None
    assert not plugin.forward.open
    await plugin.host.stop()
