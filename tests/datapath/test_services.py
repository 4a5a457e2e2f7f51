"""The contract: packets of services' flows, of which a native datapath carries most by itself."""

import asyncio
from array import array

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.datapath.conftest import StageMaker
from tests.datapath.stage import MTU, VNI, RemoteVtep, Stage, mac
from tests.helpers.frames import is_sound, pseudo_sum
from vxnet.datapath.base import (
    Member,
    Segment,
    Service,
    ServicePort,
    SetRelays,
    SetServices,
)
from vxnet.switch import flows
from vxnet.switch.actions import DropReason, PortId
from vxnet.switch.maglev import table
from vxnet.wire import virtio, vxlan
from vxnet.wire.addr import Mac, Vni, format_ip, format_mac, parse_ip
from vxnet.wire.checksum import complete
from vxnet.wire.virtio import Flag, Gso, VnetHeader

CLIENT, NEAR, FAR = 1, 2, 9  # stations: two ports of this host, and one of another host
VIP_MAC = mac(0x64)
PLAIN = vxlan.build(VNI)
HEADERS = {4: 14 + 20, 6: 14 + 40}
SIZE = 1_000


class Shop:
    """A service of one member, and a client on this host."""

    def __init__(self, stage: Stage, version: int, at: int, *, completes: bool = False) -> None:
        self.stage = stage
        self.version = version
        self.member = at
        self.client = stage.port(CLIENT, ips=(self.ip(CLIENT),))
        self.near = stage.port(NEAR, ips=(self.ip(NEAR),))
        self.far: RemoteVtep = stage.remote("127.0.0.2", FAR, completes=completes)
        self.vip = self.ip(0x64)
        self.serve(Member(mac(at), self.ip(at)))

    def ip(self, number: int) -> bytes:
        return parse_ip(f"10.9.0.{number}" if self.version == 4 else f"fd09::{number:x}")

    def serve(self, *members: Member) -> None:
        ports = (ServicePort(6, 80, 8080), ServicePort(17, 80, 8080))
        slots = array("H", table([m.mac for m in members])).tobytes() if members else b""
        served = Service(VNI, VIP_MAC, self.vip, ports, members, slots)
        self.stage.datapath.program([SetServices(VNI, (served,) if members else ())])

    def packet(self, source: int, to: int, layer: Packet, payload: bytes = b"") -> bytes:
        """From one station to another; 0x64 is the service."""
        network = IP(flags="DF") if self.version == 4 else IPv6()
        network.src, network.dst = format_ip(self.ip(source)), format_ip(self.ip(to))
        ends = Ether(src=format_mac(mac(source)), dst=format_mac(mac(to)))
        return bytes(ends / network / layer / payload)

    def asked(self, layer: Packet, payload: bytes = b"") -> bytes:
        return self.packet(CLIENT, 0x64, ports(layer, 1000, 80), payload)

    def answer(self, layer: Packet, payload: bytes = b"") -> bytes:
        return self.packet(self.member, CLIENT, ports(layer, 8080, 1000), payload)

    def as_member_sees(self, layer: Packet, payload: bytes = b"") -> bytes:
        return self.packet(CLIENT, self.member, ports(layer, 1000, 8080), payload)

    def as_client_sees(self, layer: Packet, payload: bytes = b"") -> bytes:
        return self.packet(0x64, CLIENT, ports(layer, 80, 1000), payload)

    async def arrived(self, count: int = 1) -> list[bytes]:
        """What the member got."""
        if self.member == NEAR:
            return [frame for _, frame in await self.stage.frames(self.near, count)]
        return [one.frame for one in await self.far.receive(count)]

    async def returned(self, count: int = 1) -> list[bytes]:
        """What the client got."""
        return [frame for _, frame in await self.stage.frames(self.client, count)]

    def reply(self, frame: bytes) -> None:
        if self.member == NEAR:
            self.near.send(frame)
        else:
            self.far.send(self.stage.vtep, PLAIN + frame)

    async def settle(self, layer: type[Packet] = TCP) -> None:
        """Have a flow that its member answered."""
        opening, answer = (TCP(flags="S"), TCP(flags="SA")) if layer is TCP else (UDP(), UDP())
        self.client.send(self.asked(opening))
        await self.arrived()
        self.reply(self.answer(answer))
        await self.returned()

    @property
    def flows(self) -> int:
        return sum(of.now for of in self.stage.datapath.flows(VNI, (self.vip,)).values())

    @property
    def decided(self) -> int:
        """How many frames a native datapath had the switch decide; a pure one counts none."""
        return self.stage.stats.io.get("punts", 0)


def ports(layer: Packet, source: int, destination: int) -> Packet:
    layer = layer.copy()
    layer.sport, layer.dport = source, destination
    return layer


@pytest.fixture(params=[4, 6])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=[NEAR, FAR], ids=["near", "far"])
def at(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> float:
    """Flows are forgotten after so many seconds."""
    for key in flows.IDLE_S:
        monkeypatch.setitem(flows.IDLE_S, key, 3.0)
    monkeypatch.setattr(flows, "_SHORTEST_S", 3.0)
    return 3.0


@pytest.mark.parametrize("layer", [TCP, UDP])
async def test_settled_flows_are_rewritten_both_ways_and_the_switch_sees_nothing_of_it(
    stage: Stage, version: int, at: int, layer: type[Packet]
) -> None:
    shop = Shop(stage, version, at)
    await shop.settle(layer)
    data = TCP(flags="PA", seq=5, ack=9) if layer is TCP else UDP()
    before = shop.decided
    for size in (0, 1, 300):
        payload = bytes(range(250)) * 2
        shop.client.send(shop.asked(data, payload[:size]))
        assert await shop.arrived() == [shop.as_member_sees(data, payload[:size])]
        shop.reply(shop.answer(data, payload[:size]))
        assert await shop.returned() == [shop.as_client_sees(data, payload[:size])]
    assert shop.decided == before
    port = await stage.counted(lambda stats: stats.ports[PortId(CLIENT)], 4)
    assert (port.delivered, port.sent) == ((4, 0) if at == NEAR else (0, 4))


async def test_a_checksum_that_the_kernel_left_out_comes_out_right(
    stage: Stage, version: int, at: int
) -> None:
    shop = Shop(stage, version, at)
    await shop.settle()
    data = TCP(flags="A", seq=5, ack=9)
    start = HEADERS[version]
    whole = shop.asked(data, b"hello")
    partial = whole[: start + 16] + pseudo_sum(Ether(whole)) + whole[start + 18 :]
    vnet = VnetHeader(Flag.NEEDS_CHECKSUM, checksum_start=start, checksum_offset=16)
    shop.client.send(partial, virtio.build(vnet))
    (arrived,) = await shop.arrived()
    if at == NEAR:
        room = bytearray(arrived)
        complete(room, start, 16)
        arrived = bytes(room)
    assert arrived == shop.as_member_sees(data, b"hello")


async def test_a_super_frame_is_rewritten_once_and_its_frames_are_sound(
    stage: Stage, version: int
) -> None:
    shop = Shop(stage, version, FAR)
    await shop.settle()
    before = shop.decided
    whole = shop.asked(TCP(flags="PA", seq=7, ack=9), bytes(range(250)) * 40)
    start = HEADERS[version]
    gso = Gso.TCP4 if version == 4 else Gso.TCP6
    vnet = VnetHeader(Flag.NEEDS_CHECKSUM, gso, start + 20, SIZE, start, 16)
    shop.client.send(whole, virtio.build(vnet))
    arrived = [Ether(frame) for frame in await shop.arrived(10)]
    assert all(is_sound(frame) for frame in arrived)
    assert {frame.dst for frame in arrived} == {format_mac(mac(FAR))}
    assert {(frame[TCP].sport, frame[TCP].dport) for frame in arrived} == {(1000, 8080)}
    assert [frame[TCP].seq for frame in arrived] == [7 + SIZE * n for n in range(10)]
    assert shop.decided == before


@pytest.mark.parametrize("completes", [False, True], ids=["whole", "left to us"])
async def test_a_burst_of_a_member_is_joined_and_is_the_services(
    stage: Stage, version: int, completes: bool
) -> None:
    shop = Shop(stage, version, FAR, completes=completes)
    completes = completes and stage.datapath.completes_checksums
    await shop.settle()
    before = shop.decided
    start = HEADERS[version]
    header = b"\x08\x20\x00\x00" + VNI.to_bytes(3) + bytes((start // 2,)) if completes else PLAIN
    burst = []
    for number in range(10):
        data = TCP(flags="A", seq=7 + number * SIZE, ack=9)
        frame = shop.answer(data, bytes([number]) * SIZE)
        if number == 9:
            frame = shop.answer(
                TCP(flags="FA", seq=7 + number * SIZE, ack=9), bytes([number]) * SIZE
            )
        if completes:
            frame = frame[: start + 16] + pseudo_sum(Ether(frame)) + frame[start + 18 :]
        burst.append(header + frame)
    shop.far.send_burst(stage.vtep, burst)
    ((given, joined),) = await stage.frames(shop.client, 1)
    vnet = virtio.parse(given)
    assert (vnet.flags, vnet.gso_size) == (Flag.NEEDS_CHECKSUM, SIZE)
    room = bytearray(joined)
    complete(room, start, 16)
    told = Ether(bytes(room))
    assert is_sound(told)
    wanted = Ether(shop.as_client_sees(TCP(flags="A", seq=7, ack=9)))
    assert (told.src, told.dst, told[TCP].sport) == (wanted.src, wanted.dst, 80)
    assert joined[start - (8 if version == 4 else 32) : start] == (
        bytes(shop.vip) + bytes(shop.ip(CLIENT))
    )
    assert told[TCP].flags == "FA"
    assert shop.decided == before
    # It was the end: the port is taken for another connection, which nobody has answered yet.
    for flags in ("S", "A"):
        shop.client.send(shop.asked(TCP(flags=flags, seq=77)))
        await shop.arrived()
    assert stage.datapath.name == "pure" or shop.decided == before + 2


async def test_what_a_member_says_besides_is_left_alone_and_takes_no_decision(
    stage: Stage, at: int
) -> None:
    shop = Shop(stage, 4, at)
    await shop.settle()
    before = shop.decided
    for layer in (TCP(sport=8080, dport=1001, flags="SA"), UDP(sport=53, dport=1000)):
        frame = shop.packet(at, CLIENT, layer, b"hello")
        shop.reply(frame)
        assert await shop.returned() == [frame]
    assert shop.decided == before


async def test_a_connection_is_carried_to_its_end_and_its_port_may_then_be_taken_for_another(
    stage: Stage, version: int, at: int
) -> None:
    shop = Shop(stage, version, at)
    await shop.settle()
    before = shop.decided
    for flags in ("FA", "A", "PA"):
        layer = TCP(flags=flags, seq=5, ack=9)
        shop.client.send(shop.asked(layer))
        assert await shop.arrived() == [shop.as_member_sees(layer)]
        shop.reply(shop.answer(layer))
        assert await shop.returned() == [shop.as_client_sees(layer)]
    assert shop.decided == before
    opening, refusal = TCP(flags="S", seq=77), TCP(flags="RA", ack=78)
    shop.client.send(shop.asked(opening))
    assert await shop.arrived() == [shop.as_member_sees(opening)]
    assert shop.flows == 1
    # Of a connection that is closing it would say that that one is over; this is one refused.
    shop.reply(shop.answer(refusal))
    assert await shop.returned() == [shop.as_client_sees(refusal)]
    assert stage.datapath.name == "pure" or shop.decided == before + 2


async def test_a_connection_beside_one_of_the_service_that_is_over_is_its_own(
    stage: Stage, version: int, at: int
) -> None:
    shop = Shop(stage, version, at)
    await shop.settle()
    straight = shop.as_member_sees(TCP(flags="S", seq=7))
    answer = shop.answer(TCP(flags="SA", ack=8))
    shop.client.send(shop.asked(TCP(flags="RA", seq=5, ack=9)))
    await shop.arrived()
    shop.client.send(straight)
    assert await shop.arrived() == [straight]
    shop.reply(answer)
    assert await shop.returned() == [answer]
    assert shop.flows == 0


async def test_a_member_that_dies_resets_its_clients_with_what_they_last_acknowledged(
    stage: Stage, at: int
) -> None:
    shop = Shop(stage, 4, at)
    await shop.settle()
    for acked in (100, 4711):
        shop.client.send(shop.asked(TCP(flags="PA", seq=5, ack=acked), b"x"))
        await shop.arrived()
    shop.serve()
    ((_, frame),) = await stage.frames(shop.client, 1)
    told = Ether(frame)
    assert is_sound(told)
    assert (told[TCP].flags, told[TCP].seq, told[IP].src) == ("R", 4711, format_ip(shop.vip))
    before = shop.decided
    shop.client.send(shop.asked(TCP(flags="PA", seq=6, ack=5000), b"y"))
    await stage.counted(lambda stats: stats.ports[PortId(CLIENT)], 4)
    if stage.datapath.name == "native":
        assert shop.decided == before + 1  # and no longer carried to where nobody is


async def test_a_flow_is_kept_as_long_as_anybody_sees_packets_of_it(
    stage: Stage, quick: float
) -> None:
    shop = Shop(stage, 4, FAR)
    await shop.settle(UDP)
    before = shop.decided
    for _ in range(12):
        await asyncio.sleep(quick / 6)
        shop.client.send(shop.asked(UDP(), b"still here"))
        await shop.arrived()
    assert shop.decided == before
    assert shop.flows == 1
    await stage.until(lambda: shop.flows == 0)


async def test_a_port_that_is_gone_takes_the_flows_of_its_client_along(
    stage: Stage, at: int
) -> None:
    shop = Shop(stage, 4, at)
    await shop.settle()
    assert shop.flows == 1
    stage.datapath.remove_port(PortId(CLIENT))
    assert shop.flows == 0
    # The next one there has the address and the port, and another MAC.
    other = stage.port(5, station=Mac(mac(5)), ips=(shop.ip(CLIENT),))
    opening = bytearray(shop.asked(TCP(flags="S")))
    opening[6:12] = mac(5)
    other.send(bytes(opening))
    await shop.arrived()
    shop.reply(shop.packet(at, CLIENT, TCP(sport=8080, dport=1000, flags="SA")))
    ((_, frame),) = await stage.frames(other, 1)
    assert frame[:6] == mac(5)


async def test_flows_of_one_network_are_not_another_ones(make_stage: StageMaker) -> None:
    stage = await make_stage()
    shop = Shop(stage, 4, FAR)
    await shop.settle()
    other = Vni(43)
    stage.datapath.set_segment(Segment(other, 1450))
    stranger = stage.port(7, vni=other, station=Mac(mac(CLIENT)), ips=(shop.ip(CLIENT),))
    before = stage.stats.ports[PortId(7)].sent
    stranger.send(shop.asked(TCP(flags="PA"), b"x"))
    counters = await stage.counted(lambda stats: stats.ports[PortId(7)], 1)
    assert counters.sent == before


async def test_a_way_to_a_relayed_client_is_carried_too(stage: Stage, at: int) -> None:
    """The relay is where `at` says, the member here."""
    shop = Shop(stage, 4, at)
    shop.serve()
    relay, gateway = mac(at), mac(0xFE)
    member = frozenset({(mac(CLIENT), 6, 8080)})
    stage.datapath.program([SetRelays(VNI, frozenset({relay}), member, gateway, ())])

    def of_client(flags: str, payload: bytes) -> bytes:
        layer = TCP(sport=5000, dport=8080, flags=flags, seq=1, ack=2) / payload
        ends = Ether(src=format_mac(relay), dst=format_mac(mac(CLIENT)))
        return bytes(ends / IP(src="198.51.100.9", dst="10.9.0.1", flags="DF") / layer)

    def of_member(flags: str, payload: bytes, to: bytes = gateway) -> bytes:
        layer = TCP(sport=8080, dport=5000, flags=flags, seq=1, ack=2) / payload
        ends = Ether(src=format_mac(mac(CLIENT)), dst=format_mac(to))
        return bytes(ends / IP(src="10.9.0.1", dst="198.51.100.9", flags="DF") / layer)

    async def exchange(flags: str, answer: str, payload: bytes = b"") -> None:
        shop.reply(of_client(flags, payload))
        assert await shop.returned() == [of_client(flags, payload)]
        shop.client.send(of_member(answer, payload))
        assert await shop.arrived() == [of_member(answer, payload, relay)]

    await exchange("S", "SA")
    before = shop.decided
    for _ in range(3):
        await exchange("PA", "PA", b"hello")
    await exchange("FA", "FA")
    assert shop.decided == before
    # What has no way is not for the gateway, which knows of no such connection.
    shop.client.send(of_member("PA", b"lost").replace(bytes((198, 51, 100, 9)), bytes(4)))
    await stage.until(lambda: DropReason.UNKNOWN_UNICAST in stage.stats.ports[PortId(CLIENT)].drops)


async def test_what_a_relay_here_says_to_members_elsewhere_takes_no_decision(stage: Stage) -> None:
    shop = Shop(stage, 4, FAR)
    shop.serve()
    here = frozenset({(mac(NEAR), 6, 8080)})  # for its sake clients' packets are looked at
    stage.datapath.program([SetRelays(VNI, frozenset({mac(CLIENT)}), here, mac(0xFE), ())])
    before = shop.decided
    for flags in ("S", "PA", "PA"):
        layer = TCP(sport=5000, dport=8080, flags=flags) / b"hello"
        ends = Ether(src=format_mac(mac(CLIENT)), dst=format_mac(mac(FAR)))
        frame = bytes(ends / IP(src="198.51.100.9", dst="10.9.0.9", flags="DF") / layer)
        shop.client.send(frame)
        assert await shop.arrived() == [frame]
    assert shop.decided == before


async def test_a_network_that_comes_back_has_its_services_again(stage: Stage) -> None:
    shop = Shop(stage, 4, NEAR)
    stage.datapath.remove_port(PortId(CLIENT))
    stage.datapath.remove_port(PortId(NEAR))
    stage.datapath.remove_segment(VNI)
    assert not getattr(stage.datapath, "_services", {})  # what a native engine was told of
    stage.datapath.set_segment(Segment(VNI, MTU))
    shop.serve(Member(mac(NEAR), shop.ip(NEAR)))
    shop.client = stage.port(CLIENT, ips=(shop.ip(CLIENT),))
    shop.near = stage.port(NEAR, ips=(shop.ip(NEAR),))
    await shop.settle()
