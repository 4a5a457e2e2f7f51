"""The contract: checksums, super-frames and marks, on their way out and in."""

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.datapath.conftest import StageMaker
from tests.datapath.stage import MTU, VNI, Stage, mac
from tests.helpers.frames import is_sound, plain_frame, pseudo_sum, super_frame
from vxnet.datapath.base import Segment
from vxnet.switch.actions import DropReason, PortId
from vxnet.wire import virtio, vxlan
from vxnet.wire.virtio import Flag, Gso, VnetHeader

HEADER = vxlan.build(VNI)
# The tests' flow goes from A to B: here port 0x0a is A, and 0x0b is B.
A, B = 0x0A, 0x0B


def tcp(index: int = 0, size: int = 1_000, flags: str = "A") -> TCP:
    return TCP(sport=1, dport=2, seq=5_000 + index * size, ack=9, flags=flags, window=500)


@pytest.mark.conformance("O1")
@pytest.mark.parametrize("size", [0, 1, 2, 777, 1_200])
@pytest.mark.parametrize("layer", [tcp(), UDP(sport=1, dport=2)], ids=["tcp", "udp"])
@pytest.mark.parametrize("version", [4, 6])
async def test_checksums_left_to_us_are_completed(
    stage: Stage, version: int, layer: Packet, size: int
) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    whole = plain_frame(version, layer, (bytes(range(256)) * 5)[:size])
    at = 14 + (20 if version == 4 else 40)
    offset = 16 if isinstance(layer, TCP) else 6
    left = bytearray(whole)
    left[at + offset : at + offset + 2] = pseudo_sum(Ether(whole))
    vnet = VnetHeader(Flag.NEEDS_CHECKSUM, 0, 0, 0, at, offset)
    link.send(bytes(left), virtio.build(vnet))

    (arrived,) = await remote.receive(1)

    assert arrived.frame == whole


@pytest.mark.conformance("O1")
async def test_checksums_that_are_right_already_are_left_alone(stage: Stage) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    frames = [
        plain_frame(4, ICMP(), b"ping"),
        plain_frame(6, ICMPv6EchoRequest(data=b"ping")),
        plain_frame(4, tcp(), b"x"),
    ]
    for frame in frames:
        link.send(frame, virtio.build(VnetHeader(Flag.DATA_VALID)))
    assert [arrived.frame for arrived in await remote.receive(3)] == frames


@pytest.mark.parametrize("start", [60, 65_535])
async def test_a_checksum_asked_for_outside_the_frame_drops_it(stage: Stage, start: int) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    vnet = VnetHeader(Flag.NEEDS_CHECKSUM, 0, 0, 0, start, 16)
    link.send(plain_frame(4, tcp(), b"x"), virtio.build(vnet))
    counters = await stage.counted(lambda s: s.ports[PortId(A)], 1)
    assert counters.drops == {DropReason.FRAME_MALFORMED: 1}
    assert remote.poll() is None


@pytest.mark.conformance("O1", "O3")
@pytest.mark.parametrize("mss", [536, 1_001, 1_398])
@pytest.mark.parametrize("version", [4, 6])
async def test_a_super_frame_leaves_as_the_frames_its_sender_asked_for(
    stage: Stage, version: int, mss: int
) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    payload = np.random.default_rng(mss).bytes(60_001)
    frame, vnet = super_frame(version, tcp(flags="PA"), payload, min(mss, 1_370))
    link.send(frame, virtio.build(vnet))
    count = -(-60_001 // min(mss, 1_370))

    arrived = await remote.receive(count)

    frames = [Ether(one.frame) for one in arrived]
    assert all(one.header == HEADER for one in arrived)
    assert len({one.source_port for one in arrived}) == 1
    assert all(is_sound(f) for f in frames)
    assert b"".join(bytes(f[TCP].payload) for f in frames) == payload
    assert all(len(f[TCP].payload) == min(mss, 1_370) for f in frames[:-1])
    counters = await stage.counted(lambda s: s.ports[PortId(A)], count)
    assert counters.sent == count
    assert counters.received_bytes == sum(len(one.frame) for one in arrived)
    assert stage.stats.peers[remote.vtep].out == count
    assert stage.stats.peers[remote.vtep].out_bytes == counters.received_bytes


@pytest.mark.conformance("O1", "O3")
@pytest.mark.parametrize("version", [4, 6])
async def test_datagrams_that_travel_together_are_cut_too(stage: Stage, version: int) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    payload = np.random.default_rng(1).bytes(30_500)
    frame, vnet = super_frame(version, UDP(sport=1, dport=2), payload, 1_000)
    link.send(frame, virtio.build(vnet))

    frames = [Ether(one.frame) for one in await remote.receive(31)]

    assert all(is_sound(f) for f in frames)
    assert b"".join(bytes(f[UDP].payload) for f in frames) == payload


async def test_a_flooded_super_frame_reaches_every_host(stage: Stage) -> None:
    link, neighbour = stage.port(A), stage.port(1)
    remotes = [stage.remote(f"127.0.0.{n}") for n in (2, 3)]  # nobody knows where B is
    frame, vnet = super_frame(4, tcp(), bytes(10_000), 1_000)
    link.send(frame, virtio.build(vnet))

    assert await stage.frames(neighbour, 1) == [(virtio.build(vnet), frame)]
    for remote in remotes:
        assert len(await remote.receive(10)) == 10
    counters = await stage.counted(lambda s: s.ports[PortId(A)], 10)
    assert counters.flooded == 10
    assert stage.stats.ports[PortId(1)].out == 10


async def test_a_super_frame_for_a_port_of_this_host_is_passed_as_it_is(stage: Stage) -> None:
    one, two = stage.port(A), stage.port(B)
    frame, vnet = super_frame(4, tcp(), bytes(50_000), 1_400)
    one.send(frame, virtio.build(vnet))

    assert await stage.frames(two, 1) == [(virtio.build(vnet), frame)]
    counters = await stage.counted(lambda s: s.ports[PortId(A)], 36)
    assert counters.delivered == 36
    assert stage.stats.ports[PortId(B)].out == 36


async def test_a_checksum_is_left_open_between_ports_of_one_host(stage: Stage) -> None:
    one, two = stage.port(A), stage.port(B)
    vnet = virtio.build(VnetHeader(Flag.NEEDS_CHECKSUM, 0, 0, 0, 34, 16))
    frame = plain_frame(4, tcp(), b"x" * 50)
    one.send(frame, vnet)
    assert await stage.frames(two, 1) == [(vnet, frame)]


async def test_segments_larger_than_the_network_carries_are_dropped(stage: Stage) -> None:
    link = stage.port(A)
    stage.remote("127.0.0.2", B)
    frame, vnet = super_frame(4, tcp(), bytes(20_000), 1_411)
    link.send(frame, virtio.build(vnet))
    counters = await stage.counted(lambda s: s.ports[PortId(A)], 15)
    assert counters.drops == {DropReason.TOO_BIG: 15}


@pytest.mark.conformance("X10")
async def test_the_sender_of_a_frame_too_big_is_told_what_fits(stage: Stage) -> None:
    link, _ = stage.port(A), stage.remote("127.0.0.2", B)
    link.send(plain_frame(4, tcp(), bytes(1_450)))
    ((_, told),) = await stage.frames(link, 1)
    assert Ether(told)[ICMP].nexthopmtu == MTU

    frame, vnet = super_frame(6, tcp(), bytes(9_000), 1_400)
    link.send(frame, virtio.build(vnet))
    ((_, told),) = await stage.frames(link, 1)
    assert Ether(told)[ICMPv6PacketTooBig].mtu == MTU
    counters = await stage.counted(lambda s: s.ports[PortId(A)], 8)
    assert counters.drops == {DropReason.TOO_BIG: 8}


async def test_a_stream_of_frames_too_big_is_not_answered_one_by_one(stage: Stage) -> None:
    link, _ = stage.port(A), stage.remote("127.0.0.2", B)
    for _ in range(400):
        link.send(plain_frame(4, tcp(), bytes(1_450)))
    await stage.counted(lambda s: s.ports[PortId(A)], 400)
    await stage.until(lambda: stage.stats.ports[PortId(A)].out >= 100)
    assert stage.stats.ports[PortId(A)].out < 300


@pytest.mark.parametrize(
    "vnet",
    [
        VnetHeader(gso_type=Gso.TCP6, gso_size=1_000),
        VnetHeader(gso_type=Gso.TCP4, gso_size=0),
        VnetHeader(gso_type=Gso.UDP_FRAGMENTS, gso_size=1_000),
        VnetHeader(gso_type=0x55, gso_size=1_000),
    ],
)
async def test_a_super_frame_that_contradicts_itself_is_dropped(
    stage: Stage, vnet: VnetHeader
) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    frame, _ = super_frame(4, tcp(), bytes(30_000), 1_000)
    link.send(frame, virtio.build(vnet))
    await stage.until(lambda: stage.stats.ports[PortId(A)].drops != {})
    assert set(stage.stats.ports[PortId(A)].drops) == {DropReason.FRAME_MALFORMED}
    assert remote.poll() is None


def _burst(version: int, layers: list[Packet], size: int, **ip: int) -> list[bytes]:
    return [
        HEADER + plain_frame(version, layer, bytes([n]) * size, **ip)
        for n, layer in enumerate(layers)
    ]


@pytest.mark.conformance("O2")
@pytest.mark.parametrize("version", [4, 6])
async def test_a_burst_of_segments_arrives_as_one_super_frame(stage: Stage, version: int) -> None:
    link, remote = stage.port(B), stage.remote("127.0.0.2", A)
    burst = _burst(version, [tcp(n, flags="A" if n < 9 else "PA") for n in range(10)], 1_000)
    remote.send_burst(stage.vtep, burst)

    ((header, frame),) = await stage.frames(link, 1)

    vnet = virtio.parse(header)
    assert vnet.gso_type == (Gso.TCP4 if version == 4 else Gso.TCP6)
    assert vnet.gso_size == 1_000
    assert vnet.flags == Flag.NEEDS_CHECKSUM
    assert "P" in Ether(frame)[TCP].flags
    assert bytes(Ether(frame)[TCP].payload) == b"".join(bytes([n]) * 1_000 for n in range(10))
    counters = await stage.counted(lambda s: s.tunnels[VNI], 10)
    assert counters.delivered == 10
    assert counters.received_bytes == sum(len(d) - 8 for d in burst)
    assert stage.stats.ports[PortId(B)].out_bytes == counters.received_bytes


async def test_a_burst_of_datagrams_arrives_as_one_where_the_host_takes_it(stage: Stage) -> None:
    link, remote = stage.port(B), stage.remote("127.0.0.2", A)
    burst = _burst(4, [UDP(sport=1, dport=2)] * 20, 60)
    remote.send_burst(stage.vtep, burst)

    ((header, frame),) = await stage.frames(link, 1)

    assert virtio.parse(header).gso_type == Gso.UDP
    assert virtio.parse(header).gso_size == 60
    assert bytes(Ether(frame)[UDP].payload) == b"".join(bytes([n]) * 60 for n in range(20))


async def test_datagrams_come_one_by_one_to_a_host_that_takes_no_others(stage: Stage) -> None:
    link, remote = stage.port(B, uso=False), stage.remote("127.0.0.2", A)
    burst = _burst(4, [UDP(sport=1, dport=2)] * 20, 60)
    remote.send_burst(stage.vtep, burst)
    arrived = await stage.frames(link, 20)
    assert arrived == [(bytes(10), datagram[8:]) for datagram in burst]


@pytest.mark.conformance("O2")
async def test_frames_that_must_not_be_joined_arrive_as_they_were_sent(stage: Stage) -> None:
    link, remote = stage.port(B), stage.remote("127.0.0.2", A)
    layers = [tcp(0), tcp(1), tcp(3), tcp(2, flags="SA"), tcp(4, flags="UA")]
    burst = _burst(4, layers, 500)
    damaged = bytearray(burst[1])
    damaged[-1] ^= 1
    burst[1] = bytes(damaged)
    remote.send_burst(stage.vtep, burst)

    arrived = await stage.frames(link, 5)

    assert arrived == [(bytes(10), datagram[8:]) for datagram in burst]


@pytest.mark.conformance("O2")
async def test_what_one_host_cuts_another_joins_without_a_change(stage: Stage) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    receiver = stage.port(0xBB, station=None)
    payload = np.random.default_rng(3).bytes(45_678)
    frame, vnet = super_frame(4, tcp(flags="PA"), payload, 1_300, number=77)
    link.send(frame, virtio.build(vnet))
    datagrams = [one.header + one.frame for one in await remote.receive(36)]

    stage.datapath.remove_port(PortId(A))
    stage.datapath.remove_port(PortId(0xBB))
    assert receiver.fds == ()
    back = stage.port(0xCC, station=mac(B))
    stage.join(remote, A)
    remote.send_burst(stage.vtep, datagrams)
    ((header, joined),) = await stage.frames(back, 1)

    assert virtio.parse(header) == vnet
    at = vnet.checksum_start + vnet.checksum_offset
    assert joined[:at] + joined[at + 2 :] == frame[:at] + frame[at + 2 :]


# RFC 6040 §4.2: by the inner and the outer mark, what is passed on; None is a drop.
NOT_ECT, ECT1, ECT0, CE = range(4)
DECAPSULATED: dict[tuple[int, int], int | None] = {
    (NOT_ECT, NOT_ECT): NOT_ECT,
    (NOT_ECT, ECT0): NOT_ECT,
    (NOT_ECT, ECT1): NOT_ECT,
    (NOT_ECT, CE): None,
    (ECT0, NOT_ECT): ECT0,
    (ECT0, ECT0): ECT0,
    (ECT0, ECT1): ECT1,
    (ECT0, CE): CE,
    (ECT1, NOT_ECT): ECT1,
    (ECT1, ECT0): ECT1,
    (ECT1, ECT1): ECT1,
    (ECT1, CE): CE,
    (CE, NOT_ECT): CE,
    (CE, ECT0): CE,
    (CE, ECT1): CE,
    (CE, CE): CE,
}


@pytest.mark.conformance("E2")
@pytest.mark.parametrize("version", [4, 6])
async def test_congestion_marks_are_brought_in_by_the_table(stage: Stage, version: int) -> None:
    link, remote = stage.port(B), stage.remote("127.0.0.2", A)
    for inner, outer in DECAPSULATED:
        datagram = HEADER + plain_frame(version, tcp(), b"marked", tos=0xB8 | inner)
        remote.send(stage.vtep, datagram, tos=outer)

    passed_on = [mark for mark in DECAPSULATED.values() if mark is not None]
    arrived = [Ether(frame) for _, frame in await stage.frames(link, len(passed_on))]

    assert [_tos(f) for f in arrived] == [0xB8 | m for m in passed_on]
    assert all(is_sound(f) for f in arrived)
    counters = await stage.counted(lambda s: s.tunnels[VNI], 16)
    assert counters.drops == {DropReason.ECN_CONGESTED: 1}


@pytest.mark.conformance("E2")
@pytest.mark.parametrize("version", [4, 6])
async def test_a_marked_burst_is_marked_throughout_and_still_joined(
    stage: Stage, version: int
) -> None:
    link, remote = stage.port(B), stage.remote("127.0.0.2", A)
    burst = _burst(version, [tcp(n) for n in range(8)], 1_000, tos=ECT0)
    remote.send_burst(stage.vtep, burst, tos=CE)

    ((header, frame),) = await stage.frames(link, 1)

    assert virtio.parse(header).gso_size == 1_000
    assert _tos(Ether(frame)) == CE


@pytest.mark.conformance("E1")
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("inner", [NOT_ECT, ECT1, ECT0, CE])
async def test_the_outer_mark_is_the_inner_one(stage: Stage, version: int, inner: int) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    link.send(plain_frame(version, tcp(), b"x", tos=inner))
    frame, vnet = super_frame(version, tcp(), bytes(3_000), 1_000, tos=inner)
    link.send(frame, virtio.build(vnet))
    assert {one.tos & 3 for one in await remote.receive(4)} == {inner}


async def test_all_of_it_works_over_ipv6_too(make_stage: StageMaker) -> None:
    stage = await make_stage(version=6)
    link, remote = stage.port(A), stage.remote("::1", B)
    frame, vnet = super_frame(6, tcp(), bytes(60_000), 1_300, tos=ECT1)
    link.send(frame, virtio.build(vnet))
    arrived = await remote.receive(47)
    assert all(is_sound(Ether(one.frame)) for one in arrived)
    assert {one.tos & 3 for one in arrived} == {ECT1}

    stage.datapath.remove_port(PortId(A))
    link = stage.port(1, station=mac(B))
    stage.join(remote, A)
    remote.send_burst(stage.vtep, _burst(4, [tcp(n) for n in range(8)], 1_000, tos=ECT0), tos=CE)
    ((header, joined),) = await stage.frames(link, 1)
    assert virtio.parse(header).gso_size == 1_000
    assert _tos(Ether(joined)) == CE


@pytest.mark.conformance("E1")
async def test_what_is_not_ip_has_no_mark(stage: Stage) -> None:
    stage.datapath.set_segment(Segment(VNI, 1_450))
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    link.send(mac(B) + mac(A) + b"\x88\xb5" + b"\xff" * 60)
    (arrived,) = await remote.receive(1)
    assert arrived.tos == 0


async def test_small_frames_of_a_flow_keep_their_order_and_their_sizes(stage: Stage) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    frames = [
        plain_frame(4, UDP(sport=1, dport=2), bytes([n]) * (64 if n % 7 else 20 + n))
        for n in range(200)
    ]
    for frame in frames:
        link.send(frame)
    assert [one.frame for one in await remote.receive(200)] == frames
    counters = await stage.counted(lambda s: s.ports[PortId(A)], 200)
    assert counters.sent == 200


async def test_a_mark_amid_a_flow_changes_no_order(stage: Stage) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    frames = [
        plain_frame(4, tcp(n, size=100), bytes([n]) * 100, tos=CE if n % 5 == 2 else ECT0)
        for n in range(60)
    ]
    for frame in frames:
        link.send(frame)
    arrived = await remote.receive(60)
    assert [one.frame for one in arrived] == frames
    assert [one.tos & 3 for one in arrived] == [CE if n % 5 == 2 else ECT0 for n in range(60)]


def _tos(frame: Packet) -> int:
    mark: int = frame[IP].tos if frame.haslayer(IP) else frame[IPv6].tc
    return mark
