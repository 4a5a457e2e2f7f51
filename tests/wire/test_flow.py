"""The number of a flow: equal within it, evenly spread over many."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet as Layer
from scapy.packet import Raw

from tests.helpers.frames import MAC_A, MAC_B, plain_frame
from vxnet.wire.flow import flow_hash

ETHER = Ether(src=MAC_A, dst=MAC_B)
V4 = IP(src="10.9.0.1", dst="10.9.0.2")
V6 = IPv6(src="fd09::1", dst="fd09::2")


@pytest.mark.conformance("X7")
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("layer", [TCP, UDP])
@pytest.mark.parametrize("varied", ["sport", "dport"])
def test_a_thousand_flows_spread_evenly_over_a_pool(
    version: int, layer: type[TCP] | type[UDP], varied: str
) -> None:
    frames = [plain_frame(version, layer(**{varied: 20_000 + n})) for n in range(1_000)]
    for pool in (8, 16, 64):
        used = Counter(flow_hash(frame) % pool for frame in frames)
        assert len(used) == pool
        assert max(used.values()) <= 2 * 1_000 / pool


@pytest.mark.conformance("X7")
@pytest.mark.parametrize("version", [4, 6])
@given(st.binary(max_size=40), st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_all_segments_of_a_connection_have_one_number(
    version: int, payload: bytes, sequence: int, tos: int
) -> None:
    first = plain_frame(version, TCP(sport=5, dport=6))
    later = plain_frame(version, TCP(sport=5, dport=6, seq=sequence), payload, tos=tos)
    assert flow_hash(first) == flow_hash(later) == flow_hash(memoryview(later))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (V4 / TCP(), V4 / UDP(sport=20, dport=80)),
        (V4 / TCP(sport=1), V4 / TCP(sport=2)),
        (V4 / TCP(), IP(src="10.9.0.1", dst="10.9.0.3") / TCP()),
        (V6 / TCP(), IPv6(src="fd09::1", dst="fd09::3") / TCP()),
        (V4 / ICMP(), IP(src="10.9.0.3", dst="10.9.0.2") / ICMP()),
        (V4 / ICMP(), V4 / UDP()),
    ],
)
def test_other_flows_have_other_numbers(one: Layer, other: Layer) -> None:
    assert flow_hash(bytes(ETHER / one)) != flow_hash(bytes(ETHER / other))


@pytest.mark.parametrize(
    "unusual",
    [
        ETHER / IP(src="10.9.0.1", dst="10.9.0.2", options=[IPOption_NOP()]) / UDP(sport=9),
        ETHER / Dot1Q(vlan=5) / V4 / UDP(sport=9),
    ],
)
def test_tags_and_options_do_not_change_an_ipv4_flow(unusual: Layer) -> None:
    assert flow_hash(bytes(unusual)) == flow_hash(bytes(ETHER / V4 / UDP(sport=9)))


def test_extension_headers_do_not_change_an_ipv6_flow() -> None:
    usual = bytes(ETHER / V6 / UDP(sport=9))
    assert flow_hash(bytes(ETHER / V6 / IPv6ExtHdrDestOpt() / UDP(sport=9))) == flow_hash(usual)


@pytest.mark.parametrize("network", [V4, V6])
def test_all_fragments_of_a_packet_have_one_number(network: Layer) -> None:
    numbers = set()
    for offset, more, payload in ((0, 1, UDP(sport=9)), (1, 1, Raw(b"a" * 8)), (2, 0, Raw(b"b"))):
        header = network.copy()
        if isinstance(header, IP):
            header.frag, header.flags, header.proto = offset, more, 17
        else:
            header = header / IPv6ExtHdrFragment(offset=offset, m=more, nh=17)
        numbers.add(flow_hash(bytes(ETHER / header / payload)))
    assert len(numbers) == 1


def test_what_is_not_ip_belongs_to_its_two_stations() -> None:
    one, other = ETHER / ARP(pdst="10.9.0.1"), ETHER / ARP(pdst="10.9.0.2")
    assert flow_hash(bytes(one)) == flow_hash(bytes(other))
    assert flow_hash(bytes(one)) != flow_hash(bytes(Ether(src=MAC_B, dst=MAC_A) / ARP()))


@given(st.sampled_from([b"\x08\0", b"\x86\xdd", b"\x81\0", b"\x88\xb5"]), st.binary(max_size=60))
def test_frames_that_make_no_sense_still_belong_to_their_stations(kind: bytes, rest: bytes) -> None:
    frame = bytes.fromhex("02000000000a02000000000b") + kind + rest
    assert flow_hash(frame) == flow_hash(bytearray(frame)) < 2**32
    for size in range(14):
        assert flow_hash(frame[:size]) == flow_hash(memoryview(frame)[:size])
