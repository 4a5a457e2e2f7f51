"""Linux's vxlan device in its other mode: one for all VNIs, told by routes, with a filter."""

import ipaddress
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.helpers.clusters import SUBNETS, cluster_on, vxnet
from tests.helpers.datapaths import DATAPATHS
from tests.helpers.kernel import DEVICE, mac_of
from tests.helpers.wire import tell_kernel_to_finish_packets
from vxnet.demo.bed import Host
from vxnet.demo.cluster import Daemon, wait_for
from vxnet.demo.station import Station
from vxnet.demo.traffic import ping, transfer

pytestmark = pytest.mark.netns

VNI, NETWORK, MTU = 4711, "mixed", 1430


@dataclass(frozen=True, slots=True)
class Two:
    daemon: Daemon
    ours: Station
    kernel: Station

    def filtered(self) -> dict[str, int]:
        """What the device counts for the VNI."""
        shown = self.kernel.host.run(["bridge", "-j", "-s", "vni", "show", "dev", DEVICE]).stdout
        [device] = json.loads(shown)
        [vni] = device["vnis"]
        stats: dict[str, int] = vni["stats"]
        return stats


@pytest.fixture(scope="module", params=DATAPATHS, ids=lambda kind: f"{kind}-linux")
def two(request: pytest.FixtureRequest) -> Iterator[Two]:
    """vxnet, and a device that takes one VNI in."""
    with cluster_on(2, daemons=1, datapath=request.param) as cluster:
        [daemon], far = cluster.daemons, cluster.bed[1]
        for host in cluster.bed.hosts:
            tell_kernel_to_finish_packets(host)
        subnets = [word for subnet in SUBNETS for word in ("--subnet", subnet)]
        create = ["create", NETWORK, "--vni", str(VNI), "--mtu", str(MTU), *subnets]
        for words in (create, ["peer", "add", NETWORK, far.vtep4]):
            assert vxnet(daemon, "network", *words).returncode == 0
        ours = daemon.attach(NETWORK)
        yield Two(daemon, ours, _collecting(far, daemon.vtep, ours))


def _collecting(host: Host, remote: str, ours: Station) -> Station:
    address = ours.addresses[0]
    for line in (
        f"ip link add {DEVICE} mtu {MTU} type vxlan external vnifilter dstport 4789",
        f"bridge vni add vni {VNI} dev {DEVICE}",
        f"ip link set {DEVICE} up",
        f"ip address add 10.9.0.200/32 dev {DEVICE}",
        f"ip route add {address}/32 encap ip id {VNI} dst {remote} dev {DEVICE}",
        f"ip neighbour add {address} lladdr {ours.mac} dev {DEVICE} nud permanent",
    ):
        host.run(line.split())
    return Station(
        label=f"{host.label}/kernel",
        network="kernel",
        host=host,
        sandbox=host,
        ifname=DEVICE,
        endpoint="",
        mac=mac_of(host, DEVICE),
        ipv4=ipaddress.IPv4Interface("10.9.0.200/24"),
        ipv6=ipaddress.IPv6Interface("fd00:9::200/64"),
    )


@pytest.mark.conformance("X1", "X9", "X11")
def test_stations_reach_each_other(two: Two) -> None:
    assert ping(two.ours, two.kernel.addresses[0], count=3) is not None
    assert ping(two.kernel, two.ours.addresses[0], count=3) is not None


@pytest.mark.conformance("X1", "O1", "O2")
def test_streams_arrive_intact_both_ways(two: Two) -> None:
    for source, target in ((two.ours, two.kernel), (two.kernel, two.ours)):
        assert transfer(source, target, target.addresses[0], 2_000_000).intact


@pytest.mark.conformance("X1", "N1")
def test_both_count_the_same_frames(two: Two) -> None:
    def sent() -> int:
        [place] = [p for p in two.daemon.client.stats().places if p.kind == "peer"]
        return place.counters.out

    def at_rest() -> bool:
        seen = sent(), two.filtered()["rx_pkts"]
        time.sleep(1.0)
        return seen == (sent(), two.filtered()["rx_pkts"])

    # Pings alone: what the kernel joins of a stream it counts as one.
    wait_for(at_rest, 30.0, "nothing is under way any more")
    before, counted = sent(), two.filtered()["rx_pkts"]
    assert ping(two.ours, two.kernel.addresses[0], count=5) is not None
    assert sent() - before >= 5
    wait_for(
        lambda: two.filtered()["rx_pkts"] - counted == sent() - before, 10.0, "both count the same"
    )
    assert (two.filtered()["rx_drops"], two.filtered()["rx_errors"]) == (0, 0)
