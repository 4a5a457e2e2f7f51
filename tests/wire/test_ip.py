"""Where things are in IPv4 and IPv6 packets, against scapy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_Timestamp
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet as Layer
from scapy.packet import Raw

from tests.helpers.frames import MAC_A, MAC_B
from vxnet.errors import WireError
from vxnet.wire import ip
from vxnet.wire.addr import parse_ip
from vxnet.wire.ip import Protocol

ETHER = Ether(src=MAC_A, dst=MAC_B)
V4 = IP(src="10.9.0.1", dst="10.9.0.2", ttl=61)
V6 = IPv6(src="fd09::1", dst="fd09::2", hlim=61)
EXTENSIONS = st.lists(
    st.sampled_from(
        [
            IPv6ExtHdrHopByHop(),
            IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(20))]),
            IPv6ExtHdrRouting(addresses=["fd09::9"]),
            IPv6ExtHdrFragment(id=1),
        ]
    ),
    max_size=5,
)


def located(frame: Layer | bytes) -> ip.Packet:
    packet = ip.locate(bytes(frame))
    assert packet is not None
    return packet


@given(st.binary(max_size=60), st.integers(0, 20), st.booleans(), st.booleans())
def test_an_ipv4_packet_is_found_whatever_follows_it(
    payload: bytes, padding: int, tagged: bool, optioned: bool
) -> None:
    header = V4.copy()
    if optioned:
        header.options = [IPOption_Timestamp(flg=0, pointer=5, timestamp=1, length=8)]
    front = ETHER / Dot1Q(vlan=3) if tagged else ETHER
    whole = bytes(front / header / UDP() / Raw(payload))
    packet = located(whole + bytes(padding))
    assert packet.version == 4
    assert packet.network == len(front)
    assert packet.transport == len(whole) - len(payload) - 8
    assert packet.end == len(whole)
    assert packet.protocol == Protocol.UDP
    assert not packet.is_fragment
    assert packet.is_extended == optioned
    assert ip.addresses(whole, packet) == (parse_ip("10.9.0.1"), parse_ip("10.9.0.2"))
    assert ip.hop_limit(whole, packet) == 61


@given(st.binary(max_size=60), st.integers(0, 20), EXTENSIONS, st.booleans())
def test_an_ipv6_packet_is_found_behind_its_extension_headers(
    payload: bytes, padding: int, extensions: list[Layer], authenticated: bool
) -> None:
    frame = ETHER / V6
    if authenticated:
        extensions = [*extensions, AH(nh=6, icv=bytes(12), payloadlen=4)]
    for extension in extensions:
        frame = frame / extension.copy()
    whole = bytes(frame / TCP() / Raw(payload))
    packet = located(whole + bytes(padding))
    assert packet.version == 6
    assert packet.network == 14
    assert packet.transport == len(whole) - len(payload) - 20
    assert packet.end == len(whole)
    assert packet.protocol == Protocol.TCP
    assert not packet.is_fragment  # all of them are atomic (RFC 6946)
    assert packet.is_extended == bool(extensions)
    assert ip.addresses(whole, packet)[0] == parse_ip("fd09::1")
    assert ip.hop_limit(whole, packet) == 61


@pytest.mark.parametrize(
    ("offset", "more", "fragment"), [(0, 0, False), (0, 1, True), (1, 1, True), (8, 0, True)]
)
def test_fragments_are_told_from_whole_packets(offset: int, more: int, fragment: bool) -> None:
    v4 = ETHER / IP(src="10.9.0.1", dst="10.9.0.2", frag=offset, flags=more, proto=17) / bytes(16)
    v6 = ETHER / V6 / IPv6ExtHdrFragment(offset=offset, m=more, nh=17) / bytes(16)
    assert located(v4).is_fragment == fragment
    assert located(v6).is_fragment == fragment


def test_the_middle_of_a_fragmented_packet_is_not_read_as_a_header() -> None:
    middle = ETHER / V6 / IPv6ExtHdrFragment(offset=3, m=1, nh=Protocol.ROUTING) / Raw(b"\xff" * 32)
    packet = located(middle)
    assert (packet.protocol, packet.transport) == (Protocol.ROUTING, 14 + 40 + 8)


@pytest.mark.parametrize("frame", [ETHER / ARP(), ETHER / Raw(b"x" * 50)])
def test_what_is_not_ip_has_no_packet(frame: Layer) -> None:
    octets = bytearray(bytes(frame))
    if octets[12:14] == b"\x90\x00":
        octets[12:14] = b"\x88\xcc"
    assert ip.locate(octets) is None


@pytest.mark.parametrize(
    ("header", "at", "value", "complaint"),
    [
        (V4, 0, 0x65, "starts with 0x65"),
        (V4, 0, 0x44, "starts with 0x44"),
        (V4, 0, 0x4F, "with a header of 60"),
        (V4, 3, 0x10, "says it has 16 octets"),
        (V4, 2, 0x05, "says it has 1309 octets"),
        (V6, 0, 0x40, "starts with 0x40"),
        (V6, 4, 0x05, "says it has 1289 octets"),
    ],
)
def test_headers_that_contradict_the_frame_are_refused(
    header: Layer, at: int, value: int, complaint: str
) -> None:
    frame = bytearray(bytes(ETHER / header / UDP() / Raw(b"\xff")))
    assert ip.locate(frame) is not None
    frame[14 + at] = value
    with pytest.raises(WireError, match=complaint):
        ip.locate(frame)


@pytest.mark.parametrize(("header", "size"), [(V4, 20), (V6, 40)])
def test_a_header_cut_off_is_refused(header: Layer, size: int) -> None:
    frame = bytes(ETHER / header)
    for length in range(14, 14 + size):
        with pytest.raises(WireError, match=f"at least {size} are needed"):
            ip.locate(frame[:length])


def test_an_extension_header_longer_than_its_packet_is_refused() -> None:
    with pytest.raises(WireError, match="ends 8 octets past its packet"):
        ip.locate(bytes(ETHER / IPv6(nh=60) / Raw(b"\x11\x01" + bytes(6))))


def test_an_extension_header_cut_off_is_refused() -> None:
    with pytest.raises(WireError, match="extension header 60 that is cut off"):
        ip.locate(bytes(ETHER / IPv6(nh=60) / bytes(7)))


def test_more_extension_headers_than_eight_are_refused() -> None:
    frame = ETHER / V6
    for _ in range(9):
        frame = frame / IPv6ExtHdrDestOpt()
    with pytest.raises(WireError, match="more than 8 extension headers"):
        ip.locate(bytes(frame / UDP()))


@given(st.binary(min_size=1, max_size=99), st.sampled_from([4, 6]))
def test_the_pseudo_header_makes_scapys_checksum(payload: bytes, version: int) -> None:
    frame = bytes(ETHER / (V4 if version == 4 else V6) / TCP() / payload)
    packet = located(frame)
    segment = frame[packet.transport : packet.end]
    covered = ip.pseudo_header(*ip.addresses(frame, packet), 6, len(segment)) + segment
    covered += bytes(len(covered) % 2)
    words = [int.from_bytes(covered[at : at + 2], "big") for at in range(0, len(covered), 2)]
    assert sum(words) % 0xFFFF == 0
