"""Who may answer clients outside, and by whom: told by rows, and the same to every datapath."""

import ipaddress

import msgspec
import pytest

from tests.helpers.hosts import NETNS, ImaginedHost
from vxnet.cnm.model import Subnet
from vxnet.cnm.services import PortRow
from vxnet.control.memory import MemoryCluster
from vxnet.datapath.base import SetRelays
from vxnet.endpoints import EndpointRequest
from vxnet.errors import HostError, WireError
from vxnet.names.rows import NameRow, read_row, write_row
from vxnet.networks import NetworkRequest
from vxnet.services import ServiceRequest
from vxnet.stations import gateway_station, relay_station
from vxnet.wire.addr import Ip

GATEWAY = ipaddress.ip_address("10.9.0.1")
PREFIX = ipaddress.ip_network("10.9.0.0/24")
SHOP = ServiceRequest(
    "shop", "blue", ports=(PortRow(80, 8080), PortRow(53, 53, "udp")), publish=((8081, 80, "tcp"),)
)


async def hosts_with_shop(
    count: int,
    *,
    gateway: ipaddress.IPv4Address | None = GATEWAY,
    cluster: MemoryCluster | None = None,
) -> list[ImaginedHost]:
    """The first has a member."""
    cluster = cluster or MemoryCluster()
    hosts = [await ImaginedHost(cluster, f"h{number}").start() for number in range(count)]
    await hosts[0].networks.create(NetworkRequest("blue", subnets=(Subnet(PREFIX, gateway),)))
    for host in hosts:
        await host.settle()
    request = EndpointRequest("blue", name="m0", services=("shop",))
    await hosts[0].endpoints.attach(request, NETNS)
    await hosts[0].services.create(SHOP)
    for host in hosts:
        await host.services.tend()
        await host.ways_out.tend(host.report)
    return hosts


def told(host: ImaginedHost) -> SetRelays | None:
    vni = host.networks.get("blue").vni
    assert vni is not None
    return host.datapath.relays.get(vni)


def ways_out(host: ImaginedHost) -> list[tuple[int, ...]]:
    return [member.row.ways_out for member in host.services.members(host.services.get("shop"))]


async def test_a_members_host_knows_every_hosts_relay_and_no_other_is_told() -> None:
    cluster = MemoryCluster()
    one, other = await hosts_with_shop(2, cluster=cluster)
    network, (member,) = one.networks.get("blue"), tuple(one.endpoints)
    owners = {host.control.members()[0].id for host in (one, other)}
    assert network.vni is not None
    assert told(one) == SetRelays(
        network.vni,
        frozenset(relay_station(network, owner).mac for owner in owners),
        frozenset({(member.mac, 6, 8080)}),  # the other port is not published
        gateway_station(network, ()).mac,
        (Ip(GATEWAY.packed),),
    )
    assert told(other) is None
    third = await ImaginedHost(cluster, "late").start()
    await one.ways_back.tend()
    late = relay_station(network, third.control.members()[0].id).mac
    change = told(one)
    assert change is not None
    assert late in change.relays


async def test_what_is_not_published_any_more_is_taken_back() -> None:
    (one,) = await hosts_with_shop(1)
    await one.services.remove("shop")
    change = told(one)
    assert change is not None
    assert change == SetRelays(change.vni)


async def test_every_host_hears_which_members_have_a_way_out() -> None:
    one, other = await hosts_with_shop(2)
    assert ways_out(one) == ways_out(other) == [(4,)]
    assert other.ingress.seen_by(other.services.members(other.services.get("shop"))[0]) == "clients"
    await one.endpoints.leave("m0")
    await one.ways_out.tend(one.report)
    await one.endpoints.join("m0", NETNS)
    one.host.refusal = HostError("the sandbox cannot be looked into")
    await one.ways_out.tend(one.report)
    assert ways_out(other) == [()]
    assert not one.reports  # it may just have gone


async def test_without_a_gateway_there_is_none() -> None:
    one, other = await hosts_with_shop(2, gateway=None)
    assert ways_out(other) == [()]
    (member,) = other.services.members(other.services.get("shop"))
    assert other.ingress.seen_by(member) == "the host: it has no way out by this network"
    change = told(one)
    assert change is not None
    assert change.gateway_ips == ()


def test_rows_of_older_and_newer_hosts_are_read() -> None:
    row = NameRow(bytes(16), "web", bytes(6), (bytes([10, 9, 0, 5]),), ways_out=(4, 6))
    values = msgspec.msgpack.decode(write_row(row))
    assert read_row(msgspec.msgpack.encode(values)) == row
    assert read_row(msgspec.msgpack.encode(values[:-1])).ways_out == ()
    assert read_row(msgspec.msgpack.encode([*values, "more"])) == row
    with pytest.raises(WireError, match="wrong sizes"):
        read_row(msgspec.msgpack.encode([*values[:-1], list(range(99))]))
