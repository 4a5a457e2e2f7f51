"""A great many frames of every kind between vxnet and Linux's vxlan device: none lost, none wrong.

`scripts/million` sends a million each way; by default it is fewer.
"""

import itertools
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

import pytest

from tests.helpers.clusters import SUBNETS, cluster_on, reaches
from tests.helpers.datapaths import DATAPATHS
from tests.helpers.kernel import DEVICE, add_kernel_vtep
from tests.helpers.wire import tell_kernel_to_finish_packets
from vxnet.demo.cluster import Cluster, wait_for
from vxnet.demo.station import Station

pytestmark = pytest.mark.netns

FRAMES = int(os.environ.get("VXNET_FRAMES", "10000"))
WITHIN_S = 60 + FRAMES / 1_000
VNI, NETWORK, MTU = 4711, "mixed", 1450
SETTINGS = f"""
[[network]]
name = "{NETWORK}"
vni = {VNI}
mtu = {MTU}
subnets = ["{SUBNETS[0]}", "{SUBNETS[1]}"]
peers = [{{ vtep = "192.0.2.2" }}]
"""
ERRORS = ("InErrors", "RcvbufErrors", "InCsumErrors", "InHdrErrors", "ReasmFails", "InErrs")


@dataclass(frozen=True, slots=True)
class Two:
    cluster: Cluster
    ours: Station
    kernel: Station


@pytest.fixture(scope="module", params=DATAPATHS, ids=lambda kind: f"{kind}-linux")
def two(request: pytest.FixtureRequest) -> Iterator[Two]:
    """vxnet and the kernel, one station each."""
    with cluster_on(2, daemons=1, datapath=request.param, settings=SETTINGS) as cluster:
        kernel = add_kernel_vtep(
            cluster.bed[1],
            vni=VNI,
            remotes=[cluster.daemons[0].vtep],
            ipv4="10.9.0.200/24",
            ipv6="fd00:9::200/64",
            mtu=MTU,
        )
        for host in cluster.bed.hosts:
            tell_kernel_to_finish_packets(host)
        # A super-frame would count as one packet, and every frame is to be counted.
        kernel.host.run(["ethtool", "-K", DEVICE, "tso", "off", "gso", "off"])
        ours = cluster.daemons[0].attach(NETWORK)
        assert reaches(ours, kernel)
        yield Two(cluster, ours, kernel)


def device(two: Two, way: str) -> dict[str, int]:
    """What the kernel's device counts in one direction."""
    [link] = json.loads(two.kernel.host.run(["ip", "-s", "-j", "link", "show", DEVICE]).stdout)
    counted: dict[str, int] = link["stats64"][way]
    return counted


def errors(station: Station) -> dict[str, int]:
    """Everything a kernel counts as wrong with packets, for IP, TCP and UDP of both versions."""
    text = station.sandbox.run(["cat", "/proc/net/snmp", "/proc/net/snmp6"]).stdout
    found = {}
    for names, values in re.findall(r"^(\w+: \D.*)\n\w+: (.*)$", text, re.MULTILINE):
        protocol, *fields = names.split()
        found.update(zip((f"{protocol}{f}" for f in fields), map(int, values.split()), strict=True))
    found.update(
        (name, int(value)) for name, value in re.findall(r"^(\w+6\w+)\s+(\d+)$", text, re.MULTILINE)
    )
    return {name: value for name, value in found.items() if name.endswith(ERRORS) and value}


def counted(two: Two) -> int:
    """Frames that vxnet's tunnels brought to its station."""
    [place] = [p for p in two.cluster.daemons[0].client.stats().places if p.kind == "network"]
    return place.counters.received


def streams(source: Station, target: Station, frames: int) -> None:
    """TCP of both versions, with segments of two sizes: as many frames."""
    for address, mss in itertools.product(target.addresses, (536, 1_200)):
        octets = frames // 4 * mss
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with (
            target.socket(family, socket.SOCK_STREAM) as listener,
            source.socket(family, socket.SOCK_STREAM) as sender,
            ThreadPoolExecutor(1) as pool,
        ):
            for one in (listener, sender):
                one.settimeout(WITHIN_S)
            listener.bind((address, 0))
            listener.listen(1)
            receiving = pool.submit(_count, listener)
            sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
            sender.connect((address, listener.getsockname()[1]))
            chunk = os.urandom(65_536)
            for at in range(0, octets, len(chunk)):
                sender.sendall(chunk[: octets - at])
            sender.shutdown(socket.SHUT_WR)
            assert receiving.result() == octets


def _count(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    got = 0
    with connection:
        connection.settimeout(WITHIN_S)
        while octets := connection.recv(1 << 20):
            got += len(octets)
    return got


def datagrams(source: Station, target: Station, frames: int) -> None:
    """UDP of both versions and of any size, fragments too; each window arrives before the next."""
    random = Random(frames)
    for address in target.addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with (
            target.socket(family, socket.SOCK_DGRAM) as ear,
            source.socket(family, socket.SOCK_DGRAM) as mouth,
        ):
            ear.bind((address, 0))
            ear.settimeout(WITHIN_S)
            mouth.connect(ear.getsockname()[:2])
            for _ in range(frames // 2 // 50):
                sizes = [random.choice((0, 1, 18, 512, 1_200, 1_400, 4_000)) for _ in range(50)]
                for size in sizes:
                    mouth.send(bytes(size))
                # Fragments have no ports, so they may leave by another source port, and overtake.
                assert sorted(len(ear.recv(65_535)) for _ in sizes) == sorted(sizes)


@pytest.mark.conformance("X1", "O1", "O2", "O3", "N1")
@pytest.mark.timeout(int(4 * WITHIN_S))
@pytest.mark.parametrize("kind", [streams, datagrams], ids=["tcp", "udp"])
def test_the_kernel_finds_nothing_wrong_with_what_it_gets(
    two: Two, kind: Callable[[Station, Station, int], None]
) -> None:
    before = device(two, "rx")["packets"]
    kind(two.ours, two.kernel, FRAMES // 2)
    after = device(two, "rx")
    assert after["packets"] - before >= FRAMES // 2
    assert (after["errors"], after["dropped"]) == (0, 0)
    assert errors(two.kernel) == {}
    assert two.cluster.daemons[0].client.verify_stats().problems == ()


@pytest.mark.conformance("X1", "O1", "O2", "N1")
@pytest.mark.timeout(int(4 * WITHIN_S))
@pytest.mark.parametrize("kind", [streams, datagrams], ids=["tcp", "udp"])
def test_vxnet_loses_nothing_of_what_the_kernel_sends(
    two: Two, kind: Callable[[Station, Station, int], None]
) -> None:
    sent, came = device(two, "tx")["packets"], counted(two)
    kind(two.kernel, two.ours, FRAMES // 2)
    # The kernel may ask for a neighbour at any moment, so a frame may be under way at first.
    wait_for(
        lambda: counted(two) - came == device(two, "tx")["packets"] - sent,
        10,
        "every frame that the kernel sent, and no other, is counted",
    )
    assert errors(two.ours) == {}
    assert two.cluster.daemons[0].client.verify_stats().problems == ()
