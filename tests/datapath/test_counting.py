"""The contract: whatever comes in, every frame ends in exactly one counter."""

from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import TCP, UDP

from tests.datapath.conftest import StageMaker
from tests.datapath.stage import VNI, Stage, ethernet_frame, mac, never_lost
from tests.helpers.frames import plain_frame, super_frame
from vxnet.datapath.base import Counters, Segment
from vxnet.switch.actions import PortId
from vxnet.wire import virtio, vxlan
from vxnet.wire.addr import BROADCAST, Vni

A, B, NEIGHBOUR = 0x0A, 0x0B, 0x01
HEADER = vxlan.build(VNI)

_PLAIN = bytes(10)
_TCP, _TCP_VNET = super_frame(4, TCP(flags="A"), bytes(range(250)) * 40, 1_000)
_UDP, _UDP_VNET = super_frame(6, UDP(), bytes(5_000), 1_000)
_TO_NEIGHBOUR, _ = super_frame(4, TCP(flags="A"), bytes(10_000), 1_000)
_TO_NEIGHBOUR = mac(NEIGHBOUR) + _TO_NEIGHBOUR[6:]
_FLOODED = BROADCAST + _TCP[6:]


class Sent(NamedTuple):
    """Something a host sends, and how many frames it stands for."""

    vnet: bytes
    frame: bytes
    frames: int


FROM_LINK = [
    Sent(_PLAIN, ethernet_frame(mac(B), mac(A)), 1),
    Sent(_PLAIN, ethernet_frame(mac(NEIGHBOUR), mac(A)), 1),
    Sent(_PLAIN, ethernet_frame(BROADCAST, mac(A)), 1),
    Sent(_PLAIN, ethernet_frame(mac(A), mac(A)), 1),
    Sent(_PLAIN, ethernet_frame(mac(B), mac(0x77)), 1),
    Sent(_PLAIN, ethernet_frame(mac(B), mac(A), bytes(1_451)), 1),
    Sent(_PLAIN, ethernet_frame(mac(B), mac(A), b"\0\5\x08\0", 0x8100), 1),
    Sent(_PLAIN, b"\0" * 13, 1),
    Sent(_PLAIN, plain_frame(4, TCP(flags="S")), 1),
    Sent(b"\0" * 5, b"", 1),
    Sent(virtio.build(virtio.VnetHeader(1, 0, 0, 0, 999, 6)), ethernet_frame(mac(B), mac(A)), 1),
    Sent(virtio.build(_TCP_VNET), _TCP, 10),
    Sent(virtio.build(_UDP_VNET), _UDP, 5),
    Sent(virtio.build(_TCP_VNET), _TO_NEIGHBOUR, 10),
    Sent(virtio.build(_TCP_VNET), _FLOODED, 10),
    Sent(virtio.build(_TCP_VNET), _UDP, 1),
]

_SEGMENTS = [
    HEADER + plain_frame(4, TCP(flags="A", seq=n * 500), bytes(500), number=n) for n in range(12)
]
_TO_B = [HEADER + mac(NEIGHBOUR) + mac(B) + d[20:] for d in _SEGMENTS]
BURSTS = [
    _TO_B,
    [*_TO_B[:3], *_TO_B[5:9], *_TO_B[1:2]],
    [HEADER + BROADCAST + mac(B) + d[20:] for d in _SEGMENTS[:4]],
    [HEADER + mac(0x55) + mac(B) + d[20:] for d in _SEGMENTS[:3]],
    [HEADER + mac(NEIGHBOUR) + mac(A) + d[20:] for d in _SEGMENTS[:3]],
    [vxlan.build(Vni(9)) + d[8:] for d in _TO_B[:5]],
    [bytes(8) + d[8:] for d in _TO_B[:4]],
    [b"\x08", b"\x08", b"\x08"],
    [HEADER + bytes(30)] * 3,
    [*_TO_B[:4], _TO_B[4][:100]],
    [*_TO_B[:2], _TO_B[4][:9]],
]


async def _play(
    make_stage: StageMaker, sent: list[int], bursts: list[int], marks: list[int]
) -> None:
    stage: Stage = await make_stage()
    stage.datapath.set_segment(Segment(VNI, 1_450))
    link = stage.port(A)
    stage.port(NEIGHBOUR)
    remote = stage.remote("127.0.0.2", B)
    expected = 0
    for index in sent:
        link.send(FROM_LINK[index].frame, FROM_LINK[index].vnet)
        expected += FROM_LINK[index].frames
    for index, mark in zip(bursts, marks, strict=False):
        remote.send_burst(stage.vtep, BURSTS[index], tos=mark)
    datagrams = sum(len(BURSTS[index]) for index in bursts[: len(marks)])

    def arrived() -> int:
        stats = stage.stats
        return stats.tunnels[VNI].received + sum(stats.stray.values())

    await stage.until(lambda: stage.stats.ports[PortId(A)].received == expected)
    await stage.until(lambda: arrived() == datagrams)
    await stage.until(lambda: never_lost(stage.stats.ports[PortId(A)]))
    await stage.until(lambda: never_lost(stage.stats.tunnels[VNI]))
    stats = stage.stats
    peer = stats.peers.get(remote.vtep, Counters())
    assert never_lost(peer)
    assert peer.received == stats.tunnels[VNI].received
    assert peer.out == stats.tunnels[VNI].out
    await stage.close()


@pytest.mark.conformance("N1")
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    sent=st.lists(st.integers(0, len(FROM_LINK) - 1), max_size=25),
    bursts=st.lists(st.integers(0, len(BURSTS) - 1), max_size=12),
    marks=st.lists(st.integers(0, 3), max_size=12),
)
async def test_every_frame_ends_in_exactly_one_counter(
    make_stage: StageMaker, sent: list[int], bursts: list[int], marks: list[int]
) -> None:
    await _play(make_stage, sent, bursts, marks)


@pytest.mark.conformance("N1")
async def test_every_kind_of_frame_at_once_adds_up(make_stage: StageMaker) -> None:
    await _play(make_stage, [*range(len(FROM_LINK))], [*range(len(BURSTS))], [0] * len(BURSTS))
