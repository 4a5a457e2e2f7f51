"""Addresses between hosts: asked for, given, remembered, reclaimed, and never held twice."""

import ipaddress

import pytest

from tests.helpers.hosts import NETNS, ImaginedHost
from vxnet.cnm.ipam import GRACE_MS
from vxnet.cnm.model import EndpointState, Subnet
from vxnet.control.memory import MemoryCluster
from vxnet.endpoints import EndpointRequest
from vxnet.errors import StateError
from vxnet.gossip.events import RecordKind
from vxnet.networks import NetworkRequest
from vxnet.pools import number_of

PREFIX = ipaddress.ip_network("10.9.0.0/28")
BLUE = NetworkRequest("blue", subnets=(Subnet(PREFIX),))


async def hosts_with_blue(count: int) -> list[ImaginedHost]:
    """Hosts that know the network blue, which the first one made while all were there."""
    cluster = MemoryCluster()
    hosts = [await ImaginedHost(cluster, f"host-{n}").start() for n in range(count)]
    await hosts[0].networks.create(BLUE)
    for host in hosts:
        await host.settle()
    return hosts


async def address(host: ImaginedHost, name: str, wanted: str = "") -> str:
    """The address a new endpoint is given."""
    addresses = (ipaddress.ip_address(wanted),) if wanted else ()
    endpoint = await host.endpoints.create(EndpointRequest("blue", name, addresses))
    return str(endpoint.addresses[0].ip)


async def test_every_member_is_given_a_part_when_a_network_is_made() -> None:
    hosts = await hosts_with_blue(3)
    for host in hosts[1:]:
        await host.control.close()  # alone from here on
    assert len({await address(host, "web") for host in hosts}) == 3


async def test_a_host_without_a_part_asks_for_some() -> None:
    hosts = await hosts_with_blue(1)
    late = await ImaginedHost(hosts[0].control._cluster, "late").start()
    await late.settle()
    assert await address(late, "web") != await address(hosts[0], "web")


async def test_a_host_asks_for_the_very_address_it_wants() -> None:
    hosts = await hosts_with_blue(2)
    assert await address(hosts[1], "one", "10.9.0.2") == "10.9.0.2"
    assert await address(hosts[0], "two", "10.9.0.13") == "10.9.0.13"


async def test_an_address_that_was_given_back_is_given_to_who_asks_for_it() -> None:
    hosts = await hosts_with_blue(2)
    await address(hosts[0], "web", "10.9.0.2")
    await hosts[0].endpoints.remove("web")
    (lease,) = [lease for lease in hosts[1].addresses.leases() if str(lease.address) == "10.9.0.2"]
    assert lease.in_grace
    assert await address(hosts[1], "web", "10.9.0.2") == "10.9.0.2"


async def test_what_is_held_elsewhere_is_refused_with_its_holder() -> None:
    hosts = await hosts_with_blue(2)
    await address(hosts[0], "web", "10.9.0.2")
    with pytest.raises(StateError, match=r"10\.9\.0\.2 .*: it is held by web of host-0"):
        await address(hosts[1], "db", "10.9.0.2")


async def test_what_a_host_that_is_gone_owns_cannot_be_had_until_it_is_reclaimed() -> None:
    hosts = await hosts_with_blue(2)
    gone, other = hosts
    await gone.control.close()
    with pytest.raises(StateError, match=r"is down and owns some; .* vxnet ipam reclaim 0+1$"):
        await address(other, "web", "10.9.0.2")
    assert await other.addresses.reclaim(f"{gone.control.node:016x}") == 7
    assert await address(other, "web", "10.9.0.2") == "10.9.0.2"


async def test_only_a_host_that_is_gone_is_reclaimed() -> None:
    hosts = await hosts_with_blue(2)
    with pytest.raises(StateError, match="host-1 is alive; only what a dead host owned"):
        await hosts[0].addresses.reclaim("host-1")
    with pytest.raises(StateError, match="there is no host nope; the hosts known are host-0"):
        await hosts[0].addresses.reclaim("nope")


async def test_a_host_that_was_reclaimed_gives_up_its_endpoints_when_it_is_back() -> None:
    hosts = await hosts_with_blue(2)
    back, other = hosts
    wanted = EndpointRequest("blue", "web", (ipaddress.ip_address("10.9.0.2"),))
    await back.endpoints.attach(wanted, NETNS)
    await back.control.close()
    await other.addresses.reclaim(f"{back.control.node:016x}")
    await other.endpoints.attach(wanted, NETNS)
    await back.control.start()
    await back.pools.tend()
    await back.recoverer.tend(back.report)
    assert back.host.sandboxes[NETNS.path] == {}
    assert back.endpoints.get("web").state is EndpointState.CREATED
    assert "another one reclaimed its address (10.9.0.2)" in back.reports[0]
    with pytest.raises(StateError, match="belongs to another host by now"):
        await back.endpoints.join("web", NETNS)
    holders = {e.owner for e in other.control.entries() if e.ips}
    assert holders == {other.control.node}


async def test_what_a_host_owns_and_gave_away_outlives_a_restart() -> None:
    hosts = await hosts_with_blue(2)
    one, other = hosts
    before = {await address(other, f"e{n}") for n in range(9)}  # more than its own part
    kept = await address(one, "web")
    await one.stop()
    again = ImaginedHost(one.control._cluster, store=one.store, control=one.control)
    await again.start()
    after = {await address(again, f"e{n}") for n in range(4)}
    assert len(before | after | {kept}) == 14
    with pytest.raises(StateError, match="no address of"):
        await address(again, "one-too-many")


@pytest.mark.parametrize("how_far", ["removed", "half removed"])
async def test_an_address_in_grace_rests_over_a_crash_too(how_far: str) -> None:
    (one,) = await hosts_with_blue(1)
    given = await address(one, "web")
    if how_far == "removed":
        await one.endpoints.remove("web")
    else:
        await one.registry.keep(one.registry.get("web"), EndpointState.REMOVING)
    await one.crash()
    again = ImaginedHost(one.control._cluster, store=one.store, control=one.control)
    await again.start()
    assert {(str(a.address), a.holder, a.in_grace) for a in again.addresses.leases()} == {
        (given, "web", True)
    }
    assert await address(again, "db") != given
    again.now_ms += GRACE_MS
    assert await address(again, "web") == given


async def test_an_endpoint_that_could_not_be_made_gives_its_address_back() -> None:
    hosts = await hosts_with_blue(1)
    two_subnets = NetworkRequest(
        "both", subnets=(Subnet(ipaddress.ip_network("10.8.0.0/30")),
                         Subnet(ipaddress.ip_network("10.7.0.0/31"))),
    )  # fmt: skip
    await hosts[0].networks.create(two_subnets)
    for number in range(2):
        await hosts[0].endpoints.create(EndpointRequest("both", f"e{number}"))
    with pytest.raises(StateError, match="no address of"):
        await hosts[0].endpoints.create(EndpointRequest("both", "e2"))
    assert sum(not lease.in_grace for lease in hosts[0].addresses.leases()) == 4


async def test_a_removed_network_takes_its_addresses_along_everywhere() -> None:
    hosts = await hosts_with_blue(2)
    await address(hosts[1], "web")
    await hosts[1].endpoints.remove("web")
    await hosts[0].networks.remove("blue")
    for host in hosts:
        await host.settle()
        assert host.store.tables.get("range", {}) == {}
    assert hosts[0].control.records(RecordKind.CLAIM) == []


async def test_a_local_networks_addresses_are_nobody_elses_business() -> None:
    hosts = await hosts_with_blue(2)
    await hosts[0].networks.create(NetworkRequest("alone", driver="none"))
    assert hosts[0].networks.get("alone").subnets == ()
    assert [n.name for n in hosts[1].networks] == ["blue"]


async def test_a_subnet_that_is_used_up_names_who_has_it() -> None:
    hosts = await hosts_with_blue(2)

    async def use_up() -> None:
        for number in range(20):
            await address(hosts[number % 2], f"e{number:02}")

    with pytest.raises(StateError) as caught:
        await use_up()
    sentence = str(caught.value)
    assert "no address of 10.9.0.0/28 is free in network blue: " in sentence
    assert "it is held by e00 of host-0, e01 of host-1, e02 of host-0" in sentence
    assert " more; remove an endpoint, or make a larger network" in sentence


async def test_garbage_among_the_claims_is_counted_and_left_alone() -> None:
    hosts = await hosts_with_blue(2)
    network = bytes.fromhex(hosts[0].networks.get("blue").id)
    for key, body in (
        (b"", b""),
        (b"R" + network, b"\x90"),
        (b"R" + network + b"\0" * 4, b"\xc1"),
        (b"Z" + network + b"\0" * 4, b"\x90"),
        (b"R" + network + b"\0" * 4, b"\x95\x01\x02\xa1x\x01\x01"),
        (b"Q" + network + b"\0" * 8, b"\x94\x02\x01\xa3ten\xff"),
    ):
        hosts[0].control.publish(RecordKind.CLAIM, key, body)
    await hosts[1].pools.tend()
    assert hosts[1].pools.bad_rows == 6
    assert await address(hosts[1], "web")


def test_numbers_count_from_the_subnet() -> None:
    assert number_of(PREFIX, ipaddress.ip_address("10.9.0.7")) == 7
