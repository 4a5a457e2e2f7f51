"""Linux's own vxlan device as a foreign VTEP: both sides understand each other, both ways."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.helpers.clusters import SUBNETS, cluster_on, labels, reaches
from tests.helpers.datapaths import DATAPATHS
from tests.helpers.kernel import add_kernel_vtep, kernel_knows
from tests.helpers.wire import tell_kernel_to_finish_packets, tshark
from vxnet.demo.capture import Capture, checksums_ok
from vxnet.demo.cluster import Cluster, address_of, wait_for
from vxnet.demo.station import Station
from vxnet.demo.traffic import exchange, shout, transfer

pytestmark = pytest.mark.netns

VNI = 4711
NETWORK = "mixed"
OURS = {*("eth", "ethertype", "arp", "ip", "ipv6", "icmp", "icmpv6", "tcp", "udp", "vxlan", "data")}
MTU = 1430  # fits both versions of the underlay


@dataclass(frozen=True, slots=True)
class Mixed:
    """Two hosts with vxnet, one with the kernel's device, one network."""

    cluster: Cluster
    ours: tuple[Station, Station]
    foreign: Station
    port: int


@pytest.fixture(
    scope="module",
    params=[(kind, *rest) for kind in DATAPATHS for rest in ((4, 4789), (6, 14789))],
    ids=lambda param: "{}-linux-over-ipv{}-port-{}".format(*param),
)
def mixed(request: pytest.FixtureRequest) -> Iterator[Mixed]:
    """One such network for each datapath, on both versions of the underlay and two ports."""
    datapath, version, port = request.param
    vtep = "192.0.2.3" if version == 4 else "[2001:db8::3]"
    settings = f"""
[[network]]
name = "{NETWORK}"
vni = {VNI}
mtu = {MTU}
subnets = ["{SUBNETS[0]}", "{SUBNETS[1]}"]
peers = [{{ vtep = "{vtep}:{port}" }}]
"""
    with cluster_on(
        3, daemons=2, datapath=datapath, port=port, version=version, settings=settings
    ) as cluster:
        foreign = add_kernel_vtep(
            cluster.bed[2],
            vni=VNI,
            port=port,
            remotes=[daemon.vtep for daemon in cluster.daemons],
            ipv4="10.9.0.200/24",
            ipv6="fd00:9::200/64",
            mtu=MTU,
        )
        for host in cluster.bed.hosts:
            tell_kernel_to_finish_packets(host)
        first, second = (daemon.attach(NETWORK) for daemon in cluster.daemons)
        yield Mixed(cluster, (first, second), foreign, port)


@pytest.mark.conformance("X6")
def test_pings_are_answered_both_ways(mixed: Mixed) -> None:
    for station in mixed.ours:
        assert reaches(station, mixed.foreign)
        assert reaches(mixed.foreign, station)


@pytest.mark.conformance("O2", "X6")
@pytest.mark.parametrize("version", [0, 1], ids=["inner-ipv4", "inner-ipv6"])
def test_a_stream_arrives_intact_both_ways(mixed: Mixed, version: int) -> None:
    for station in mixed.ours:
        for source, target in ((station, mixed.foreign), (mixed.foreign, station)):
            assert transfer(source, target, target.addresses[version], 10_000_000).intact


def test_datagrams_larger_than_the_mtu_come_back(mixed: Mixed) -> None:
    for address in mixed.foreign.addresses:
        assert exchange(mixed.ours[0], mixed.foreign, address, [1, 1200, 4000, 9000]) == (4, 4)


@pytest.mark.conformance("X12")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_what_is_flooded_reaches_everybody_once(mixed: Mixed, family: int) -> None:
    everybody = [*mixed.ours, mixed.foreign]
    for source in everybody:
        others = [station for station in everybody if station is not source]
        assert shout(source, others, family) == labels(others)


@pytest.mark.conformance("X11")
def test_each_side_learns_where_the_other_is(mixed: Mixed) -> None:
    foreign_vtep = mixed.cluster.bed[2].vtep4
    if ":" in mixed.cluster.daemons[0].vtep:
        foreign_vtep = mixed.cluster.bed[2].vtep6
    for station, daemon in zip(mixed.ours, mixed.cluster.daemons, strict=True):
        assert reaches(station, mixed.foreign)
        [row] = [row for row in daemon.fdb() if row.mac == mixed.foreign.mac]
        assert (address_of(row.vtep), row.source) == (foreign_vtep, "learned")
        wait_for(
            lambda mac=station.mac, vtep=daemon.vtep: kernel_knows(mixed.foreign, mac) == vtep,
            5.0,
            f"the kernel learns {station.mac}",
        )


@pytest.mark.conformance("X1", "X8", "O1")
def test_every_packet_on_the_wire_is_plain_vxlan_with_valid_checksums(
    mixed: Mixed, tmp_path: Path
) -> None:
    source, target = mixed.ours[0], mixed.foreign
    with Capture(source.host, mixed.port) as capture:
        for one, other in ((source, target), (target, source)):
            for address in other.addresses:
                assert transfer(one, other, address, 100_000).intact
                assert exchange(one, other, address, [1, 1200, 4000]) == (3, 3)
    sightings = capture.sightings()
    assert len(sightings) > 100
    assert {s.vni for s in sightings} == {VNI}
    assert all(s.inner_checksums_ok for s in sightings)
    for packet in capture.packets():
        outer = Ether(packet).payload
        assert len(outer) <= 1500
        assert outer.payload.chksum == 0 or checksums_ok(Ether(packet))
        assert isinstance(outer, IP) or (isinstance(outer, IPv6) and outer.payload.chksum)
    read = partial(tshark, capture.packets(), tmp_path, port=mixed.port)
    assert read(show="vxlan.vni") == [str(VNI)] * len(sightings)
    wrong = "ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0"
    assert not read(show="frame.number", only=wrong)
    # What is exchanged is random, on ports that may be some other protocol's.
    malformed = read(show="frame.protocols", only="_ws.malformed")
    assert not [names for names in malformed if set(names.split(":")) <= OURS]
