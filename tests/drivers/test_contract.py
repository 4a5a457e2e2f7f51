"""What every driver owes: verbs that can be repeated, and nothing left behind."""

import ipaddress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.helpers.hosts import ImaginedLink, vtep_of
from vxnet.cnm.driver import NetworkDriver
from vxnet.cnm.model import (
    Endpoint,
    EndpointId,
    Network,
    NetworkId,
    PublishedPort,
    Sandbox,
    SandboxKind,
    Subnet,
    derive_mac,
)
from vxnet.control.memory import MemoryCluster
from vxnet.datapath.memory import MemoryDatapath
from vxnet.drivers.bridge import BridgeDriver
from vxnet.drivers.host import HostDriver
from vxnet.drivers.ipvlan import IpvlanDriver
from vxnet.drivers.macvlan import MacvlanDriver
from vxnet.drivers.none import NoneDriver
from vxnet.drivers.overlay import OverlayDriver
from vxnet.drivers.remote import RemoteDriver
from vxnet.errors import HostError, StateError
from vxnet.forwarding import Forwarding
from vxnet.host.memory import (
    OWN,
    MemoryFirewall,
    MemoryForwardPass,
    MemoryHost,
    MemoryLinks,
)
from vxnet.wire.addr import Vni

DRIVERS = ["overlay", "bridge", "macvlan", "ipvlan", "host", "none", "remote"]


class FakePlugin:
    """A plugin that remembers; `error` is what it answers next."""

    def __init__(self) -> None:
        self.networks: set[str] = set()
        self.endpoints: set[str] = set()
        self.error = ""

    async def call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        error, self.error = self.error, ""
        if error:
            return {"Err": error}
        match method:
            case "Plugin.Activate":
                return {"Implements": ["NetworkDriver"]}
            case "NetworkDriver.CreateNetwork":
                self.networks.add(body["NetworkID"])
            case "NetworkDriver.DeleteNetwork":
                self.networks.discard(body["NetworkID"])
            case "NetworkDriver.CreateEndpoint":
                self.endpoints.add(body["EndpointID"])
            case "NetworkDriver.DeleteEndpoint":
                self.endpoints.discard(body["EndpointID"])
            case "NetworkDriver.Join":
                return {"InterfaceName": {"SrcName": "pl0"}, "Gateway": "10.9.0.1"}
        return {}


@dataclass
class Bench:
    """The surroundings of a driver."""

    links: MemoryLinks = field(default_factory=lambda: MemoryLinks("eth0"))
    firewall: MemoryFirewall = field(default_factory=MemoryFirewall)
    forward: MemoryForwardPass = field(default_factory=MemoryForwardPass)
    host: MemoryHost = field(default_factory=MemoryHost)
    plugin: FakePlugin = field(default_factory=FakePlugin)
    datapath: MemoryDatapath = field(default_factory=MemoryDatapath)

    def __post_init__(self) -> None:
        self.control = MemoryCluster().join("a", vtep_of(1))
        self.forwarding = Forwarding(self.datapath, self.control)
        self.host.sandboxes = {OWN: {}, "/run/netns/web": {}}

    def driver(self, name: str) -> NetworkDriver:
        makers = {
            "overlay": lambda: OverlayDriver(
                self.forwarding, self.open, mtu_max=1450, gso_max_bytes=62_000
            ),
            "bridge": lambda: BridgeDriver(self.links, self.firewall, self.forward),
            "macvlan": lambda: MacvlanDriver(self.links),
            "ipvlan": lambda: IpvlanDriver(self.links),
            "host": lambda: HostDriver(self.host),
            "none": NoneDriver,
            "remote": lambda: RemoteDriver("theirs", self.plugin, self.host),
        }
        made: NetworkDriver = makers[name]()
        return made

    async def open(self, path: str | None, name: str, for_vm: bool) -> ImaginedLink:
        return ImaginedLink(name, self.host)

    def is_clean(self) -> bool:
        """Whether nothing of networks or endpoints is left."""
        return (
            not self.links.made
            and self.firewall.chains is None
            and not self.forward.open
            and not self.datapath.ports
            and not self.datapath.segments
            and not self.control.entries()
            and not self.plugin.networks
            and not self.plugin.endpoints
        )


def network_for(driver: NetworkDriver, **options: str) -> Network:
    if driver.name in ("macvlan", "ipvlan"):
        options = {"parent": "eth0", **options}
    return Network(
        NetworkId("0123456789abcdef0123456789abcdef"),
        "blue",
        driver.name,
        mtu=0,
        vni=Vni(7) if driver.uses_vni else None,
        subnets=(Subnet(ipaddress.ip_network("10.9.0.0/24")),),
        options=options,
    )


def endpoint_of(network: Network, number: int = 1, **more: Any) -> Endpoint:
    own = network.driver == "host"
    endpoint_id = EndpointId(f"{number:x}" * 32)
    return Endpoint(
        endpoint_id,
        f"e{number}",
        network.id,
        derive_mac(network.id, endpoint_id),
        (ipaddress.ip_interface(f"10.9.0.{number + 1}/24"),),
        sandbox=Sandbox(SandboxKind.PATH, OWN) if own else Sandbox(SandboxKind.NETNS, "web"),
        ifname="eth0",
        **more,
    )


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture(params=DRIVERS)
async def driver(request: pytest.FixtureRequest, bench: Bench) -> NetworkDriver:
    await bench.control.start()
    return bench.driver(request.param)


async def test_a_network_and_its_endpoints_leave_nothing(
    bench: Bench, driver: NetworkDriver
) -> None:
    network = await driver.complete(network_for(driver))
    await driver.create_network(network)
    for number in (1, 2):
        endpoint = endpoint_of(network, number)
        await driver.create_endpoint(network, endpoint)
        await driver.join(network, endpoint)
    for number in (1, 2):
        endpoint = endpoint_of(network, number)
        await driver.leave(network, endpoint)
        await driver.delete_endpoint(network, endpoint)
    await driver.delete_network(network)
    assert bench.is_clean()


async def test_every_verb_can_be_repeated(bench: Bench, driver: NetworkDriver) -> None:
    network = await driver.complete(network_for(driver))
    endpoint = endpoint_of(network)
    for _ in range(2):
        await driver.create_network(network)
    for _ in range(2):
        await driver.create_endpoint(network, endpoint)
    attachments = [await driver.join(network, endpoint) for _ in range(2)]
    assert attachments[0] == attachments[1]
    for _ in range(2):
        await driver.leave(network, endpoint)
    for _ in range(2):
        await driver.delete_endpoint(network, endpoint)
    for _ in range(2):
        await driver.delete_network(network)
    assert bench.is_clean()


async def test_an_endpoint_that_left_can_join_again(bench: Bench, driver: NetworkDriver) -> None:
    network = await driver.complete(network_for(driver))
    endpoint = endpoint_of(network)
    await driver.create_network(network)
    await driver.create_endpoint(network, endpoint)
    before = await driver.join(network, endpoint)
    await driver.leave(network, endpoint)
    assert await driver.join(network, endpoint) == before


async def test_what_nobody_made_can_be_left_and_deleted(
    bench: Bench, driver: NetworkDriver
) -> None:
    network = await driver.complete(network_for(driver))
    endpoint = endpoint_of(network)
    await driver.leave(network, endpoint)
    await driver.delete_endpoint(network, endpoint)
    await driver.delete_network(network)
    assert bench.is_clean()


async def test_an_unknown_option_is_refused_by_name(
    driver: NetworkDriver, request: pytest.FixtureRequest
) -> None:
    if driver.name == "theirs":
        # Options of a plugin are the plugin's to judge.
        assert (await driver.complete(network_for(driver, far="1"))).options == {"far": "1"}
        return
    with pytest.raises(StateError, match=f"the {driver.name} driver has no option far, fast; it"):
        await driver.complete(network_for(driver, fast="1", far="2"))


async def test_it_says_what_it_is_for(driver: NetworkDriver) -> None:
    about = driver.about
    assert about.purpose
    assert about.limits
    assert about.way_out
    assert await driver.lacks() is None


async def test_closing_keeps_devices_only_where_it_was_asked(
    bench: Bench, driver: NetworkDriver
) -> None:
    network = await driver.complete(network_for(driver))
    endpoint = endpoint_of(network)
    await driver.create_network(network)
    await driver.create_endpoint(network, endpoint)
    await driver.join(network, endpoint)
    await driver.close(keep_devices=False)
    assert bench.datapath.ports == {}
    await driver.adopt(network, endpoint)
    assert (await driver.join(network, endpoint)).mtu == network.mtu


@pytest.mark.parametrize("name", ["bridge", "macvlan", "ipvlan"])
async def test_a_device_that_cannot_be_made_leaves_nothing(bench: Bench, name: str) -> None:
    driver = bench.driver(name)
    network = await driver.complete(network_for(driver))
    await driver.create_network(network)
    bench.links.refusal = HostError("there are too many devices")
    with pytest.raises(HostError, match="too many devices"):
        await driver.create_endpoint(network, endpoint_of(network))
    await driver.delete_network(network)
    assert bench.is_clean()


@pytest.mark.parametrize(("name", "kind"), [("bridge", "veth"), ("macvlan", "macvlan"),
                                            ("ipvlan", "ipvlan")])  # fmt: skip
async def test_what_the_kernel_lacks_is_said(bench: Bench, name: str, kind: str) -> None:
    bench.links.missing.add(kind)
    assert await bench.driver(name).lacks() == f"this kernel has no {kind}"


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("macvlan", {"parent": ""}, "needs a device to hang on; name it with --opt parent=eth0"),
        ("macvlan", {"parent": "eth9"}, "this host has no device eth9"),
        ("macvlan", {"mode": "wild"}, "mode=wild: it is bridge, private, vepa or passthru"),
        ("macvlan", {"vlan": "4095"}, "vlan=4095: it is a number from 1 to 4094"),
        ("ipvlan", {"mode": "l4"}, "mode=l4: it is l2, l3 or l3s"),
        ("ipvlan", {"vlan": "x"}, "vlan=x: it is a number from 1 to 4094"),
        ("bridge", {"internal": "maybe"}, "internal=maybe: it is true or false"),
    ],
)
async def test_a_wrong_option_is_a_sentence(
    bench: Bench, name: str, options: dict[str, str], sentence: str
) -> None:
    driver = bench.driver(name)
    with pytest.raises(StateError, match=sentence):
        await driver.complete(network_for(driver, **options))


async def test_a_vlan_is_made_for_its_network_and_goes_with_it(bench: Bench) -> None:
    driver = bench.driver("macvlan")
    network = await driver.complete(network_for(driver, vlan="42"))
    await driver.create_endpoint(network, endpoint_of(network))
    assert "vxv0123456789ab" in bench.links.made
    await driver.delete_endpoint(network, endpoint_of(network))
    await driver.delete_network(network)
    assert bench.is_clean()


async def test_ipvlan_keeps_its_parents_mac_and_routes_without_a_gateway(bench: Bench) -> None:
    driver = bench.driver("ipvlan")
    network = await driver.complete(network_for(driver, mode="l3"))
    attachment = await driver.join(network, endpoint_of(network))
    assert not attachment.own_mac
    assert attachment.on_link_default
    gateway = Subnet(ipaddress.ip_network("10.9.0.0/24"), ipaddress.ip_address("10.9.0.1"))
    with pytest.raises(StateError, match="has no gateway: the host routes"):
        await driver.complete(replace(network, subnets=(gateway,)))


async def test_a_parent_of_ipvlan_has_one_mode_at_a_time(bench: Bench) -> None:
    driver = bench.driver("ipvlan")
    flat = network_for(driver)
    routed = replace(network_for(driver, mode="l3"), name="routed")
    # A daemon that started just now knows of what it adopted.
    await driver.adopt(flat, endpoint_of(flat, 1))
    with pytest.raises(StateError, match="eth0 is in use in mode l2, and ipvlan has one mode"):
        await driver.create_endpoint(routed, endpoint_of(routed, 2))
    await driver.create_endpoint(network_for(driver, mode="l3", vlan="7"), endpoint_of(routed, 3))
    await driver.delete_endpoint(flat, endpoint_of(flat, 1))
    await driver.create_endpoint(routed, endpoint_of(routed, 2))


async def test_a_bridge_publishes_a_port_once(bench: Bench) -> None:
    driver = bench.driver("bridge")
    network = await driver.complete(network_for(driver))
    await driver.create_network(network)
    first = endpoint_of(network, 1, published=(PublishedPort(80, 8000),))
    await driver.create_endpoint(network, first)
    await driver.join(network, first)
    assert "tcp dport 80 dnat ip to 10.9.0.2:8000" in (bench.firewall.chains or "")
    second = endpoint_of(network, 2, published=(PublishedPort(80, 9000),))
    with pytest.raises(StateError, match="published by endpoint e1"):
        await driver.create_endpoint(network, second)
    await driver.create_endpoint(network, replace(second, published=(PublishedPort(80, 1, "udp"),)))
    await driver.leave(network, first)
    assert "dnat" not in (bench.firewall.chains or "").replace("ct status dnat", "")


async def test_an_internal_bridge_does_not_make_the_host_route(bench: Bench) -> None:
    driver = bench.driver("bridge")
    network = await driver.complete(network_for(driver, internal="true"))
    await driver.create_network(network)
    assert not bench.links.forwarding
    assert (await driver.join(network, endpoint_of(network))).gateways == ()
    assert (
        "masquerade"
        not in (bench.firewall.chains or "").split("postrouting")[1].split("ct status")[0]
    )


async def test_a_bridge_does_not_stay_where_the_host_may_not_route(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(versions: object) -> None:
        raise HostError("read-only")

    monkeypatch.setattr(bench.links, "set_forwarding", refuse)
    driver = bench.driver("bridge")
    with pytest.raises(HostError, match="read-only"):
        await driver.create_network(await driver.complete(network_for(driver)))
    assert bench.is_clean()


async def test_a_plugins_refusal_is_passed_on(bench: Bench) -> None:
    driver = bench.driver("remote")
    network = await driver.complete(network_for(driver))
    bench.plugin.error = "out of stock"
    with pytest.raises(StateError, match="theirs refuses CreateNetwork: out of stock"):
        await driver.create_network(network)
