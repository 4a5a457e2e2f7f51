"""Three VTEPs of three makes on one network: vxnet, Linux's vxlan device, Open vSwitch."""

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.helpers.clusters import SUBNETS, cluster_on, labels, reaches, vxnet
from tests.helpers.datapaths import DATAPATHS
from tests.helpers.kernel import DEVICE, kernel_station
from tests.helpers.ovs import ovs_station
from tests.helpers.wire import send_raw, tell_kernel_to_finish_packets
from vxnet.demo.bed import Host
from vxnet.demo.cluster import Cluster, Daemon, address_of, wait_for
from vxnet.demo.station import Station
from vxnet.demo.traffic import shout, transfer
from vxnet.wire import vxlan
from vxnet.wire.addr import Vni

pytestmark = pytest.mark.netns

VNI = 4711
NETWORK = "mixed"
MTU = 1430  # fits both versions of the underlay
STREAM = 2_000_000


@dataclass(frozen=True, slots=True)
class Three:
    """One station behind each make."""

    cluster: Cluster
    ours: Station
    linux: Station
    ovs: Station

    @property
    def daemon(self) -> Daemon:
        return self.cluster.daemons[0]

    @property
    def all(self) -> list[Station]:
        return [self.ours, self.linux, self.ovs]


@pytest.fixture(
    scope="module",
    params=[
        param
        for param in (
            ("pure", 6, 4789, "offloaded"),
            ("native", 4, 4789, "offloaded"),
            ("native", 6, 14789, "plain"),
        )
        if param[0] in DATAPATHS
    ],
    ids=lambda param: "{}-linux-ovs-over-ipv{}-port-{}-{}".format(*param),
)
def three(request: pytest.FixtureRequest) -> Iterator[Three]:
    """Made with the commands that a user types and those that vxnet prints."""
    datapath, version, port, offloads = request.param
    with cluster_on(3, daemons=1, datapath=datapath, port=port, version=version) as cluster:
        [daemon], (_, second, third) = cluster.daemons, cluster.bed.hosts
        # Between namespaces the kernel would hand over inner checksums that no card has written.
        for host in cluster.bed.hosts:
            tell_kernel_to_finish_packets(host)
        subnets = [word for subnet in SUBNETS for word in ("--subnet", subnet)]
        done(
            vxnet(
                daemon, "network", "create", NETWORK, "--vni", str(VNI), "--mtu", str(MTU), *subnets
            )
        )
        vteps = [_vtep(host, version) for host in (second, third)]
        for vtep in vteps:
            done(vxnet(daemon, "network", "peer", "add", NETWORK, vtep))
        ours = daemon.attach(NETWORK)
        # All hosts are members of each other, so each of the two is told of the other as well.
        for_linux = _export(daemon, "linux", vteps[0])
        for_linux.insert(1, for_linux[1].replace(daemon.vtep, vteps[1]))
        for_ovs = _export(daemon, "ovs", vteps[1])
        for_ovs.append(
            for_ovs[1].replace(f"vx{VNI}_1", f"vx{VNI}_2").replace(daemon.vtep, vteps[0])
        )
        linux = kernel_station(second, for_linux, "10.9.0.200/24", "fd00:9::200/64")
        with ovs_station(
            third, for_ovs, vtep=vteps[1], ipv4="10.9.0.201/24", ipv6="fd00:9::201/64", mtu=MTU
        ) as ovs:
            if offloads == "plain":
                for station in (ours, linux, ovs):
                    words = ["ethtool", "-K", station.ifname, "tx", "off", "gso", "off"]
                    station.sandbox.run([*words, "gro", "off"])
            yield Three(cluster, ours, linux, ovs)


def _vtep(host: Host, version: int) -> str:
    return host.vtep4 if version == 4 else host.vtep6


def _export(daemon: Daemon, kind: str, vtep: str) -> list[str]:
    """The commands for the other side."""
    printed = vxnet(daemon, "network", "export", NETWORK, "--for", kind, "--vtep", vtep)
    return done(printed).splitlines()


def done(command: object) -> str:
    assert command.returncode == 0, command.stderr  # type: ignore[attr-defined]
    out: str = command.stdout  # type: ignore[attr-defined]
    return out


@pytest.mark.conformance("X1", "X6", "X9")
def test_everybody_reaches_everybody(three: Three) -> None:
    for source in three.all:
        for target in three.all:
            if source is not target:
                assert reaches(source, target), f"{source.label} reaches {target.label}"


@pytest.mark.conformance("O1", "O2", "X6")
@pytest.mark.parametrize("version", [0, 1], ids=["inner-ipv4", "inner-ipv6"])
def test_streams_arrive_intact_between_vxnet_and_each(three: Three, version: int) -> None:
    for far in (three.linux, three.ovs):
        for source, target in ((three.ours, far), (far, three.ours)):
            assert transfer(source, target, target.addresses[version], STREAM).intact


@pytest.mark.conformance("X12", "V4")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def test_what_is_flooded_reaches_everybody_once(three: Three, family: int) -> None:
    for source in three.all:
        others = [station for station in three.all if station is not source]
        assert shout(source, others, family) == labels(others)


@pytest.mark.conformance("X11")
def test_each_is_learned_where_it_is(three: Three) -> None:
    for far, host in ((three.linux, three.cluster.bed[1]), (three.ovs, three.cluster.bed[2])):
        assert reaches(three.ours, far)
        [row] = [row for row in three.daemon.fdb() if row.mac == far.mac]
        assert address_of(row.vtep) in (host.vtep4, host.vtep6)
        assert row.source == "learned"


@pytest.mark.conformance("N1", "X3", "X4")
def test_counters_are_exact_to_the_frame(three: Three) -> None:
    """As Linux's own selftest of reserved bits counts: so many sent, so many counted."""
    daemon, sender = three.daemon, three.linux.host
    target = (daemon.vtep, three.cluster.port)
    frame = bytes(14) + bytes(46)
    kinds = {
        "vxlan_no_vni_flag": bytes(8) + frame,
        "vxlan_short": vxlan.build(Vni(VNI))[:8] + frame[:5],
        "unknown_vni": vxlan.build(Vni(VNI + 1)) + frame,
    }
    before = daemon.client.stats().stray
    for payload in kinds.values():
        send_raw(sender, target, *[payload] * 17)
    for reason in kinds:
        wait_for(
            lambda reason=reason: (
                daemon.client.stats().stray.get(reason, 0) == before.get(reason, 0) + 17
            ),
            10.0,
            f"17 frames are counted as {reason}",
        )
    assert daemon.client.verify_stats().problems == ()


@pytest.mark.conformance("X1", "O1")
def test_the_kernel_finds_no_fault_with_what_it_gets(three: Three) -> None:
    assert transfer(three.ours, three.linux, three.linux.addresses[0], STREAM).intact
    shown = three.linux.host.run(["ip", "-s", "-j", "link", "show", DEVICE]).stdout
    [link] = json.loads(shown)
    received = link["stats64"]["rx"]
    assert received["packets"] > 0
    assert received["errors"] == 0
    snmp = three.linux.host.run(["cat", "/proc/net/snmp", "/proc/net/snmp6"]).stdout
    names, values = re.findall(r"^Udp: (.*)$", snmp, re.MULTILINE)[:2]
    udp = dict(zip(names.split(), map(int, values.split()), strict=True))
    assert (udp["InErrors"], udp["InCsumErrors"]) == (0, 0)
    assert re.search(r"^Udp6InCsumErrors\s+0$", snmp, re.MULTILINE)
