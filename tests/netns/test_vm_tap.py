"""A TAP that a virtual machine opens: the test opens it as QEMU would, and speaks for a guest."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Dot1Q, Ether

from tests.helpers.clusters import cluster_on, vxnet
from vxnet.api.model import EndpointView
from vxnet.demo.cluster import Cluster, Daemon, wait_for
from vxnet.demo.station import Station
from vxnet.errors import HostError
from vxnet.link.base import VNET_HEADER_BYTES
from vxnet.link.tap import Tap

pytestmark = pytest.mark.netns

MAC = "52:54:00:12:34:56"
BROADCAST = "ff:ff:ff:ff:ff:ff"


class Guest:
    """What QEMU and a kernel inside would do, as far as it takes to ask and to be answered."""

    def __init__(self, tap: Tap, address: str) -> None:
        self._tap = tap
        self.address = address

    def send(self, frame: Ether) -> None:
        os.write(self._tap.fds[0], bytes(VNET_HEADER_BYTES) + bytes(frame))

    def hear(self, wanted: Callable[[Ether], bool], within_s: float) -> Ether | None:
        """The first frame that is wanted."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            try:
                data = os.read(self._tap.fds[0], 65_600)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            frame = Ether(data[VNET_HEADER_BYTES:])
            if wanted(frame):
                return frame
        return None

    def mac_of(self, address: str, within_s: float = 10.0) -> str | None:
        """Whose an address is, by ARP; asked again and again."""
        question = Ether(src=MAC, dst=BROADCAST) / ARP(
            op=1, hwsrc=MAC, psrc=self.address, pdst=address
        )
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            self.send(question)
            answer = self.hear(lambda f: ARP in f and f[ARP].op == 2 and f[ARP].psrc == address, 1)
            if answer is not None:
                return str(answer[ARP].hwsrc)
        return None

    def pings(self, station: Station) -> bool:
        address = station.addresses[0]
        self.send(
            Ether(src=MAC, dst=station.mac)
            / IP(src=self.address, dst=address)
            / ICMP(type=8, id=7, seq=1)
            / b"hello"
        )
        answer = self.hear(lambda f: ICMP in f and f[ICMP].type == 0 and f[IP].src == address, 5)
        return answer is not None and bytes(answer[ICMP].payload)[:5] == b"hello"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two hosts and a network."""
    with cluster_on(2, network="blue") as built:
        yield built


@pytest.fixture
def far(cluster: Cluster) -> Iterator[Station]:
    """A station on the other host."""
    station = cluster.daemons[1].attach("blue", name="far")
    yield station
    cluster.daemons[1].detach(station)


def attach(daemon: Daemon, *more: str) -> EndpointView:
    done = vxnet(daemon, "attach", "blue", "--tap", "vm0", "--name", "vm", "--mac", MAC, *more)
    assert done.returncode == 0, done.stderr
    return daemon.client.endpoint("vm")


def open_as_qemu(daemon: Daemon, endpoint: EndpointView) -> Guest:
    (address,) = [a.split("/")[0] for a in endpoint.addresses if ":" not in a]
    return Guest(daemon.host.inside(lambda: Tap.open("vm0", persistent=True)), address)


def mtu_of(daemon: Daemon) -> str:
    shown = daemon.host.run(["ip", "-o", "link", "show", "vm0"]).stdout
    return shown.split(" mtu ")[1].split()[0]


def test_a_guest_reaches_the_network_and_not_the_host(cluster: Cluster, far: Station) -> None:
    daemon = cluster.daemons[0]
    endpoint = attach(daemon)
    try:
        assert (endpoint.sandbox, endpoint.ifname, endpoint.mac) == ("tap vm0", "vm0", MAC)
        guest = open_as_qemu(daemon, endpoint)
        assert guest.mac_of(far.addresses[0]) == far.mac
        assert guest.pings(far)
        # The host is not on this Ethernet, though the device is among its own.
        assert guest.mac_of(daemon.vtep, within_s=1.0) is None
        assert "inet" not in daemon.host.run(["ip", "addr", "show", "vm0"]).stdout

        # A tag that the kernel took out of a frame must not make it an untagged one.
        tagged = Ether(src=MAC, dst=far.mac) / Dot1Q(vlan=5) / IP(src=guest.address) / ICMP(type=8)
        tagged[IP].dst = far.addresses[0]
        guest.send(tagged)
        assert guest.hear(lambda f: ICMP in f and f[ICMP].type == 0, 1) is None

        daemon.host.run(["ip", "link", "set", "vm0", "mtu", "1300", "down"])
        wait_for(lambda: mtu_of(daemon) == "1450", 10, "the device is put right")
        assert guest.mac_of(far.addresses[0]) == far.mac

        daemon.kill()
        daemon.start()
        daemon.wait_until_ready()
        cluster.wait_for_members()
        assert guest.mac_of(far.addresses[0]) == far.mac
        assert guest.pings(far)
    finally:
        with suppress(HostError):  # a daemon that is gone must not hide why
            daemon.client.remove_endpoint("vm")
    assert "vm0" not in daemon.host.run(["ip", "-o", "link"]).stdout


def test_what_does_not_fit_a_tap_is_said(cluster: Cluster) -> None:
    daemon = cluster.daemons[0]
    done = vxnet(daemon, "attach", "blue", "--tap", "underlay0")
    assert done.returncode == 1
    assert "already has an interface underlay0" in done.stderr
    done = vxnet(daemon, "attach", "blue", "--tap", "vm0", "--netns", "x")
    assert done.returncode == 2
    assert "exactly one of --netns, --pid, --path and --tap" in done.stderr
    done = vxnet(daemon, "network", "create", "app", "--driver", "bridge")
    assert done.returncode == 0
    done = vxnet(daemon, "attach", "app", "--tap", "vm0")
    assert done.returncode == 1
    assert "a bridge network makes no TAP for a virtual machine" in done.stderr
    daemon.client.remove_network("app")
    assert daemon.client.endpoints() == []
