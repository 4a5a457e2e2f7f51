"""Networks: known on every host, and resolved the same way on all."""

import ipaddress
import itertools

import pytest

from tests.helpers.hosts import NETNS, ImaginedHost
from vxnet.cnm.model import Subnet
from vxnet.control.memory import MemoryCluster
from vxnet.endpoints import EndpointRequest
from vxnet.errors import HostError, StateError
from vxnet.gossip.events import RecordKind
from vxnet.networks import NetworkRequest

BLUE = NetworkRequest("blue")


def subnet(text: str) -> Subnet:
    return Subnet(ipaddress.ip_network(text))


async def cluster_of(count: int) -> list[ImaginedHost]:
    cluster = MemoryCluster()
    return [await ImaginedHost(cluster, f"host-{n}").start() for n in range(count)]


async def test_a_network_created_on_one_host_is_known_on_all() -> None:
    hosts = await cluster_of(3)
    made = await hosts[0].networks.create(BLUE)
    for host in hosts:
        await host.settle()
        assert list(host.networks) == [made]
        assert host.networks.get("blue").vni == made.vni


async def test_what_is_not_said_is_chosen() -> None:
    (host,) = await cluster_of(1)
    made = await host.networks.create(BLUE)
    assert made.mtu == 1450
    assert made.vni is not None
    assert [s.prefix.version for s in made.subnets] == [4, 6]


async def test_the_chosen_subnets_keep_clear_of_routes_and_of_other_networks() -> None:
    (host,) = await cluster_of(1)
    first = await host.networks.create(BLUE)
    await host.networks.remove("blue")
    host.host.known_prefixes = [s.prefix for s in first.subnets]
    second = await host.networks.create(BLUE)
    third = await host.networks.create(NetworkRequest("green"))
    prefixes = [s.prefix for n in (first, second, third) for s in n.subnets]
    for one, other in itertools.combinations(prefixes, 2):
        assert one.version != other.version or not one.overlaps(other)


async def test_a_removed_network_is_gone_on_every_host() -> None:
    hosts = await cluster_of(3)
    await hosts[0].networks.create(BLUE)
    for host in hosts:
        await host.settle()
    await hosts[2].networks.remove("blue")
    for host in hosts:
        await host.settle()
        assert list(host.networks) == []


async def test_a_network_made_anew_is_another_one() -> None:
    (host,) = await cluster_of(1)
    before = await host.networks.create(BLUE)
    await host.networks.remove("blue")
    after = await host.networks.create(BLUE)
    assert before.id != after.id


async def test_a_network_in_use_on_this_host_is_not_removed() -> None:
    (host,) = await cluster_of(1)
    await host.networks.create(BLUE)
    await host.endpoints.attach(EndpointRequest("blue", name="web"), NETNS)
    with pytest.raises(StateError, match="used by endpoint web of this host"):
        await host.networks.remove("blue")


async def test_a_network_in_use_elsewhere_is_not_removed() -> None:
    one, other = await cluster_of(2)
    await one.networks.create(BLUE)
    await other.settle()
    await other.endpoints.attach(EndpointRequest("blue"), NETNS)
    with pytest.raises(StateError, match=r"used by endpoint [0-9a-f]{12} of host-1"):
        await one.networks.remove("blue")


async def test_two_hosts_that_create_one_name_at_once_agree_on_one_network() -> None:
    cluster = MemoryCluster()
    hosts = [ImaginedHost(cluster, f"host-{n}") for n in range(3)]
    # Apart: each creates before it hears of the others.
    for number, host in enumerate(hosts):
        host.now_ms += number
        await host.networks.create(
            NetworkRequest("blue", vni=100 + number, subnets=(subnet(f"10.{number}.0.0/24"),))
        )
    for host in hosts:
        await host.start()
    for _ in range(3):
        for host in hosts:
            await host.settle()
    first = hosts[0].networks.get("blue")
    assert first.vni == 100
    assert all(host.networks.get("blue") == first for host in hosts)


async def test_two_networks_that_chose_one_vni_at_once_end_with_two() -> None:
    cluster = MemoryCluster()
    hosts = [ImaginedHost(cluster, f"host-{n}") for n in range(2)]
    await hosts[0].networks.create(NetworkRequest("blue", vni=100))
    hosts[1].now_ms += 5
    await hosts[1].networks.create(NetworkRequest("green", vni=100))
    for host in hosts:
        await host.start()
    for _ in range(3):
        for host in hosts:
            await host.settle()
    for host in hosts:
        assert host.networks.get("blue").vni == 100
        assert host.networks.get("green").vni != 100
    assert hosts[0].networks.get("green") == hosts[1].networks.get("green")


async def test_a_network_outlives_the_host_that_made_it() -> None:
    one, other = await cluster_of(2)
    made = await one.networks.create(BLUE)
    await other.settle()
    await one.stop()
    await other.settle(seconds=20)
    await other.settle(seconds=20)
    assert other.networks.get("blue") == made
    assert [r.key for r in other.control.records(RecordKind.NETWORK)] == [b"blue"]


async def test_networks_outlive_a_restart() -> None:
    cluster = MemoryCluster()
    host = await ImaginedHost(cluster).start()
    made = await host.networks.create(BLUE)
    await host.stop()
    again = await ImaginedHost(cluster, store=host.store, control=host.control).start()
    assert list(again.networks) == [made]


async def test_a_removal_elsewhere_does_not_cut_off_endpoints_here() -> None:
    cluster = MemoryCluster()
    one = await ImaginedHost(cluster, "one").start()
    other = await ImaginedHost(cluster, "other").start()
    made = await one.networks.create(BLUE)
    await other.settle()
    # A partition: `other` attaches while `one` removes.
    await one.control.close()
    await other.endpoints.attach(EndpointRequest("blue", name="web"), NETNS)
    await one.networks.remove("blue")
    await one.control.start()
    for _ in range(3):
        await other.settle()
        await one.settle()
    assert [n.name for n in one.networks] == ["blue"]
    assert one.networks.get("blue") == other.networks.get("blue")
    assert one.networks.get("blue").vni == made.vni
    assert [e.name for e in other.endpoints] == ["web"]


async def test_what_fails_to_be_saved_is_not_made() -> None:
    one, other = await cluster_of(2)
    one.store.refusal = HostError("the disk is full")
    with pytest.raises(HostError, match="the disk is full"):
        await one.networks.create(BLUE)
    await other.settle()
    assert list(one.networks) == list(other.networks) == []
    assert (await one.networks.create(BLUE)).name == "blue"


async def test_what_fails_to_be_removed_stays() -> None:
    (host,) = await cluster_of(1)
    made = await host.networks.create(BLUE)
    host.store.refusal = HostError("the disk is full")
    with pytest.raises(HostError):
        await host.networks.remove("blue")
    assert list(host.networks) == [made]
    assert len(host.control.records(RecordKind.NETWORK)) == 1


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (NetworkRequest("blue"), "there is already a network blue"),
        (NetworkRequest("-x"), "a name is 1 to 64 letters"),
        (NetworkRequest("x" * 65), "a name is 1 to 64 letters"),
        (
            NetworkRequest("x", driver="nope"),
            "there is no driver nope: this host has host, none, overlay, and no plugin",
        ),
        (NetworkRequest("x", vni=7), "VNI 7 belongs to network blue"),
        (NetworkRequest("x", vni=2**24), "VNI 16777216 is out of range"),
        (NetworkRequest("x", mtu=1500), "the underlay leaves 1450"),
        (NetworkRequest("x", mtu=100), "576 is the least"),
        (
            NetworkRequest("x", subnets=(subnet("10.0.0.0/8"), subnet("10.9.0.0/24"))),
            "the subnets 10.0.0.0/8 and 10.9.0.0/24 overlap",
        ),
        (NetworkRequest("x", options={"fast": "1", "far": "2"}), "no option far, fast; it has"),
        (NetworkRequest("x", options={"vlan": "maybe"}), "vlan=maybe: it is drop or transparent"),
        (NetworkRequest("x", options={"learning": "7"}), "learning=7: it is true or false"),
        (NetworkRequest("x", options={"vlan": "drop", "learning": "x" * 2000}), "true or false"),
    ],
)
async def test_a_wrong_request_is_refused_in_a_sentence(
    request_: NetworkRequest, sentence: str
) -> None:
    (host,) = await cluster_of(1)
    await host.networks.create(NetworkRequest("blue", vni=7))
    with pytest.raises(StateError, match=sentence):
        await host.networks.create(request_)
    assert [network.name for network in host.networks] == ["blue"]


async def test_an_unknown_name_is_answered_with_the_closest() -> None:
    (host,) = await cluster_of(1)
    await host.networks.create(BLUE)
    with pytest.raises(StateError, match="did you mean blue"):
        host.networks.get("bleu")


async def test_garbage_in_the_catalogue_is_counted_and_left_alone() -> None:
    one, other = await cluster_of(2)
    one.control.publish(RecordKind.NETWORK, b"blue", b"\xc1 garbage")
    await other.settle()
    assert other.convergence.bad_records == 1
    assert list(other.networks) == []
