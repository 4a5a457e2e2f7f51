"""Datapaths with real TAPs in two namespaces: what hosts and the wire make of their frames."""

import asyncio
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.datapath.stage import never_lost
from tests.helpers.carrier import VNI, Carrier, connect
from tests.helpers.datapaths import DATAPATHS
from tests.helpers.wire import tell_kernel_to_finish_packets
from vxnet.datapath.base import Counters, Stats
from vxnet.demo.bed import UNDERLAY, Bed
from vxnet.demo.capture import Capture
from vxnet.demo.traffic import Transfer, exchange, ping, shout, transfer
from vxnet.switch.actions import DropReason, PortId

pytestmark = pytest.mark.netns

Pair = tuple[Carrier, Carrier]

OVERHEAD = {4: 50, 6: 70}


def carriers(stack: ExitStack, kind: str, version: int, mtu: int = 1500) -> Pair:
    """Two hosts on one cable, each with a station on one network."""
    bed = stack.enter_context(Bed(hosts=2, direct=True, mtu=mtu))
    first, second = (
        stack.enter_context(Carrier(host, kind, version=version, mtu=mtu - OVERHEAD[version]))
        for host in bed.hosts
    )
    connect(first, second)
    return first, second


@pytest.fixture(scope="module", params=DATAPATHS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which datapath."""
    return str(request.param)


@pytest.fixture(scope="module", params=[4, 6], ids=["over-ipv4", "over-ipv6"])
def pair(request: pytest.FixtureRequest, kind: str) -> Iterator[Pair]:
    """A pair that the tests of this module share."""
    with ExitStack() as stack:
        yield carriers(stack, kind, request.param)


# What is dropped while stations come up: devices say hello before anybody is there.
EARLY = {DropReason.LINK_DOWN, DropReason.NO_RECEIVER}


def lost(counters: Counters) -> set[DropReason]:
    """The reasons that no test here should see."""
    return set(counters.drops) - EARLY


@pytest.mark.parametrize("version", [0, 1], ids=["ipv4", "ipv6"])
def test_stations_ping_each_other(pair: Pair, version: int) -> None:
    first, second = pair
    assert ping(first.station, second.station.addresses[version]) is not None
    assert ping(second.station, first.station.addresses[version]) is not None


@pytest.mark.parametrize("version", [0, 1], ids=["ipv4", "ipv6"])
def test_a_tcp_stream_arrives_unchanged(pair: Pair, version: int) -> None:
    first, second = pair
    address = second.station.addresses[version]
    before = second.stats.tunnels[VNI].delivered

    done = transfer(first.station, second.station, address, 20_000_003)

    assert done.intact
    assert second.stats.tunnels[VNI].delivered - before >= 20_000_003 // 1_450
    assert lost(first.stats.ports[PortId(1)]) == set()
    assert lost(second.stats.tunnels[VNI]) == set()
    assert first.stats.io["gso_fallbacks"] == 0


def test_streams_both_ways_at_once_arrive_unchanged(pair: Pair) -> None:
    first, second = pair
    with ExitStack() as stack:
        back = stack.enter_context(_Background(second, first))
        there = transfer(first.station, second.station, second.station.addresses[0], 8_000_000)
    assert there.intact
    assert back.done is not None
    assert back.done.intact


def test_datagrams_of_every_size_come_back(pair: Pair) -> None:
    first, second = pair
    for address in second.station.addresses:
        assert exchange(first.station, second.station, address, [1, 22, 1_400, 8_000]) == (4, 4)


def test_a_shout_is_heard(pair: Pair) -> None:
    first, second = pair
    assert shout(first.station, [second.station], socket.AF_INET) == {second.station.label: 1}


@pytest.mark.parametrize("size", [64, 1_000])
def test_datagrams_sent_together_arrive_one_by_one(pair: Pair, size: int) -> None:
    first, second = pair
    receiver = second.station.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender = first.station.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.settimeout(20)
        receiver.bind((second.station.addresses[0], 0))
        sender.setsockopt(socket.SOL_UDP, 103, size)  # UDP_SEGMENT
        payload = b"".join(bytes([n]) * size for n in range(30)) + b"tail"
        sender.sendto(payload, receiver.getsockname())
        got = [receiver.recv(65_535) for _ in range(31)]
    assert b"".join(got) == payload
    assert {len(datagram) for datagram in got[:-1]} == {size}


@pytest.mark.conformance("O1")
@pytest.mark.parametrize("offloads", ["on", "off"])
def test_every_packet_on_the_wire_has_right_checksums(pair: Pair, offloads: str) -> None:
    first, second = pair
    for carrier in pair:
        carrier.station.sandbox.run(["ethtool", "-K", carrier.station.ifname, "tx", offloads])
        tell_kernel_to_finish_packets(carrier.host)
    with Capture(first.host, 4789) as capture:
        for address in second.station.addresses:
            assert ping(first.station, address) is not None
            assert transfer(first.station, second.station, address, 300_000).intact
            assert exchange(first.station, second.station, address, [1, 999]) == (2, 2)
        time.sleep(0.2)
    sightings = capture.sightings()
    assert len(sightings) > 400
    assert [str(s) for s in sightings if not s.inner_checksums_ok] == []
    assert {s.vni for s in sightings} == {VNI}


def test_an_interface_that_goes_down_and_up_is_a_counter_and_no_more(pair: Pair) -> None:
    first, second = pair
    sandbox, ifname = second.station.sandbox, second.station.ifname
    sandbox.run(["ip", "link", "set", ifname, "down"])
    assert ping(first.station, second.station.addresses[0], wait_s=1) is None
    second.until(lambda stats: stats.tunnels[VNI].drops.get(DropReason.LINK_DOWN, 0) > 0)

    sandbox.run(["ip", "link", "set", ifname, "up"])
    assert ping(first.station, second.station.addresses[0], count=5) is not None


def test_the_event_loop_has_its_turn_while_frames_are_carried(pair: Pair) -> None:
    first, second = pair
    late: list[float] = []

    async def watch() -> None:
        for _ in range(100):
            begun = time.monotonic()
            await asyncio.sleep(0.01)
            late.append(time.monotonic() - begun - 0.01)

    with _Background(second, first), _Background(first, second):
        first.do(watch)
    assert sorted(late)[len(late) // 2] < 0.5


@pytest.mark.parametrize("mtu", [1_280, 1_400, 9_000])
@pytest.mark.parametrize("version", [4, 6], ids=["over-ipv4", "over-ipv6"])
def test_any_underlay_mtu_carries_streams(kind: str, version: int, mtu: int) -> None:
    with ExitStack() as stack:
        first, second = carriers(stack, kind, version, mtu)
        addresses = second.station.addresses
        # An IPv6 link has an MTU of 1,280 at least, so a smaller network carries IPv4 only.
        for address in addresses if mtu - OVERHEAD[version] >= 1_280 else addresses[:1]:
            assert transfer(first.station, second.station, address, 3_000_000).intact


@pytest.mark.conformance("O4")
def test_a_full_socket_is_a_reason_and_no_more(kind: str) -> None:
    with ExitStack() as stack:
        first, second = carriers(stack, kind, 4)
        slow = ["tbf", "rate", "20mbit", "burst", "70k", "limit", "100mb"]
        first.host.run(["tc", "qdisc", "add", "dev", UNDERLAY, "root", *slow])
        with first.station.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            target = (second.station.addresses[0], 9)

            def full(stats: Stats) -> bool:
                for _ in range(300):
                    sender.sendto(bytes(1_400), target)
                return DropReason.UNDERLAY_FULL in stats.ports[PortId(1)].drops

            first.until(full)
        first.until(lambda stats: never_lost(stats.ports[PortId(1)]))
        first.host.run(["tc", "qdisc", "del", "dev", UNDERLAY, "root"])
        assert ping(first.station, second.station.addresses[0], count=3) is not None


@pytest.mark.conformance("O4", "O5", "X10")
@pytest.mark.parametrize("version", [4, 6], ids=["over-ipv4", "over-ipv6"])
def test_a_burst_that_the_kernel_refuses_is_sent_plainly_and_none_is_tried_again(
    kind: str, version: int
) -> None:
    with ExitStack() as stack:
        first, second = carriers(stack, kind, version)
        # Its datagrams are larger now than the device takes, but the last: EINVAL (net/ipv4/udp.c).
        first.host.run(["ip", "link", "set", UNDERLAY, "mtu", "1400"])
        receiver = second.station.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender = first.station.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with receiver, sender:
            receiver.settimeout(20)
            receiver.bind((second.station.addresses[0], 0))
            sender.setsockopt(socket.SOL_UDP, 103, 1_380)  # UDP_SEGMENT
            sender.sendto(bytes(10 * 1_380) + b"tail", receiver.getsockname())
            assert receiver.recv(65_535) == b"tail"
            first.until(lambda stats: stats.io["gso_fallbacks"] == 1)
            first.until(lambda stats: stats.ports[PortId(1)].drops[DropReason.TOO_BIG] == 10)

            sender.setsockopt(socket.SOL_UDP, 103, 1_000)
            sender.sendto(bytes(10 * 1_000), receiver.getsockname())
            assert [len(receiver.recv(65_535)) for _ in range(10)] == [1_000] * 10
        assert first.stats.io["gso_fallbacks"] == 1
        first.until(lambda stats: never_lost(stats.ports[PortId(1)]))


@pytest.mark.conformance("X10", "X1", "X7")
def test_nothing_on_the_wire_may_be_fragmented(pair: Pair) -> None:
    first, second = pair
    with Capture(first.host, 4789) as capture:
        for address in second.station.addresses:
            assert exchange(first.station, second.station, address, [1, 1_400, 8_000]) == (3, 3)
    outers = [Ether(packet).payload for packet in capture.packets()]
    assert outers
    for outer in outers:
        if isinstance(outer, IP):
            assert outer.flags == "DF"
            assert outer.frag == 0
        else:
            assert outer.nh == socket.IPPROTO_UDP  # no fragment header
        assert 49_152 <= outer[UDP].sport <= 65_535


def test_a_deleted_device_leaves_the_datapath_running(kind: str) -> None:
    with ExitStack() as stack:
        first, second = carriers(stack, kind, 4)
        assert ping(first.station, second.station.addresses[0]) is not None
        second.station.sandbox.run(["ip", "link", "del", second.station.ifname])
        second.until(lambda stats: stats.io["link_errors"] > 0)
        assert ping(first.station, second.station.addresses[0], wait_s=1) is None
        assert second.stats.tunnels[VNI].drops[DropReason.LINK_DOWN] > 0
        second.do(lambda: second.datapath.remove_port(PortId(1)))
        assert second.do(second.datapath.fdb) != []


class _Background:
    """A transfer in a thread of its own, over when the block is left."""

    def __init__(self, source: Carrier, target: Carrier) -> None:
        self._pool = ThreadPoolExecutor(1)
        address = target.station.addresses[1]
        self._future = self._pool.submit(
            transfer, source.station, target.station, address, 8_000_000
        )
        self.done: Transfer | None = None

    def __enter__(self) -> "_Background":
        return self

    def __exit__(self, *_: object) -> None:
        self.done = self._future.result(60)
        self._pool.shutdown()
