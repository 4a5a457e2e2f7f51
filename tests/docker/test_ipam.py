"""Addresses for Docker: those of the network, of no other host, and given back."""

from typing import Any

import pytest

from tests.docker.parts import Plugin
from tests.helpers.hosts import ImaginedHost
from vxnet.control.memory import MemoryCluster
from vxnet.networks import NetworkRequest

POOL = "10.9.0.0/24"


async def pool_of(plugin: Plugin, **request: Any) -> dict[str, Any]:
    return await plugin.call("IpamDriver.RequestPool", AddressSpace="vxnet", **request)


async def network_with(plugin: Plugin, name: str, **request: Any) -> str:
    """A network with a pool of ours, made in the order that dockerd makes one; returns the pool."""
    pool = await pool_of(plugin, **request)
    gateway = pool["Data"].get("com.docker.network.gateway")
    if gateway is None:
        asked = {"RequestAddressType": "com.docker.network.gateway"}
        answer = await plugin.call(
            "IpamDriver.RequestAddress", PoolID=pool["PoolID"], Options=asked
        )
        gateway = answer["Address"]
    await plugin.create_network(name, (pool["Pool"], gateway), options={"network": name})
    return str(pool["PoolID"])


async def address_of(plugin: Plugin, pool: str, **request: Any) -> str:
    answer = await plugin.call("IpamDriver.RequestAddress", PoolID=pool, **request)
    return str(answer["Address"])


@pytest.fixture
async def plugin() -> Plugin:
    return Plugin(await ImaginedHost(MemoryCluster()).start())


async def test_a_pool_without_a_subnet_takes_that_of_the_network(plugin: Plugin) -> None:
    made = await plugin.host.networks.create(NetworkRequest("blue"))
    first, second = [await pool_of(plugin) for _ in range(2)]
    assert first["Pool"] == second["Pool"] == "0.0.0.0/0"
    gateways = [pool["Data"]["com.docker.network.gateway"] for pool in (first, second)]
    assert gateways[0] != gateways[1]
    # The gateway tells dockerd's networks apart, in whichever order they are made.
    await plugin.create_network("red", ("0.0.0.0/0", gateways[1]), options={"network": "red"})
    await plugin.create_network("blue", ("0.0.0.0/0", gateways[0]), options={"network": "blue"})
    address = await address_of(plugin, first["PoolID"])
    prefix = made.subnets[0].prefix
    assert address.endswith(f"/{prefix.prefixlen}")
    assert address.startswith(str(prefix.network_address + 1))


async def test_ranges_reserved_and_wanted_addresses_are_kept_to(plugin: Plugin) -> None:
    pool = (await pool_of(plugin, Pool=POOL, SubPool="10.9.0.64/30"))["PoolID"]
    asked = {"RequestAddressType": "com.docker.network.gateway"}
    assert await address_of(plugin, pool, Options=asked) == "10.9.0.1/24"
    assert await address_of(plugin, pool, Address="10.9.0.65") == "10.9.0.65/24"  # --aux-address
    await plugin.call(
        "NetworkDriver.CreateNetwork",
        NetworkID="f" * 64,
        Options={"com.docker.network.generic": {"network": "blue"}},
        IPv4Data=[
            {"Pool": POOL, "Gateway": "10.9.0.1/24", "AuxAddresses": {"router": "10.9.0.65/24"}}
        ],
    )
    given = {await address_of(plugin, pool) for _ in range(3)}
    assert given == {"10.9.0.64/24", "10.9.0.66/24", "10.9.0.67/24"}
    said = await plugin.refusal("IpamDriver.RequestAddress", PoolID=pool)
    assert said == "no address of 10.9.0.64/30 is free in network blue"
    assert await address_of(plugin, pool, Address="10.9.0.9") == "10.9.0.9/24"
    said = await plugin.refusal("IpamDriver.RequestAddress", PoolID=pool, Address="10.9.0.9")
    assert "10.9.0.9 of network blue cannot be had: it is held by" in said
    await plugin.call("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.9.0.9")
    assert await address_of(plugin, pool, Address="10.9.0.9") == "10.9.0.9/24"


async def test_the_same_asker_gets_the_same_address(plugin: Plugin) -> None:
    pool = await network_with(plugin, "blue", Pool=POOL)
    mac = {"com.docker.network.endpoint.macaddress": "02:42:00:00:00:01"}
    first = await address_of(plugin, pool, Options=mac)
    assert await address_of(plugin, pool, Options=mac) == first
    assert await address_of(plugin, pool) != first


async def test_no_two_hosts_give_one_address(plugin: Plugin) -> None:
    cluster = MemoryCluster()
    hosts = [await ImaginedHost(cluster, name).start() for name in ("a", "b")]
    plugins = [Plugin(host) for host in hosts]
    pools = []
    for each in plugins:
        pools.append(await network_with(each, "blue", Pool=POOL))
        for host in hosts:
            await host.settle()
    given = [
        await address_of(each, pool)
        for _ in range(40)
        for each, pool in zip(plugins, pools, strict=True)
    ]
    assert len(set(given)) == len(given) == 80
    for host in hosts:
        await host.stop()


async def test_dockerd_is_not_led_in_circles(plugin: Plugin) -> None:
    """It asks again, and again, for a pool that overlaps a route of the host."""
    await plugin.host.networks.create(NetworkRequest("blue"))
    named = {"Options": {"network": "blue"}}
    await pool_of(plugin, **named)
    said = await plugin.refusal("IpamDriver.RequestPool", **named)
    assert "overlaps a route of this host" in said
    plugin.host.now_ms += 20_000  # that dockerd is long gone
    await pool_of(plugin, **named)


async def test_what_nobody_came_for_is_given_back(plugin: Plugin) -> None:
    pool = await network_with(plugin, "blue", Pool=POOL)
    await address_of(plugin, pool)
    assert await plugin.ipam.release_unclaimed(plugin.host.now_ms) == 0
    assert await plugin.ipam.release_unclaimed(plugin.host.now_ms + 1) == 1
    assert await plugin.ipam.release_unclaimed(plugin.host.now_ms + 1) == 0


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"Pool": "10.9.0.0"}, None),
        ({"Pool": POOL, "SubPool": "10.8.0.0/25"}, "the range 10.8.0.0/25 is outside the subnet"),
        ({"SubPool": "10.8.0.0/25"}, "outside the subnet 0.0.0.0/0"),
        ({"Options": {"network": "-"}}, "a name is 1 to 64 letters"),
        ({"Options": {"network": "red"}, "Pool": "10.1.0.0/24"}, "leave out --subnet"),
    ],
)
async def test_what_no_pool_can_be_is_refused(
    plugin: Plugin, request_: dict[str, Any], says: str | None
) -> None:
    await plugin.host.networks.create(NetworkRequest("red"))
    if says is None:
        assert (await pool_of(plugin, **request_))["Pool"] == "10.9.0.0/32"
    else:
        assert says in await plugin.refusal("IpamDriver.RequestPool", **request_)
