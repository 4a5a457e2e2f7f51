"""The contract: where frames go, and what their datagrams look like."""

import time

import pytest
from scapy.layers.l2 import ARP, Ether

from tests.datapath.conftest import StageMaker
from tests.datapath.stage import VNI, Stage, ethernet_frame, mac, never_lost
from vxnet.datapath.base import Counters, DatapathSettings, RemoveEntry, Segment, SetEntry
from vxnet.errors import HostError, StateError
from vxnet.switch.actions import DropReason, Forgotten, Learned, PortId
from vxnet.underlay.udp import UdpSettings
from vxnet.wire import vxlan
from vxnet.wire.addr import BROADCAST, VNI_MAX, Vni, Vtep, parse_ip

HEADER = vxlan.build(VNI)


@pytest.mark.conformance("X1")
async def test_a_frame_for_a_remote_station_leaves_as_plain_vxlan(stage: Stage) -> None:
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9)
    frame = ethernet_frame(mac(9), mac(1))
    link.send(frame)

    (arrived,) = await remote.receive(1)

    assert arrived.header == bytes.fromhex("0800000000002a00")
    assert arrived.frame == frame
    assert 49152 <= arrived.source_port <= 65535
    counters = await stage.counted(lambda s: s.ports[PortId(1)], 1)
    assert counters.sent == 1
    assert counters.received_bytes == len(frame)
    assert stage.stats.peers[remote.vtep].out == 1
    assert stage.stats.peers[remote.vtep].out_bytes == len(frame)


async def test_a_datagram_becomes_a_frame_of_its_station(stage: Stage) -> None:
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9)
    frame = ethernet_frame(mac(1), mac(9))
    remote.send(stage.vtep, HEADER + frame)

    assert await stage.frames(link, 1) == [(bytes(10), frame)]
    counters = await stage.counted(lambda s: s.tunnels[VNI], 1)
    assert counters.delivered == 1
    assert stage.stats.ports[PortId(1)].out == 1
    assert stage.stats.peers[remote.vtep].received == 1


async def test_ports_of_one_host_talk_without_the_underlay(stage: Stage) -> None:
    one, two, remote = stage.port(1), stage.port(2), stage.remote("127.0.0.2", 9)
    frame = ethernet_frame(mac(2), mac(1))
    one.send(frame)

    assert await stage.frames(two, 1) == [(bytes(10), frame)]
    counters = await stage.counted(lambda s: s.ports[PortId(1)], 1)
    assert counters.delivered == 1
    assert remote.poll() is None
    assert one.receive() is None


@pytest.mark.conformance("X12")
async def test_a_flooded_frame_reaches_everybody_else_once(stage: Stage) -> None:
    one, two, three = (stage.port(n) for n in (1, 2, 3))
    remotes = [stage.remote(f"127.0.0.{n}", n + 10) for n in (2, 3)]
    frame = ethernet_frame(BROADCAST, mac(1))
    one.send(frame)

    for link in (two, three):
        assert await stage.frames(link, 1) == [(bytes(10), frame)]
    for remote in remotes:
        (arrived,) = await remote.receive(1)
        assert arrived.frame == frame
        assert remote.poll() is None
    assert one.receive() is None
    counters = await stage.counted(lambda s: s.ports[PortId(1)], 1)
    assert counters.flooded == 1


@pytest.mark.conformance("X12")
async def test_what_comes_out_of_a_tunnel_never_goes_into_one(stage: Stage) -> None:
    link = stage.port(1)
    first, second = stage.remote("127.0.0.2", 9), stage.remote("127.0.0.3", 8)
    first.send(stage.vtep, HEADER + ethernet_frame(BROADCAST, mac(9)))
    first.send(stage.vtep, HEADER + ethernet_frame(mac(8), mac(9)))

    await stage.frames(link, 1)
    counters = await stage.counted(lambda s: s.tunnels[VNI], 2)
    assert counters.flooded == 1
    assert counters.drops == {DropReason.SPLIT_HORIZON: 1}
    assert second.poll() is None
    assert first.poll() is None


@pytest.mark.conformance("X4")
async def test_networks_never_leak_into_each_other(stage: Stage) -> None:
    other = Vni(43)
    stage.datapath.set_segment(Segment(other, 1450))
    here, there = stage.port(1), stage.port(2, vni=other, station=mac(1))
    remote = stage.remote("127.0.0.2", 9)
    stage.join(remote, 9, vni=other)
    remote.send(stage.vtep, vxlan.build(other) + ethernet_frame(mac(1), mac(9)))
    remote.send(stage.vtep, vxlan.build(other) + ethernet_frame(BROADCAST, mac(9)))
    there.send(ethernet_frame(mac(9), mac(1)))

    assert len(await stage.frames(there, 2)) == 2
    (arrived,) = await remote.receive(1)
    assert arrived.vni == other
    assert here.receive() is None


@pytest.mark.conformance("X5")
@pytest.mark.parametrize("vni", [0, 1, 0x123456, VNI_MAX])
async def test_every_vni_makes_the_way_there_and_back(stage: Stage, vni: int) -> None:
    stage.datapath.set_segment(Segment(Vni(vni), 1450))
    link, remote = stage.port(1, vni=Vni(vni)), stage.remote("127.0.0.2", 9, vni=Vni(vni))
    link.send(ethernet_frame(mac(9), mac(1)))
    (arrived,) = await remote.receive(1)
    assert arrived.header == b"\x08\0\0\0" + vni.to_bytes(3, "big") + b"\0"

    remote.send(stage.vtep, arrived.header + ethernet_frame(mac(1), mac(9)))
    await stage.frames(link, 1)


@pytest.mark.conformance("X14")
@pytest.mark.parametrize("size", [0, 1, 46, 1_436, 8_986])
async def test_frames_of_every_size_are_carried_bit_by_bit(stage: Stage, size: int) -> None:
    stage.datapath.set_segment(Segment(VNI, 9_000))
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9)
    payload = bytes(i * 7 % 256 for i in range(size))
    link.send(ethernet_frame(mac(9), mac(1), payload))
    (arrived,) = await remote.receive(1)
    assert arrived.frame == ethernet_frame(mac(9), mac(1), payload)

    back = ethernet_frame(mac(1), mac(9), payload)
    remote.send(stage.vtep, HEADER + back)
    assert await stage.frames(link, 1) == [(bytes(10), back)]


@pytest.mark.conformance("X2")
async def test_reserved_bits_are_ignored_unless_the_network_is_strict(stage: Stage) -> None:
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9, learning=True)
    odd = bytes.fromhex("f7ffffff00002aff")
    odd = bytes([odd[0] | 0x08]) + odd[1:]
    remote.send(stage.vtep, odd + ethernet_frame(mac(1), mac(9)))
    await stage.frames(link, 1)

    stage.datapath.set_segment(Segment(VNI, 1450, strict_reserved=True))
    remote.send(stage.vtep, odd + ethernet_frame(mac(1), mac(9)))
    counters = await stage.counted(lambda s: s.tunnels[VNI], 2)
    assert counters.drops == {DropReason.VXLAN_RESERVED: 1}


@pytest.mark.conformance("X3", "X4")
@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", DropReason.VXLAN_SHORT),
        (HEADER, DropReason.VXLAN_SHORT),
        (HEADER + bytes(13), DropReason.VXLAN_SHORT),
        (bytes(8) + bytes(60), DropReason.VXLAN_NO_VNI_FLAG),
        (vxlan.build(Vni(7)) + bytes(60), DropReason.UNKNOWN_VNI),
    ],
)
async def test_what_is_no_vxlan_of_ours_is_counted_by_what_is_wrong(
    stage: Stage, datagram: bytes, reason: DropReason
) -> None:
    remote = stage.remote("127.0.0.2", 9)
    remote.send(stage.vtep, datagram)
    await stage.until(lambda: stage.stats.stray == {reason: 1})
    assert stage.stats.tunnels[VNI].received == 0


@pytest.mark.conformance("X16")
async def test_strangers_are_dropped_and_counted(stage: Stage) -> None:
    link = stage.port(1)
    stage.remote("127.0.0.2", 9)
    stranger = stage.remote("127.0.0.3", vni=Vni(77))
    stranger.send(stage.vtep, HEADER + ethernet_frame(mac(1), mac(9)))

    counters = await stage.counted(lambda s: s.tunnels[VNI], 1)
    assert counters.drops == {DropReason.UNKNOWN_VTEP: 1}
    assert link.receive() is None


@pytest.mark.conformance("X9")
async def test_a_zero_checksum_is_accepted_over_ipv4(stage: Stage) -> None:
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9)
    remote.leave_checksums_out()
    remote.send(stage.vtep, HEADER + ethernet_frame(mac(1), mac(9)))
    await stage.frames(link, 1)


@pytest.mark.conformance("X8")
async def test_frames_travel_without_outer_checksums_where_asked_for(
    make_stage: StageMaker,
) -> None:
    settings = DatapathSettings(udp=UdpSettings(checksum=False))
    stage = await make_stage(settings=settings)
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9)
    for _ in range(5):
        link.send(ethernet_frame(mac(9), mac(1)))
    assert len(await remote.receive(5)) == 5
    assert (await stage.counted(lambda s: s.ports[PortId(1)], 5)).sent == 5


@pytest.mark.conformance("X8")
@pytest.mark.parametrize("checksum", [True, False])
async def test_over_ipv6_a_zero_checksum_passes_only_where_both_ends_opted_in(
    make_stage: StageMaker, checksum: bool
) -> None:
    stage = await make_stage(version=6, settings=DatapathSettings(UdpSettings(checksum=checksum)))
    link, remote = stage.port(1), stage.remote("::1", 9)
    remote.leave_checksums_out()
    remote.send(stage.vtep, HEADER + ethernet_frame(mac(1), mac(9)))
    if not checksum:
        remote.accept_zero_checksums()
        await stage.frames(link, 1)
    link.send(ethernet_frame(mac(9), mac(1)))
    assert len(await remote.receive(1)) == 1
    assert stage.stats.tunnels[VNI].received == (0 if checksum else 1)


@pytest.mark.conformance("X6")
async def test_another_port_than_4789_works_as_well(make_stage: StageMaker) -> None:
    stage = await make_stage(vxlan_port=14789)
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9)
    link.send(ethernet_frame(mac(9), mac(1)))
    (arrived,) = await remote.receive(1)
    remote.send(stage.vtep, arrived.header + ethernet_frame(mac(1), mac(9)))
    await stage.frames(link, 1)


async def test_the_underlay_may_be_ipv6(make_stage: StageMaker) -> None:
    stage = await make_stage(version=6)
    link, remote = stage.port(1), stage.remote("::1", 9)
    frame = ethernet_frame(mac(9), mac(1))
    link.send(frame)
    (arrived,) = await remote.receive(1)
    assert arrived.frame == frame

    remote.send(stage.vtep, HEADER + ethernet_frame(mac(1), mac(9)))
    await stage.frames(link, 1)


@pytest.mark.conformance("V7")
async def test_known_addresses_are_answered_for_at_once(stage: Stage) -> None:
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9)
    stage.datapath.program([SetEntry(VNI, mac(9), remote.vtep, (parse_ip("10.9.0.9"),))])
    question = Ether(src=mac(1).hex(":"), dst="ff:ff:ff:ff:ff:ff") / ARP(
        hwsrc=mac(1).hex(":"), psrc="10.9.0.1", pdst="10.9.0.9"
    )
    link.send(bytes(question))

    ((vnet, answer),) = await stage.frames(link, 1)

    assert vnet == bytes(10)
    assert Ether(answer)[ARP].hwsrc == mac(9).hex(":")
    counters = await stage.counted(lambda s: s.ports[PortId(1)], 1)
    assert counters.replied == 1
    assert remote.poll() is None


@pytest.mark.conformance("X10")
async def test_a_frame_larger_than_the_network_carries_is_dropped(stage: Stage) -> None:
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9)
    link.send(ethernet_frame(mac(9), mac(1), bytes(1_450)))
    link.send(ethernet_frame(mac(9), mac(1), bytes(1_451)))

    await remote.receive(1)
    counters = await stage.counted(lambda s: s.ports[PortId(1)], 2)
    assert counters.drops == {DropReason.TOO_BIG: 1}


async def test_a_frame_too_short_to_be_one_is_counted(stage: Stage) -> None:
    link = stage.port(1)
    link.send(b"", vnet=b"123")
    link.send(bytes(13))
    counters = await stage.counted(lambda s: s.ports[PortId(1)], 2)
    assert counters.drops == {DropReason.FRAME_SHORT: 2}


@pytest.mark.conformance("V5")
async def test_unknown_stations_are_flooded_to_or_not_as_the_network_says(stage: Stage) -> None:
    link, remote = stage.port(1), stage.remote("127.0.0.2")
    link.send(ethernet_frame(mac(9), mac(1)))
    await remote.receive(1)

    stage.datapath.set_segment(Segment(VNI, 1450, flood_unknown=False))
    link.send(ethernet_frame(mac(9), mac(1)))
    counters = await stage.counted(lambda s: s.ports[PortId(1)], 2)
    assert counters.flooded == 1
    assert counters.drops == {DropReason.UNKNOWN_UNICAST: 1}


@pytest.mark.conformance("X11")
async def test_a_foreign_vtep_is_learned_from_what_it_sends(stage: Stage) -> None:
    link, foreign = stage.port(1), stage.remote("127.0.0.2", learning=True)
    bystander = stage.remote("127.0.0.3")
    foreign.send(stage.vtep, HEADER + ethernet_frame(mac(1), mac(9)))
    await stage.frames(link, 1)
    link.send(ethernet_frame(mac(9), mac(1)))

    await foreign.receive(1)
    await stage.counted(lambda s: s.ports[PortId(1)], 1)
    assert bystander.poll() is None
    (row,) = [row for row in stage.datapath.fdb() if row.mac == mac(9)]
    assert (row.vtep, row.source) == (foreign.vtep, "learned")


async def test_the_control_plane_can_move_and_remove_a_station(stage: Stage) -> None:
    link = stage.port(1)
    first, second = stage.remote("127.0.0.2", 9), stage.remote("127.0.0.3")
    stage.datapath.program([SetEntry(VNI, mac(9), second.vtep)])
    link.send(ethernet_frame(mac(9), mac(1)))
    await second.receive(1)
    assert first.poll() is None

    stage.datapath.program([RemoveEntry(VNI, mac(9))])
    link.send(ethernet_frame(mac(9), mac(1)))
    await first.receive(1)
    await second.receive(1)


async def test_stations_of_unguarded_ports_are_told_to_the_listener(stage: Stage) -> None:
    link = stage.port(1, guarded=False)
    link.send(ethernet_frame(BROADCAST, mac(7)))
    await stage.until(lambda: Learned(VNI, mac(7), PortId(1)) in stage.heard)

    stage.datapath.remove_port(PortId(1))
    await stage.until(lambda: Forgotten(VNI, mac(7), PortId(1)) in stage.heard)
    assert link.fds == ()
    assert stage.datapath.fdb() == []


@pytest.mark.conformance("V14")
async def test_a_guarded_port_speaks_for_its_own_station_only(stage: Stage) -> None:
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9)
    link.send(ethernet_frame(mac(9), mac(7)))
    counters = await stage.counted(lambda s: s.ports[PortId(1)], 1)
    assert counters.drops == {DropReason.PORT_SECURITY: 1}
    assert remote.poll() is None


@pytest.mark.conformance("X13")
async def test_tagged_frames_travel_only_where_the_network_is_transparent(stage: Stage) -> None:
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9)
    tagged = ethernet_frame(mac(9), mac(1), b"\x00\x05\x88\xb5" + bytes(42), 0x8100)
    link.send(tagged)
    counters = await stage.counted(lambda s: s.ports[PortId(1)], 1)
    assert counters.drops == {DropReason.VLAN_TAGGED: 1}

    stage.datapath.set_segment(Segment(VNI, 1450, vlan_transparent=True))
    link.send(tagged)
    (arrived,) = await remote.receive(1)
    assert arrived.frame == tagged


async def test_ids_and_networks_are_checked(stage: Stage) -> None:
    stage.port(1)
    with pytest.raises(StateError):
        stage.port(1, station=mac(2))
    with pytest.raises(StateError):
        stage.port(3, vni=Vni(999))
    with pytest.raises(StateError):
        stage.datapath.remove_segment(VNI)
    stage.datapath.remove_port(PortId(77))
    stage.datapath.remove_port(PortId(1))
    stage.datapath.remove_segment(VNI)


async def test_a_frame_that_waits_while_its_network_goes_is_accounted_for(stage: Stage) -> None:
    other = Vni(43)
    stage.datapath.set_segment(Segment(other, 1450))
    remote = stage.remote("127.0.0.2", 9)
    stage.join(remote, vni=other)
    remote.send(stage.vtep, vxlan.build(other) + ethernet_frame(BROADCAST, mac(9)))
    time.sleep(0.3)  # noqa: ASYNC251 - it is to wait for the switch, which has no turn yet
    stage.datapath.remove_segment(other)

    def ended() -> bool:
        counters = stage.stats.peers.get(remote.vtep, Counters())
        return never_lost(counters) and counters.received + sum(stage.stats.stray.values()) == 1

    await stage.until(ended)


@pytest.mark.conformance("O5")
async def test_a_host_that_went_away_is_a_counter_and_no_more(stage: Stage) -> None:
    one, two, remote = stage.port(1), stage.port(2), stage.remote("127.0.0.2", 9)
    two.unplug()
    one.send(ethernet_frame(mac(2), mac(1)))
    remote.send(stage.vtep, HEADER + ethernet_frame(mac(2), mac(9)))

    counters = await stage.counted(lambda s: s.ports[PortId(1)], 1)
    assert counters.drops == {DropReason.LINK_DOWN: 1}
    counters = await stage.counted(lambda s: s.tunnels[VNI], 1)
    assert counters.drops == {DropReason.LINK_DOWN: 1}
    one.send(ethernet_frame(mac(9), mac(1)))
    await remote.receive(1)


@pytest.mark.conformance("O5")
async def test_a_peer_that_is_not_there_stops_nothing(stage: Stage) -> None:
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9)
    nobody = Vtep(parse_ip("127.0.0.4"), stage.vtep.port)
    stage.datapath.program([SetEntry(VNI, mac(8), nobody)])
    for _ in range(3):
        link.send(ethernet_frame(mac(8), mac(1)))  # answered by ICMP: port unreachable
        link.send(ethernet_frame(mac(9), mac(1)))
    await remote.receive(3)
    await stage.counted(lambda s: s.ports[PortId(1)], 6)


async def test_a_port_in_use_is_one_clear_sentence(make_stage: StageMaker) -> None:
    stage = await make_stage()
    with pytest.raises(HostError, match=f"127.0.0.1:{stage.vtep.port}"):
        await make_stage(vxlan_port=stage.vtep.port)


@pytest.mark.conformance("X7")
async def test_flows_spread_over_source_ports_and_keep_theirs(stage: Stage) -> None:
    link, remote = stage.port(1), stage.remote("127.0.0.2", 9)
    used: dict[int, int] = {}
    for flow in range(1_000):
        packet = bytes.fromhex("45000024000040004011000a0a0900010a090009")
        ports = (1_024 + flow).to_bytes(2, "big") + b"\x12\x34\x00\x10\x00\x00"
        frame = ethernet_frame(mac(9), mac(1), packet + ports + bytes(8), 0x0800)
        link.send(frame)
        link.send(frame)
        one, again = await remote.receive(2)
        assert one.source_port == again.source_port
        assert one.source_port in range(49152, 65536)
        used[one.source_port] = used.get(one.source_port, 0) + 1
    assert len(used) >= 8
    assert max(used.values()) <= 2 * 1_000 / len(used)


async def test_closing_twice_is_closing_once(stage: Stage) -> None:
    link = stage.port(1)
    await stage.datapath.close()
    await stage.datapath.close()
    assert link.fds == ()
