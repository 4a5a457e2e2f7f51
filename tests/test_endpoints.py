"""Endpoints: both steps or none, and the same after a restart."""

import ipaddress

import pytest

from tests.helpers.hosts import NETNS, ImaginedHost
from vxnet.cnm.lifecycle import AFTER_CRASH, Recovery
from vxnet.cnm.model import EndpointState, Sandbox, SandboxKind, Subnet
from vxnet.control.memory import MemoryCluster
from vxnet.endpoints import EndpointRequest
from vxnet.errors import HostError, StateError
from vxnet.networks import NetworkRequest
from vxnet.wire.addr import parse_ip, parse_mac

WEB = EndpointRequest("blue", name="web")
SUBNETS = (
    Subnet(ipaddress.ip_network("10.9.0.0/24"), ipaddress.ip_address("10.9.0.1")),
    Subnet(ipaddress.ip_network("fd09::/64")),
)


async def host_with_blue(cluster: MemoryCluster | None = None, name: str = "a") -> ImaginedHost:
    host = await ImaginedHost(cluster or MemoryCluster(), name).start()
    await host.settle()
    if not list(host.networks):
        await host.networks.create(NetworkRequest("blue", subnets=SUBNETS))
    return host


def request(**settings: object) -> EndpointRequest:
    return EndpointRequest("blue", **settings)  # type: ignore[arg-type]


def nothing_is_left(host: ImaginedHost) -> bool:
    return (
        not list(host.endpoints)
        and not host.datapath.ports
        and not host.datapath.segments
        and all(link.closed for link in host.links)
        and host.host.sandboxes[NETNS.path] == {}
        and host.control.entries() == []
        and all(lease.in_grace for lease in host.addresses.leases())
        and host.store.tables.get("endpoint", {}) == {}
    )


async def test_attaching_places_a_device_with_its_mac_addresses_and_mtu() -> None:
    host = await host_with_blue()
    endpoint = await host.endpoints.attach(WEB, NETNS)
    interface = host.host.sandboxes[NETNS.path]["eth0"]
    assert interface.mac == endpoint.mac
    assert interface.addresses == endpoint.addresses
    assert interface.mtu == 1450
    assert [str(gateway) for gateway in interface.gateways] == ["10.9.0.1"]
    assert interface.gso_max_bytes == 62_000


async def test_attaching_tells_every_host_at_once() -> None:
    cluster = MemoryCluster()
    one = await host_with_blue(cluster)
    other = await host_with_blue(cluster, "b")
    await other.endpoints.attach(request(name="db"), NETNS)
    endpoint = await one.endpoints.attach(WEB, NETNS)
    vni = one.networks.get("blue").vni
    assert vni is not None
    entry = other.datapath.entries[vni, endpoint.mac]
    assert entry.vtep == one.control.vtep
    assert set(entry.ips) == set(endpoint.ips)
    assert [peer.vtep for peer in other.datapath.peers[vni].peers] == [one.control.vtep]


async def test_detaching_leaves_nothing_behind() -> None:
    host = await host_with_blue()
    await host.endpoints.attach(WEB, NETNS)
    await host.endpoints.remove("web")
    assert nothing_is_left(host)


async def test_a_mac_follows_from_network_and_endpoint() -> None:
    host = await host_with_blue()
    endpoint = await host.endpoints.attach(WEB, NETNS)
    assert endpoint.mac[0] & 0b11 == 0b10
    other = await host.endpoints.attach(request(name="db"), NETNS, "eth1")
    assert other.mac != endpoint.mac


async def test_requested_addresses_and_mac_are_given() -> None:
    host = await host_with_blue()
    wanted = request(
        name="web",
        addresses=(ipaddress.ip_address("10.9.0.7"), ipaddress.ip_address("fd09::7")),
        mac=parse_mac("02:00:00:00:00:07"),
    )
    endpoint = await host.endpoints.attach(wanted, NETNS)
    assert list(map(str, endpoint.addresses)) == ["10.9.0.7/24", "fd09::7/64"]
    assert endpoint.ips == (parse_ip("10.9.0.7"), parse_ip("fd09::7"))
    assert endpoint.mac == parse_mac("02:00:00:00:00:07")


async def test_an_address_of_another_host_is_refused_and_named() -> None:
    cluster = MemoryCluster()
    one = await host_with_blue(cluster, "host-a")
    other = await host_with_blue(cluster, "host-b")
    wanted = request(name="web", addresses=(ipaddress.ip_address("10.9.0.7"),))
    await one.endpoints.attach(wanted, NETNS)
    with pytest.raises(StateError, match=r"10\.9\.0\.7 .*: it is held by web of host-a"):
        await other.endpoints.attach(wanted, NETNS)
    assert other.store.tables.get("endpoint", {}) == {}


async def test_chosen_addresses_never_meet() -> None:
    cluster = MemoryCluster()
    hosts = [await host_with_blue(cluster, f"host-{n}") for n in range(3)]
    seen: set[object] = set()
    for number in range(84):  # the 252 that 10.9.0.0/24 has beside its gateway and its resolver
        for host in hosts:
            endpoint = await host.endpoints.create(request(name=f"e{number}"))
            assert not seen & set(endpoint.addresses)
            seen |= set(endpoint.addresses)
    with pytest.raises(StateError, match=r"no address of 10\.9\.0\.0/24 is free in network blue"):
        await hosts[1].endpoints.create(request(name="one-too-many"))
    await hosts[2].endpoints.remove("e0")
    await hosts[1].endpoints.create(request(name="now-it-fits"))


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (EndpointRequest("red"), "there is no network red"),
        (request(name="web"), "already has an endpoint web"),
        (request(name="no spaces"), "a name is 1 to 64"),
        (request(addresses=(ipaddress.ip_address("10.8.0.1"),)), r"outside .* 10\.9\.0\.0/24"),
        (request(addresses=(ipaddress.ip_address("10.9.0.1"),)), "is the gateway"),
        (request(addresses=(ipaddress.ip_address("10.9.0.0"),)), "names the subnet"),
        (request(addresses=(ipaddress.ip_address("10.9.0.255"),)), "names the subnet"),
        (request(mac=parse_mac("01:00:5e:00:00:01")), "cannot be a station's MAC"),
        (request(mac=parse_mac("00:00:00:00:00:00")), "cannot be a station's MAC"),
        (request(mac=parse_mac("02:00:00:00:00:01")), "is taken by endpoint web"),
    ],
)
async def test_a_wrong_request_is_refused_in_a_sentence(
    wanted: EndpointRequest, sentence: str
) -> None:
    host = await host_with_blue()
    first = request(name="web", mac=parse_mac("02:00:00:00:00:01"))
    await host.endpoints.attach(first, NETNS)
    with pytest.raises(StateError, match=sentence):
        await host.endpoints.attach(wanted, NETNS, "eth1")
    assert [endpoint.name for endpoint in host.endpoints] == ["web"]
    assert list(host.host.sandboxes[NETNS.path]) == ["eth0"]


@pytest.mark.parametrize("ifname", ["", "a" * 16, "a b", "a/b", "..", "eth0:1"])
async def test_an_impossible_interface_name_is_refused(ifname: str) -> None:
    host = await host_with_blue()
    with pytest.raises(StateError, match="cannot be an interface's name"):
        await host.endpoints.attach(WEB, NETNS, ifname)
    assert nothing_is_left(host)


async def test_a_missing_sandbox_is_refused_before_anything_is_made() -> None:
    host = await host_with_blue()
    with pytest.raises(StateError, match="there is no network namespace /run/netns/gone"):
        await host.endpoints.attach(WEB, Sandbox(SandboxKind.NETNS, "gone"))
    assert host.links == []
    assert nothing_is_left(host)


async def test_a_device_that_cannot_be_placed_undoes_the_whole_attach() -> None:
    host = await host_with_blue()
    await host.endpoints.attach(WEB, NETNS)
    with pytest.raises(StateError, match="already has an interface eth0"):
        await host.endpoints.attach(request(name="db"), NETNS)
    assert [endpoint.name for endpoint in host.endpoints] == ["web"]
    await host.endpoints.remove("web")
    assert nothing_is_left(host)


async def test_a_device_that_cannot_be_made_undoes_the_whole_attach() -> None:
    host = await host_with_blue()
    host.link_refusal = HostError("there is no /dev/net/tun")
    with pytest.raises(HostError, match="/dev/net/tun"):
        await host.endpoints.attach(WEB, NETNS)
    assert nothing_is_left(host)


async def test_what_cannot_be_saved_undoes_the_whole_attach() -> None:
    host = await host_with_blue()
    host.store.refusal = HostError("the disk is full")
    with pytest.raises(HostError, match="the disk is full"):
        await host.endpoints.attach(WEB, NETNS)
    assert nothing_is_left(host)


async def test_an_endpoint_leaves_one_sandbox_and_joins_another() -> None:
    host = await host_with_blue()
    other = Sandbox(SandboxKind.PID, "17")
    host.host.sandboxes[other.path] = {}
    before = await host.endpoints.attach(WEB, NETNS)
    with pytest.raises(StateError, match="is in netns web; leave it first"):
        await host.endpoints.join("web", other)
    left = await host.endpoints.leave("web")
    assert left.state is EndpointState.CREATED
    assert host.control.entries() == []
    assert host.host.sandboxes[NETNS.path] == {}
    after = await host.endpoints.join("web", other, "net1")
    assert host.host.sandboxes[other.path]["net1"].mac == before.mac == after.mac
    assert after.addresses == before.addresses


async def test_joining_and_leaving_again_change_nothing() -> None:
    host = await host_with_blue()
    await host.endpoints.create(WEB)
    once = await host.endpoints.join("web", NETNS)
    assert await host.endpoints.join("web", NETNS) == once
    left = await host.endpoints.leave("web")
    assert await host.endpoints.leave("web") == left


async def test_endpoints_outlive_a_restart_with_mac_and_addresses() -> None:
    cluster = MemoryCluster()
    host = await host_with_blue(cluster)
    before = await host.endpoints.attach(WEB, NETNS)
    await host.stop()
    again = ImaginedHost(cluster, store=host.store, control=host.control)
    await again.start()
    (after,) = again.endpoints
    assert after == before
    assert again.host.sandboxes[NETNS.path]["eth0"].mac == before.mac
    assert [entry.mac for entry in again.control.entries()] == [before.mac]
    assert again.reports == []


async def test_what_a_crash_left_half_made_is_gone_after_the_next_start() -> None:
    cluster = MemoryCluster()
    host = await host_with_blue(cluster)
    await host.endpoints.create(WEB)
    ((key, value),) = await host.store.rows("endpoint")
    await host.store.put("endpoint", key, value.replace(b'"created"', b'"creating"'))
    again = await ImaginedHost(cluster, store=host.store).start()
    assert list(again.endpoints) == []
    assert await again.store.rows("endpoint") == []


async def test_stopping_takes_all_devices_along_and_keeps_what_is_saved() -> None:
    host = await host_with_blue()
    await host.endpoints.attach(WEB, NETNS)
    await host.endpoints.attach(request(name="db"), NETNS, "eth1")
    await host.stop()
    assert host.host.sandboxes[NETNS.path] == {}
    assert host.datapath.segments == {}
    assert [name for name, _ in await host.store.rows("endpoint")] != []


async def test_after_a_crash_the_devices_in_sandboxes_go_on_working() -> None:
    cluster = MemoryCluster()
    host = await host_with_blue(cluster)
    before = await host.endpoints.attach(WEB, NETNS)
    device = host.host.sandboxes[NETNS.path]["eth0"]
    await host.crash()
    again = ImaginedHost(cluster, store=host.store, host=host.host)
    await again.start()
    assert again.host.sandboxes[NETNS.path]["eth0"] is device
    assert [entry.mac for entry in again.control.entries()] == [before.mac]
    await again.endpoints.remove("web")
    assert nothing_is_left(again)


@pytest.mark.parametrize("state", list(EndpointState))
async def test_after_a_crash_in_any_state_the_endpoint_is_whole_or_gone(
    state: EndpointState,
) -> None:
    cluster = MemoryCluster()
    host = await host_with_blue(cluster)
    endpoint = await host.endpoints.attach(WEB, NETNS)
    await host.registry.keep(endpoint, state)
    await host.crash()
    again = ImaginedHost(cluster, store=host.store, host=host.host)
    await again.start()
    assert again.reports == []
    inside = again.host.sandboxes[NETNS.path]
    match AFTER_CRASH[state]:
        case Recovery.ADOPT:
            assert list(inside) == ["eth0"]
        case Recovery.DISCARD:
            assert nothing_is_left(again)
        case Recovery.UNJOIN:
            assert inside == {}
            (left,) = again.endpoints
            assert (left.state, left.sandbox) == (EndpointState.CREATED, None)
        case Recovery.KEEP:
            (left,) = again.endpoints
            assert left.state is EndpointState.CREATED


async def test_an_endpoint_waits_for_its_sandbox_to_come_back() -> None:
    cluster = MemoryCluster()
    host = await host_with_blue(cluster)
    await host.endpoints.attach(WEB, NETNS)
    await host.stop()
    again = ImaginedHost(cluster, store=host.store, control=host.control)
    del again.host.sandboxes[NETNS.path]
    await again.start()
    assert again.reports == ["endpoint web waits for its sandbox, netns web, to come back"]
    assert again.endpoints.is_absent(again.endpoints.get("web"))
    await again.recoverer.tend(again.report)
    again.host.sandboxes[NETNS.path] = {}
    await again.recoverer.tend(again.report)
    assert list(again.host.sandboxes[NETNS.path]) == ["eth0"]
    assert not again.endpoints.is_absent(again.endpoints.get("web"))


async def test_a_damaged_record_is_said_and_not_skipped() -> None:
    cluster = MemoryCluster()
    host = await host_with_blue(cluster)
    await host.store.put("endpoint", "x", b"{}")
    with pytest.raises(HostError, match="what was saved of endpoint x is damaged"):
        await ImaginedHost(cluster, store=host.store).start()


async def test_an_endpoint_is_found_by_name_and_by_how_its_id_begins() -> None:
    host = await host_with_blue()
    endpoint = await host.endpoints.create(WEB)
    assert host.endpoints.get("web") == host.endpoints.get(endpoint.id[:6]) == endpoint
    with pytest.raises(StateError, match="has no endpoint nope"):
        host.endpoints.get("nope")
