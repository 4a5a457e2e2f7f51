"""Services: made on any host, the same on all, and balanced by what their members' rows say."""

import ipaddress
from array import array

import pytest

from tests.helpers.hosts import NETNS, ImaginedHost
from vxnet.cnm.model import Subnet
from vxnet.cnm.services import PortRow, ServiceCatalogue, ServiceRow, read_service, write_service
from vxnet.control.memory import MemoryCluster
from vxnet.datapath.base import Service
from vxnet.endpoints import EndpointRequest
from vxnet.errors import StateError, WireError
from vxnet.names.rows import Serving
from vxnet.networks import NetworkRequest
from vxnet.services import ServiceRequest
from vxnet.switch.maglev import SLOTS

SUBNETS = (Subnet(ipaddress.ip_network("10.9.0.0/24")),)
SHOP = ServiceRequest("shop", "blue", ports=(PortRow(80, 8080),))


async def hosts_with_blue(count: int) -> list[ImaginedHost]:
    cluster = MemoryCluster()
    hosts = [await ImaginedHost(cluster, f"h{number}").start() for number in range(count)]
    await hosts[0].networks.create(NetworkRequest("blue", subnets=SUBNETS))
    for host in hosts:
        await host.settle()
    return hosts


async def member(host: ImaginedHost, name: str, ifname: str = "eth0") -> None:
    await host.endpoints.attach(
        EndpointRequest("blue", name=name, services=("shop",)), NETNS, ifname
    )


def programmed(host: ImaginedHost) -> Service:
    vni = host.networks.get("blue").vni
    assert vni is not None
    (service,) = host.datapath.services[vni]
    return service


async def test_every_host_with_the_network_balances_alike() -> None:
    one, other, stranger = await hosts_with_blue(3)
    await member(one, "m0")
    await member(other, "m1")
    made = await one.services.create(SHOP)
    for host in (one, other, stranger):
        await host.services.tend()
        assert host.services.get("shop") == made
    assert programmed(one) == programmed(other)
    assert len(programmed(one).members) == 2
    assert len(array("H", programmed(one).slots)) == SLOTS
    assert not stranger.datapath.services
    await member(stranger, "m2")
    await stranger.services.tend()
    await one.services.tend()
    assert programmed(stranger) == programmed(one)


async def test_a_member_that_goes_is_gone_at_once_and_one_that_drains_stays() -> None:
    one, other = await hosts_with_blue(2)
    await one.services.create(SHOP)
    await other.services.tend()
    await member(one, "m0")
    await member(other, "m1")
    other.health.drain("m1", "shop", wanted=True)
    assert sorted(m.takes_new for m in programmed(one).members) == [False, True]
    await other.endpoints.remove("m1")
    assert [m.takes_new for m in programmed(one).members] == [True]
    with pytest.raises(StateError, match="no member of service other"):
        one.health.drain("m0", "other", wanted=True)


async def test_members_that_are_asked_how_they_are_get_nothing_before_they_answered() -> None:
    (host,) = await hosts_with_blue(1)
    await host.services.create(
        ServiceRequest("shop", "blue", ports=(PortRow(80, 8080),), health="tcp")
    )
    await member(host, "m0")
    (named,) = host.services.members(host.services.get("shop"))
    assert named.row.serving("shop") is Serving.STARTING
    assert [m.takes_new for m in programmed(host).members] == [False]
    await host.health.check()  # there is nothing behind an imagined door
    (named,) = host.services.members(host.services.get("shop"))
    assert named.row.serving("shop") is Serving.FAILING


async def test_a_service_survives_the_host_that_made_it_and_is_removed_everywhere() -> None:
    one, other = await hosts_with_blue(2)
    await one.services.create(SHOP)
    await other.services.tend()
    await one.stop()
    await other.services.tend()
    other.now_ms += 20_000
    await other.services.tend()
    assert other.services.catalogue.owns("shop")
    assert (await other.services.remove("shop")).name == "shop"
    assert list(other.services) == []
    with pytest.raises(StateError, match="there is no service shop"):
        other.services.get("shop")


async def test_its_address_is_nobody_elses_and_free_again_when_it_is_gone() -> None:
    (host,) = await hosts_with_blue(1)
    vip = ipaddress.ip_address("10.9.0.77")
    await host.services.create(ServiceRequest("shop", "blue", (vip,), (PortRow(80, 80),)))
    with pytest.raises(StateError, match="held by service shop"):
        await host.endpoints.create(EndpointRequest("blue", addresses=(vip,)))
    await host.services.remove("shop")
    assert all(lease.in_grace for lease in host.addresses.leases())


async def test_its_address_stays_its_own_when_what_its_maker_owned_is_reclaimed() -> None:
    one, other = await hosts_with_blue(2)
    made = await one.services.create(SHOP)
    await other.services.tend()
    await one.control.close()
    await other.services.tend()
    await other.addresses.reclaim(f"{one.control.node:016x}")
    other.now_ms += 20_000
    await other.services.tend()
    assert other.services.catalogue.owns("shop")
    vip = ipaddress.ip_address(made.vips[0])
    with pytest.raises(StateError, match="held by service shop"):
        await other.endpoints.create(EndpointRequest("blue", addresses=(vip,)))
    await other.services.remove("shop")
    assert all(lease.in_grace for lease in other.addresses.leases())


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (ServiceRequest("shop", "red", ports=(PortRow(80, 80),)), "there is no network red"),
        (ServiceRequest("no spaces", "blue", ports=(PortRow(80, 80),)), "a name is 1 to 64"),
        (ServiceRequest("shop", "blue"), "has no port; give it one"),
        (
            ServiceRequest("shop", "blue", ports=(PortRow(80, 80), PortRow(80, 81))),
            "port 80/tcp is given twice",
        ),
        (
            ServiceRequest("shop", "blue", ports=(PortRow(80, 80),), health="ping"),
            "'ping' is no health check; write none, tcp or http:/path",
        ),
    ],
)
async def test_what_does_not_fit_is_refused(wanted: ServiceRequest, sentence: str) -> None:
    (host,) = await hosts_with_blue(1)
    with pytest.raises(StateError, match=sentence):
        await host.services.create(wanted)
    assert list(host.services) == []


async def test_what_was_saved_is_there_after_a_restart() -> None:
    (host,) = await hosts_with_blue(1)
    made = await host.services.create(SHOP)
    await host.crash()
    again = await ImaginedHost(
        MemoryCluster(), store=host.store, control=host.control, host=host.host
    ).start()
    assert again.services.get("shop") == made


def row(name: str = "shop", **more: object) -> ServiceRow:
    return ServiceRow(name, 1, False, 5, b"n" * 16, (b"\x0a\x09\0\1",), (PortRow(80, 80),), **more)  # type: ignore[arg-type]


def test_concurrent_creations_resolve_alike_whatever_comes_first() -> None:
    rows = [row(created_ms=number) for number in (3, 1, 2)]
    for order in (rows, rows[::-1]):
        catalogue = ServiceCatalogue()
        for owner, one in enumerate(order):
            catalogue.hear(write_service(one), owner)
        winner = catalogue.get("shop")
        assert winner is not None
        assert winner.created_ms == 1


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",
        write_service(row("")),
        write_service(row(health="ping")),
        write_service(row(publish_mode="none")),
        write_service(ServiceRow("shop", 1, False, 5, b"short")),
        write_service(ServiceRow("shop", 1, False, 5, b"n" * 16, (b"five5",))),
        write_service(ServiceRow("shop", 1, False, 5, b"n" * 16, (), (PortRow(0, 1),))),
    ],
)
def test_what_no_vxnet_publishes_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        read_service(body)
