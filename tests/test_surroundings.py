"""Networks lie beside each other, and beside what any host of the cluster is in already."""

import ipaddress

import pytest

from tests.helpers.hosts import ImaginedHost
from vxnet.cnm.model import Subnet
from vxnet.control.memory import MemoryCluster
from vxnet.errors import StateError
from vxnet.gossip.events import RecordKind
from vxnet.networks import NetworkRequest


def subnets(*texts: str) -> tuple[Subnet, ...]:
    return tuple(Subnet(ipaddress.ip_network(text)) for text in texts)


async def pair(*prefixes: str) -> tuple[ImaginedHost, ImaginedHost]:
    """Two hosts; the second one has these prefixes, and told so."""
    cluster = MemoryCluster()
    one = await ImaginedHost(cluster, "a").start()
    two = await ImaginedHost(cluster, "b").start()
    two.host.known_prefixes = [ipaddress.ip_network(text) for text in prefixes]
    await two.surroundings.tend(two.report)
    return one, two


async def test_a_chosen_subnet_overlaps_nothing_that_any_host_has() -> None:
    one, _ = await pair()
    chosen = (await one.networks.create(NetworkRequest("blue"))).subnets
    taken = [str(subnet.prefix) for subnet in chosen]
    other, _ = await pair(*taken)
    elsewhere = (await other.networks.create(NetworkRequest("blue"))).subnets
    assert not {str(subnet.prefix) for subnet in elsewhere} & set(taken)


async def test_a_subnet_that_overlaps_is_refused_with_what_it_overlaps() -> None:
    one, _ = await pair("10.7.0.0/16")
    await one.networks.create(NetworkRequest("blue", subnets=subnets("10.9.0.0/24")))
    with pytest.raises(StateError, match=r"10\.9\.0\.0/25 overlaps 10\.9\.0\.0/24, which is netw"):
        await one.networks.create(NetworkRequest("red", subnets=subnets("10.9.0.0/25")))
    with pytest.raises(StateError, match=r"10\.7\.3\.0/24 overlaps 10\.7\.0\.0/16, which host b"):
        await one.networks.create(NetworkRequest("red", subnets=subnets("10.7.3.0/24")))
    wanted = NetworkRequest("red", subnets=subnets("10.9.0.0/25", "10.7.3.0/24"))
    with pytest.raises(StateError, match="--allow-overlap"):
        await one.networks.create(wanted)
    made = await one.networks.create(
        NetworkRequest("red", subnets=wanted.subnets, allow_overlap=True)
    )
    assert made.subnets == wanted.subnets


async def test_no_more_is_told_than_a_row_holds_and_only_news() -> None:
    prefixes = [f"10.{number}.{2 * part}.0/24" for number in range(20) for part in range(20)]
    _, two = await pair(*prefixes, "127.0.0.0/8", "fe80::/64", "172.16.0.0/12")
    (record,) = two.control.records(RecordKind.CLAIM)
    assert len(record.body) < 900
    await two.surroundings.tend(two.report)
    assert two.control.records(RecordKind.CLAIM) == [record]
    other = [prefix for _, prefix in two.surroundings.elsewhere()]
    assert other == []
    assert two.reports == []
