"""The contract: what the way to each peer carries, and what is told to those who send more."""

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig
from scapy.layers.l2 import Ether

from tests.datapath.stage import MTU, VNI, Stage, ethernet_frame, mac
from tests.helpers.frames import is_sound, plain_frame, super_frame
from vxnet.datapath.base import Segment
from vxnet.switch.actions import DropReason, PortId
from vxnet.wire import ip, virtio, vxlan
from vxnet.wire.addr import BROADCAST, Vni
from vxnet.wire.checksum import total

A, B = 0x0A, 0x0B
HEADER = vxlan.build(VNI)
FIXED = {4: 40, 6: 60}


def mss(frame: bytes) -> int:
    asked: int = dict(Ether(frame)[TCP].options)["MSS"]
    return asked


def syn(version: int, flags: str = "S", asked: int = 8_960) -> bytes:
    return plain_frame(version, TCP(flags=flags, options=[("MSS", asked), ("WScale", 7)]))


@pytest.mark.conformance("M3")
@pytest.mark.parametrize("path", [None, 1_300])
@pytest.mark.parametrize("version", [4, 6])
async def test_what_connects_asks_for_segments_that_fit_the_way_back(
    stage: Stage, version: int, path: int | None
) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    stage.datapath.set_path(remote.vtep, None if path is None else path + 14)
    fits = (path or MTU) - FIXED[version]

    link.send(syn(version))
    [out] = await remote.receive(1)
    answer = syn(version, "SA")
    remote.send(stage.vtep, HEADER + mac(A) + mac(B) + answer[12:])
    [(_, back)] = await stage.frames(link, 1)

    for frame in (out.frame, back):
        assert mss(frame) == fits
        assert is_sound(Ether(frame))


@pytest.mark.conformance("M3")
async def test_the_checksum_of_a_syn_is_completed_with_what_it_asks_for(stage: Stage) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    frame = bytearray(syn(4))
    packet = ip.locate(frame)
    assert packet is not None
    pseudo = ip.pseudo_header(*ip.addresses(frame, packet), packet.protocol, len(frame) - 34)
    frame[50:52] = total(pseudo).to_bytes(2, "big")
    link.send(bytes(frame), virtio.build(virtio.VnetHeader(1, 0, 0, 0, 34, 16)))
    [out] = await remote.receive(1)
    assert mss(out.frame) == MTU - 40
    assert is_sound(Ether(out.frame))


@pytest.mark.conformance("X10", "M2")
@pytest.mark.parametrize("version", [4, 6])
async def test_what_the_way_does_not_carry_is_dropped_and_its_sender_told(
    stage: Stage, version: int
) -> None:
    link, near, far = stage.port(A), stage.remote("127.0.0.2", B), stage.remote("127.0.0.3", 0x0C)
    stage.datapath.set_path(near.vtep, 14 + 1_300)
    frame, vnet = super_frame(version, TCP(flags="A"), bytes(5_000), 1_450 - FIXED[version])

    link.send(plain_frame(version, UDP(), bytes(1_350)))
    link.send(frame, virtio.build(vnet))
    link.send(mac(0x0C) + frame[6:], virtio.build(vnet))

    for _, told in await stage.frames(link, 2):
        if version == 4:
            assert Ether(told)[ICMP].nexthopmtu == 1_300
        else:
            assert Ether(told)[ICMPv6PacketTooBig].mtu == 1_300
        assert is_sound(Ether(told))
    assert len(await far.receive(4)) == 4  # it is that one way only
    counters = await stage.counted(lambda stats: stats.ports[PortId(A)], 9)
    assert counters.drops == {DropReason.TOO_BIG: 5}
    assert near.poll() is None


async def test_a_way_that_carries_more_again_is_used(stage: Stage) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    stage.datapath.set_path(remote.vtep, 14 + 1_300)
    stage.datapath.set_path(remote.vtep, None)
    link.send(ethernet_frame(mac(B), mac(A), bytes(MTU)))
    [out] = await remote.receive(1)
    assert len(out.frame) == 14 + MTU


async def test_a_copy_that_does_not_fit_one_way_goes_the_others(stage: Stage) -> None:
    link, near, far = stage.port(A), stage.remote("127.0.0.2"), stage.remote("127.0.0.3")
    stage.datapath.set_path(near.vtep, 14 + 1_300)
    link.send(ethernet_frame(BROADCAST, mac(A), bytes(1_400)))
    assert len(await far.receive(1)) == 1
    await stage.until(lambda: stage.stats.io["copies_lost"] == 1)
    assert near.poll() is None


@pytest.mark.conformance("E3")
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("dscp", "outer"), [(0, 0), (46, 46), (None, 26)])
async def test_the_outer_class_is_what_the_network_says(
    stage: Stage, version: int, dscp: int | None, outer: int
) -> None:
    stage.datapath.set_segment(Segment(VNI, MTU, dscp=dscp))
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    frame = plain_frame(version, UDP(), b"x", tos=26 << 2 | 1)
    cut, vnet = super_frame(version, TCP(flags="A"), bytes(3_000), 1_000, tos=26 << 2 | 1)

    link.send(frame)
    link.send(cut, virtio.build(vnet))
    for arrived in await remote.receive(4):
        assert arrived.tos == outer << 2 | 1
        inner = Ether(arrived.frame).payload
        assert (inner.tos if version == 4 else inner.tc) == 26 << 2 | 1

    # The other way the outer code point changes nothing, and its mark alone comes in.
    remote.send(stage.vtep, HEADER + mac(A) + mac(B) + frame[12:], tos=12 << 2 | 3)
    [(_, back)] = await stage.frames(link, 1)
    inner = Ether(back).payload
    assert (inner.tos if version == 4 else inner.tc) == 26 << 2 | 3


@pytest.mark.conformance("E3")
async def test_what_is_not_ip_has_the_fixed_class_or_none(stage: Stage) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    for dscp, outer in ((46, 46), (None, 0)):
        stage.datapath.set_segment(Segment(VNI, MTU, dscp=dscp))
        link.send(ethernet_frame(mac(B), mac(A)))
        [arrived] = await remote.receive(1)
        assert arrived.tos == outer << 2


@pytest.mark.conformance("X16")
async def test_frames_of_strangers_are_counted_by_their_source(stage: Stage) -> None:
    stage.port(A)
    one, other = stage.remote("127.0.0.2", vni=Vni(9)), stage.remote("127.0.0.3", vni=Vni(9))
    datagram = HEADER + ethernet_frame(mac(A), mac(B))
    for _ in range(3):
        one.send(stage.vtep, datagram)
    other.send_burst(stage.vtep, [datagram] * 4)
    await stage.until(lambda: stage.stats.strangers == {one.vtep.ip: 3, other.vtep.ip: 4})
    counters = await stage.counted(lambda stats: stats.tunnels[VNI], 7)
    assert counters.drops == {DropReason.UNKNOWN_VTEP: 7}


@pytest.mark.conformance("X16")
async def test_a_network_may_learn_its_vteps_from_what_they_send(stage: Stage) -> None:
    stage.datapath.set_segment(Segment(VNI, MTU, learn_vteps=True))
    link = stage.port(A)
    stranger = stage.remote("127.0.0.2", vni=Vni(9))
    datagram = HEADER + ethernet_frame(mac(A), mac(B))
    stranger.send(stage.vtep, datagram)
    await stage.until(lambda: bool(stage.heard))
    assert [(event.vni, event.ip) for event in stage.heard] == [(VNI, stranger.vtep.ip)]
    stage.join(stranger, learning=True)
    stranger.send(stage.vtep, datagram)
    [(_, frame)] = await stage.frames(link, 1)
    assert frame == datagram[8:]
