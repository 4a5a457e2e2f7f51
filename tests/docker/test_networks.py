"""Which network of vxnet one of Docker's is: by word, by name, by what is there."""

import asyncio

import pytest

from tests.docker.parts import ImaginedEngine, Plugin, docker_id
from tests.helpers.hosts import ImaginedHost
from vxnet.control.memory import MemoryCluster
from vxnet.host.base import Bridge
from vxnet.networks import NetworkRequest

POOL = ("10.9.0.0/24", "10.9.0.1/24")


@pytest.fixture
async def cluster() -> MemoryCluster:
    return MemoryCluster()


async def test_a_network_is_called_like_dockers_once_that_is_known(cluster: MemoryCluster) -> None:
    engine = ImaginedEngine()
    plugin = Plugin(await ImaginedHost(cluster).start(), engine=engine)
    network = await plugin.create_network("blue", POOL)
    assert list(plugin.host.networks) == []
    engine.named[network] = "blue"
    naming = asyncio.create_task(plugin.steward.run(plugin.host.report))
    joined = await plugin.run("web", network, "10.9.0.5/24")
    naming.cancel()
    [made] = plugin.host.networks
    assert (made.name, made.options) == ("blue", {"made_by": "docker"})
    assert joined["Gateway"] == "10.9.0.1"
    await plugin.host.stop()


async def test_a_word_names_it_at_once_and_what_does_not_fit_is_refused(
    cluster: MemoryCluster,
) -> None:
    plugin = Plugin(await ImaginedHost(cluster).start(), engine=ImaginedEngine())
    named = {"network": "blue", "vni": "77", "mtu": "1400"}
    network = await plugin.create_network("one", POOL, options=named)
    [made] = plugin.host.networks
    assert (made.name, made.vni, made.mtu) == ("blue", 77, 1400)
    for options, pool, says in (
        ({"network": "blue", "vni": "78"}, POOL, "exists with VNI 77, not 78; leave out -o vni"),
        ({"network": "blue", "mtu": "1300"}, POOL, "exists with MTU 1400, not 1300"),
        ({"network": "blue"}, ("10.1.0.0/24", ""), "has 10.9.0.0/24, and Docker's has 10.1.0.0/24"),
        ({"network": "no name"}, POOL, "a name is 1 to 64 letters"),
        ({"vnii": "7"}, POOL, "did you mean -o vni=7?"),
        ({"vni": "many"}, POOL, "-o vni=many: it is a number"),
    ):
        said = await plugin.refusal(
            "NetworkDriver.CreateNetwork",
            NetworkID=docker_id("two"),
            Options={"com.docker.network.generic": options},
            IPv4Data=[{"Pool": pool[0], "Gateway": pool[1]}],
        )
        assert says in said
    assert set(plugin.ledger.networks) == {network}
    await plugin.host.stop()


async def test_a_network_that_does_not_fit_its_name_says_so_when_it_is_used(
    cluster: MemoryCluster,
) -> None:
    engine = ImaginedEngine()
    plugin = Plugin(await ImaginedHost(cluster).start(), engine=engine)
    await plugin.create_network("one", POOL, options={"network": "blue"})
    network = await plugin.create_network("two", ("172.18.0.0/16", "172.18.0.1/16"))
    engine.named[network] = "blue"
    naming = asyncio.create_task(plugin.steward.run(plugin.host.report))
    said = await plugin.refusal(
        "NetworkDriver.CreateEndpoint",
        NetworkID=network,
        EndpointID=docker_id("web"),
        Interface={"Address": "172.18.0.2/16"},
    )
    naming.cancel()
    assert "network blue has 10.9.0.0/24, and Docker's has 172.18.0.0/16" in said
    assert said.endswith("--ipam-driver vxnet, which takes the subnet that there is")
    await plugin.host.stop()


async def test_two_hosts_have_one_network_which_goes_with_the_last(cluster: MemoryCluster) -> None:
    hosts = [await ImaginedHost(cluster, name).start() for name in ("a", "b")]
    one, two = (Plugin(host) for host in hosts)
    blue = {"network": "blue"}
    first = await one.create_network("one", POOL, options=blue)
    await hosts[1].settle()
    second = await two.create_network("two", POOL, options=blue)
    [shared] = {network.id for host in hosts for network in host.networks}
    await two.run("db", second, "10.9.0.200/24")
    await one.call("NetworkDriver.DeleteNetwork", NetworkID=first)
    assert [network.id for network in hosts[0].networks] == [shared]
    await two.stop("db", second)
    await two.call("NetworkDriver.DeleteNetwork", NetworkID=second)
    await hosts[0].settle()
    assert [network for host in hosts for network in host.networks] == []
    for host in hosts:
        await host.stop()


async def test_a_network_of_the_command_line_is_left_to_it(cluster: MemoryCluster) -> None:
    plugin = Plugin(await ImaginedHost(cluster).start())
    await plugin.host.networks.create(NetworkRequest("blue"))
    [made] = plugin.host.networks
    subnet = str(made.subnets[0].prefix)
    network = await plugin.create_network("one", (subnet, ""), options={"network": "blue"})
    await plugin.call("NetworkDriver.DeleteNetwork", NetworkID=network)
    assert [n.name for n in plugin.host.networks] == ["blue"]
    await plugin.host.stop()


async def test_addresses_ports_and_gateway_outlive_a_restart(cluster: MemoryCluster) -> None:
    before = await ImaginedHost(cluster).start()
    plugin = Plugin(before)
    network = await plugin.create_network("one", POOL, options={"network": "blue"})
    await plugin.run("web", network, "10.9.0.5/24")
    bindings = [{"Proto": 6, "Port": 80, "HostPort": 0}, {"Proto": 17, "Port": 53, "HostIP": "::"}]
    await plugin.call(
        "NetworkDriver.ProgramExternalConnectivity",
        NetworkID=network,
        EndpointID=docker_id("web"),
        Options={"com.docker.network.portmap": bindings},
    )
    [endpoint] = before.endpoints
    assert [(p.port, p.protocol) for p in endpoint.published] == [(80, "tcp"), (53, "udp")]
    chosen = endpoint.published[0].host_port
    assert f"tcp dport {chosen} dnat ip to 10.9.0.5:80" in (plugin.firewall.chains or "")
    assert plugin.forward.open
    await before.crash()
    again = await ImaginedHost(
        cluster, store=before.store, control=before.control, host=before.host
    ).start()
    plugin = Plugin(again)
    left = Bridge("vxg0123456789a", 1450)  # of a network whose containers went while it was dead
    await plugin.links.add(left)
    await plugin.start()
    assert plugin.links.made == {}
    assert [e.published for e in again.endpoints] == [endpoint.published]
    assert f"tcp dport {chosen} dnat ip to 10.9.0.5:80" in (plugin.firewall.chains or "")
    await plugin.stop("web", network)
    assert plugin.firewall.chains is None
    assert list(again.endpoints) == []
    await again.stop()
