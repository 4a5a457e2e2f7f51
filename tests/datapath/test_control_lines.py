"""The contract: what the switch concludes holds in each datapath, line by line of conformance."""

import asyncio
from contextlib import suppress

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from tests.datapath.stage import VNI, Arrived, RemoteVtep, Stage, ethernet_frame, mac
from tests.helpers.frames import is_sound, super_frame
from tests.switch.test_snooping import packet, query, report
from vxnet.datapath.base import SetEntry
from vxnet.link.memory import MemoryLink
from vxnet.switch.actions import DropReason, DuplicateIp, Forgotten, Learned, Looped, PortId
from vxnet.wire import virtio, vxlan
from vxnet.wire.addr import BROADCAST, Vni, parse_ip

A, B, C, D = 0x0A, 0x0B, 0x0C, 0x0D
HEADER = vxlan.build(VNI)
OWNER4, OWNER6 = "10.9.0.11", "fd09::b"
BOTH = pytest.mark.parametrize("version", [4, 6])


def know(stage: Stage, remote: RemoteVtep) -> None:
    """B is at a remote host, with an address of each version."""
    ips = parse_ip(OWNER4), parse_ip(OWNER6)
    stage.datapath.program([SetEntry(VNI, mac(B), remote.vtep, ips)])


def arp(source: int, sender: str, target: str, *, op: int = 1) -> bytes:
    station = mac(source).hex(":")
    layer = Ether(src=station, dst="ff:ff:ff:ff:ff:ff")
    return bytes(layer / ARP(op=op, hwsrc=station, psrc=sender, pdst=target))


def solicitation(source: int, sender: str, target: str, *, hops: int = 255) -> bytes:
    station = mac(source).hex(":")
    message = ICMPv6ND_NS(tgt=target)
    if sender != "::":
        message /= ICMPv6NDOptSrcLLAddr(lladdr=station)
    group = f"ff02::1:ff00:{int(target.rpartition(':')[2], 16):x}"
    layer = Ether(src=station, dst=f"33:33:ff:00:00:{int(target.rpartition(':')[2], 16):02x}")
    return bytes(layer / IPv6(src=sender, dst=group, hlim=hops) / message)


async def nothing_came(stage: Stage, *remotes: RemoteVtep) -> None:
    await asyncio.sleep(0.05)
    assert [remote.poll() for remote in remotes] == [None] * len(remotes)


@pytest.mark.conformance("X11", "V3")
async def test_what_is_learned_never_beats_the_control_plane(stage: Stage) -> None:
    link, owner = stage.port(A), stage.remote("127.0.0.2", B)
    thief = stage.remote("127.0.0.3", learning=True)
    thief.send(stage.vtep, HEADER + ethernet_frame(mac(A), mac(B)))
    await stage.frames(link, 1)
    link.send(ethernet_frame(mac(B), mac(A)))
    assert len(await owner.receive(1)) == 1
    await nothing_came(stage, thief)


@pytest.mark.conformance("V4", "X12")
async def test_only_hosts_that_have_the_network_are_flooded_to(stage: Stage) -> None:
    link, member = stage.port(A), stage.remote("127.0.0.2")
    other = stage.remote("127.0.0.3", vni=Vni(9))
    link.send(ethernet_frame(BROADCAST, mac(A)))
    assert len(await member.receive(1)) == 1
    await nothing_came(stage, other)


@pytest.mark.conformance("V7")
async def test_a_question_for_an_owner_that_nobody_knows_is_flooded(stage: Stage) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2")
    know(stage, remote)
    link.send(arp(A, "10.9.0.10", OWNER4))
    [(_, answer)] = await stage.frames(link, 1)
    assert (Ether(answer)[ARP].hwsrc, Ether(answer)[ARP].op) == (mac(B).hex(":"), 2)
    link.send(arp(A, "10.9.0.10", "10.9.0.77"))
    [asked] = await remote.receive(1)
    assert asked.frame == arp(A, "10.9.0.10", "10.9.0.77")


@pytest.mark.conformance("V8")
@pytest.mark.parametrize(
    "said",
    [
        arp(A, "10.9.0.10", "10.9.0.10"),
        arp(A, "10.9.0.10", "10.9.0.10", op=2),
        bytes(
            Ether(src=mac(A).hex(":"), dst="33:33:00:00:00:01")
            / IPv6(src="fd09::a", dst="ff02::1", hlim=255)
            / ICMPv6ND_NA(tgt="fd09::a", S=0, O=1)
            / ICMPv6NDOptDstLLAddr(lladdr=mac(A).hex(":"))
        ),
    ],
    ids=["gratuitous-request", "gratuitous-reply", "unsolicited"],
)
async def test_what_a_station_says_of_itself_is_noted_and_passed_on(
    stage: Stage, said: bytes
) -> None:
    link, remote = stage.port(A, guarded=False), stage.remote("127.0.0.2")
    link.send(said)
    [heard] = await remote.receive(1)
    assert heard.frame == said
    await stage.until(lambda: any(isinstance(e, Learned) and e.ip is not None for e in stage.heard))


@pytest.mark.conformance("V8")
async def test_a_probe_that_nobody_owns_is_passed_on(stage: Stage) -> None:
    link, remote = stage.port(A, guarded=False), stage.remote("127.0.0.2")
    link.send(arp(A, "0.0.0.0", "10.9.0.10"))
    [heard] = await remote.receive(1)
    assert heard.frame == arp(A, "0.0.0.0", "10.9.0.10")


@pytest.mark.conformance("V9")
async def test_a_solicitation_is_answered_for_its_owner(stage: Stage) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2")
    know(stage, remote)
    link.send(solicitation(A, "fd09::a", OWNER6))
    [(_, answer)] = await stage.frames(link, 1)
    said = Ether(answer)
    assert (said[ICMPv6ND_NA].S, said[ICMPv6ND_NA].O, said[IPv6].hlim) == (1, 1, 255)
    assert said[ICMPv6NDOptDstLLAddr].lladdr == mac(B).hex(":")
    assert said[ICMPv6ND_NA].tgt == OWNER6


@pytest.mark.conformance("V9")
async def test_a_solicitation_that_was_routed_is_not_answered(stage: Stage) -> None:
    link, remote = stage.port(A, guarded=False), stage.remote("127.0.0.2")
    know(stage, remote)
    link.send(solicitation(A, "fd09::a", OWNER6, hops=64))
    assert len(await remote.receive(1)) == 1  # its receivers discard it
    assert link.receive() is None


@pytest.mark.conformance("V10")
async def test_who_takes_anothers_address_is_told_and_routers_are_asked(stage: Stage) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2")
    know(stage, remote)
    link.send(solicitation(A, "::", OWNER6))
    [(_, answer)] = await stage.frames(link, 1)
    assert (Ether(answer)[IPv6].dst, Ether(answer)[ICMPv6ND_NA].S) == ("ff02::1", 0)
    asked = bytes(
        Ether(src=mac(A).hex(":"), dst="33:33:00:00:00:02")
        / IPv6(src="fe80::a", dst="ff02::2", hlim=255)
        / ICMPv6ND_RS()
    )
    link.send(asked)
    [heard] = await remote.receive(1)
    assert heard.frame == asked


@pytest.mark.conformance("V11")
async def test_two_owners_of_an_address_are_told_of(stage: Stage) -> None:
    link, remote = stage.port(A, guarded=False), stage.remote("127.0.0.2")
    know(stage, remote)
    link.send(arp(A, OWNER4, OWNER4))
    await stage.until(lambda: any(isinstance(event, DuplicateIp) for event in stage.heard))
    [told] = [event for event in stage.heard if isinstance(event, DuplicateIp)]
    assert (told.mac, told.at, told.other, told.other_at) == (
        mac(A),
        PortId(A),
        mac(B),
        remote.vtep,
    )


@pytest.mark.conformance("V12")
@BOTH
async def test_a_stream_goes_only_to_hosts_that_listen(stage: Stage, version: int) -> None:
    link = stage.port(A, guarded=False)
    router, listener, other = (stage.remote(f"127.0.0.{n}") for n in (2, 3, 4))
    group, everybody = ("239.1.2.3", "224.0.0.251") if version == 4 else ("ff05::1:3", "ff02::1")
    stream = packet(mac(A), group, UDP(dport=9) / b"stream")
    always = packet(mac(A), everybody, UDP(dport=9) / b"all")

    link.send(stream)
    for remote in (router, listener, other):
        assert [one.frame for one in await remote.receive(1)] == [stream]

    router.send(stage.vtep, HEADER + query(version, mac(D)))
    await stage.frames(link, 1)
    listener.send(stage.vtep, HEADER + report(version, mac(C), group))
    await stage.counted(lambda stats: stats.tunnels[VNI], 2)

    async def settled() -> list[Arrived]:
        """Until the query was answered for long enough, streams still flood."""
        while True:
            link.send(stream)
            link.send(always)
            await listener.receive(2)
            got = [one for one in (other.poll(), other.poll()) if one is not None]
            await asyncio.sleep(0.05)
            got += [one for one in (other.poll(), other.poll()) if one is not None]
            if len(got) == 1:
                return got

    async with asyncio.timeout(30):
        [heard] = await settled()
    assert heard.frame == always


@pytest.mark.conformance("V13")
async def test_a_storm_is_limited_and_counted(stage: Stage) -> None:
    link = stage.port(A)
    stage.port(B)  # to be flooded to costs least there, so that a slow machine has a storm too
    # A super-frame counts as the frames it stands for, so that few are a storm.
    frame, vnet = super_frame(4, TCP(flags="A"), bytes(60_000), 1_400)

    def storm() -> bool:
        for _ in range(20):
            with suppress(BlockingIOError):
                link.send(BROADCAST + frame[6:], virtio.build(vnet))
        return bool(stage.stats.ports[PortId(A)].drops.get(DropReason.RATE_LIMITED))

    await stage.until(storm)
    assert stage.stats.ports[PortId(A)].flooded > 0


@pytest.mark.conformance("V14")
@pytest.mark.parametrize(
    "claim",
    [
        arp(A, OWNER4, "10.9.0.1"),
        arp(A, OWNER4, OWNER4, op=2),
        bytes(
            Ether(src=mac(A).hex(":"), dst="33:33:00:00:00:01")
            / IPv6(src=OWNER6, dst="ff02::1", hlim=255)
            / ICMPv6ND_NA(tgt=OWNER6, S=0, O=1)
            / ICMPv6NDOptDstLLAddr(lladdr=mac(A).hex(":"))
        ),
        ethernet_frame(BROADCAST, mac(C)),
    ],
    ids=["arp-request", "arp-reply", "advertisement", "another-mac"],
)
async def test_a_guarded_port_claims_nothing_that_is_not_its_own(
    stage: Stage, claim: bytes
) -> None:
    link = stage.port(A, ips=(parse_ip("10.9.0.10"), parse_ip("fd09::a")))
    remote = stage.remote("127.0.0.2")
    link.send(claim)
    counters = await stage.counted(lambda stats: stats.ports[PortId(A)], 1)
    assert counters.drops == {DropReason.PORT_SECURITY: 1}
    await nothing_came(stage, remote)


@pytest.mark.conformance("X15")
@pytest.mark.parametrize("source", [bytes(6), b"\x01\0\x5e\0\0\1", BROADCAST, mac(A)])
async def test_a_source_that_is_nobody_or_our_own_is_dropped(stage: Stage, source: bytes) -> None:
    link, peer = stage.port(A), stage.remote("127.0.0.2", learning=True)
    for destination in (mac(A), BROADCAST):
        peer.send(stage.vtep, HEADER + ethernet_frame(destination, source))
    counters = await stage.counted(lambda stats: stats.tunnels[VNI], 2)
    assert counters.drops == {DropReason.SOURCE_MAC_INVALID: 2}
    assert link.receive() is None
    assert [row.mac for row in stage.datapath.fdb()] == [mac(A)]


@pytest.mark.conformance("V6")
async def test_a_port_that_goes_takes_what_was_learned_behind_it_along(stage: Stage) -> None:
    link = stage.port(A, guarded=False)
    stage.remote("127.0.0.2")
    link.send(ethernet_frame(BROADCAST, mac(C)))
    await stage.until(lambda: Learned(VNI, mac(C), PortId(A)) in stage.heard)
    stage.datapath.remove_port(PortId(A))
    await stage.until(lambda: Forgotten(VNI, mac(C), PortId(A)) in stage.heard)
    assert stage.datapath.fdb() == []


def _across(first: MemoryLink, second: MemoryLink) -> None:
    """Be the bridge that somebody put between two ports."""
    for here, there in ((first, second), (second, first)):
        for _ in range(64):
            got = here.receive()
            if got is None:
                break
            with suppress(BlockingIOError):
                there.send(got[1], got[0])


async def test_two_ports_joined_behind_our_back_are_found_and_the_storm_ends(
    stage: Stage,
) -> None:
    first, second = stage.port(1, guarded=False), stage.port(2, guarded=False)
    third = stage.port(3, guarded=False)
    third.send(ethernet_frame(BROADCAST, mac(C)))

    def found() -> bool:
        _across(first, second)
        return any(isinstance(event, Looped) for event in stage.heard)

    await stage.until(found)

    def is_over() -> bool:
        before = stage.stats.ports[PortId(1)].received + stage.stats.ports[PortId(2)].received
        for _ in range(20):
            _across(first, second)
        return before == (
            stage.stats.ports[PortId(1)].received + stage.stats.ports[PortId(2)].received
        )

    await stage.until(is_over)
    blocked = stage.stats.ports[PortId(1)].drops, stage.stats.ports[PortId(2)].drops
    assert any(DropReason.LOOPED in drops for drops in blocked)


async def test_two_guarded_ports_joined_behind_our_back_make_no_storm(stage: Stage) -> None:
    first, second, third = (stage.port(number) for number in (1, 2, 3))
    third.send(ethernet_frame(BROADCAST, mac(3)))
    for _ in range(100):
        _across(first, second)
        await asyncio.sleep(0.001)
    stats = stage.stats
    for number in (1, 2):
        counters = stats.ports[PortId(number)]
        assert counters.received <= 2
        assert set(counters.drops) <= {DropReason.PORT_SECURITY}


@pytest.mark.conformance("O1")
@BOTH
async def test_a_ping_leaves_as_sound_as_it_was(stage: Stage, version: int) -> None:
    link, remote = stage.port(A), stage.remote("127.0.0.2", B)
    network = (
        IP(src="10.9.0.1", dst="10.9.0.2") if version == 4 else IPv6(src="fd09::1", dst="fd09::2")
    )
    layer = ICMP() if version == 4 else ICMPv6ND_RS()
    frame = bytes(Ether(src=mac(A).hex(":"), dst=mac(B).hex(":")) / network / layer)
    link.send(frame)
    [arrived] = await remote.receive(1)
    assert arrived.frame == frame
    assert is_sound(Ether(arrived.frame))
