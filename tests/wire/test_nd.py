"""Neighbour discovery against scapy and RFC 4861."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6NDOptUnknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet as Layer
from scapy.packet import Raw

from vxnet.errors import WireError
from vxnet.wire import ip, nd
from vxnet.wire.addr import Ip, Mac, format_ip, parse_ip
from vxnet.wire.nd import Advertisement, NeighbourMessage, Solicitation

A, B = Mac(b"\x02\0\0\0\0\x0a"), Mac(b"\x02\0\0\0\0\x0b")
IP_A, IP_B = parse_ip("fd09::a"), parse_ip("fd09::b")
ETHER = Ether(src=A.hex(":"), dst="33:33:ff:00:00:0b")
NETWORK = IPv6(src="fd09::a", dst="ff02::1:ff00:b")
ASK = ICMPv6ND_NS(tgt="fd09::b")
FROM_A = ICMPv6NDOptSrcLLAddr(lladdr=A.hex(":"))
HOSTS = st.binary(min_size=16, max_size=16).filter(lambda ip: ip[0] != 0xFF and any(ip)).map(Ip)


def read(frame: Layer | bytes) -> NeighbourMessage | None:
    octets = bytes(frame)
    packet = ip.locate(octets)
    assert packet is not None
    return nd.parse(octets, packet)


@given(HOSTS, HOSTS)
def test_a_question_is_what_scapy_builds_and_is_read_back(source: Ip, target: Ip) -> None:
    frame = nd.solicit(A, source, target)
    group = Ip(parse_ip("ff02::1:ff00:0")[:13] + target[13:])
    expected = (
        Ether(src=A.hex(":"), dst=(b"\x33\x33" + group[12:]).hex(":"))
        / IPv6(src=format_ip(source), dst=format_ip(group))
        / ICMPv6ND_NS(tgt=format_ip(target))
        / FROM_A
    )
    assert frame == bytes(expected)
    assert read(frame) == Solicitation(source, target, A)


def test_a_probe_comes_from_nobody_and_names_no_mac() -> None:
    message = read(nd.solicit(A, Ip(bytes(16)), IP_B))
    assert message == Solicitation(Ip(bytes(16)), IP_B, None)
    assert message.is_probe


@pytest.mark.conformance("V9")
@pytest.mark.parametrize("router", [False, True])
def test_an_answer_is_solicited_and_overrides_and_names_the_owners_mac(router: bool) -> None:
    asked = Solicitation(IP_A, IP_B, A)
    frame = nd.advertise(asked, A, B, router=router)
    expected = (
        Ether(src=B.hex(":"), dst=A.hex(":"))
        / IPv6(src="fd09::b", dst="fd09::a", hlim=255)
        / ICMPv6ND_NA(tgt="fd09::b", R=int(router), S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=B.hex(":"))
    )
    assert frame == bytes(expected)
    answered = read(frame)
    assert isinstance(answered, Advertisement)
    assert (answered.target, answered.mac, answered.is_solicited) == (IP_B, B, True)


@pytest.mark.conformance("V10")
def test_the_answer_to_a_probe_goes_to_all_nodes_and_is_not_solicited() -> None:
    frame = nd.advertise(Solicitation(Ip(bytes(16)), IP_B, None), A, B)
    expected = (
        Ether(src=B.hex(":"), dst="33:33:00:00:00:01")
        / IPv6(src="fd09::b", dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(tgt="fd09::b", R=0, S=0, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=B.hex(":"))
    )
    assert frame == bytes(expected)


@given(st.lists(st.sampled_from([ICMPv6NDOptMTU(), ICMPv6NDOptUnknown(data=bytes(6))])))
def test_other_options_are_passed_over(options: list[Layer]) -> None:
    frame = ETHER / NETWORK / ASK
    for option in options:
        frame = frame / option.copy()
    assert read(frame / FROM_A) == Solicitation(IP_A, IP_B, A)
    assert read(frame) == Solicitation(IP_A, IP_B, None)


def test_a_message_behind_an_extension_header_is_read() -> None:
    network = IPv6(src="fd09::a", dst="ff02::1:ff00:b", hlim=255)
    assert read(ETHER / network / IPv6ExtHdrDestOpt() / ASK) == Solicitation(IP_A, IP_B, None)


@pytest.mark.parametrize(
    "layer",
    [
        ICMPv6EchoRequest(),
        ICMPv6ND_RA(),
        ICMPv6MLReport2(),
        IPv6ExtHdrFragment(m=1) / ASK,  # RFC 6980: never fragmented
        Raw(b""),
    ],
)
def test_what_is_no_neighbour_message_is_none(layer: Layer) -> None:
    assert read(ETHER / NETWORK / layer) is None


@pytest.mark.conformance("V9")
@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (ETHER / IPv6(src="fd09::a", dst="fd09::b", hlim=64) / ASK, "hop limit 64"),
        (ETHER / NETWORK / ICMPv6ND_NS(tgt="fd09::b", cksum=1), "wrong checksum"),
        (ETHER / NETWORK / ICMPv6ND_NS(tgt="fd09::b", code=1), "code 1"),
        (ETHER / NETWORK / ICMPv6ND_NS(tgt="ff02::b"), "for the target ff02"),
        (ETHER / IPv6(src="::", dst="ff02::1:ff00:b") / ASK / FROM_A, "from :: that names"),
        (ETHER / NETWORK / ASK / ICMPv6NDOptUnknown(len=0, data=b"123456"), "option of 0 octets"),
        (ETHER / NETWORK / ASK / ICMPv6NDOptUnknown(len=2, data=b"123456"), "option of 16 octets"),
        (ETHER / NETWORK / ASK / Raw(b"\x01"), "option of 0 octets, with 1 left"),
    ],
)
def test_what_receivers_are_to_discard_is_refused(frame: Layer, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        read(frame)


def test_a_message_cut_off_is_refused() -> None:
    octets = bytearray(bytes(ETHER / NETWORK / ASK))
    octets[18:20] = (23).to_bytes(2, "big")
    with pytest.raises(WireError, match="of 23 octets, at least 24"):
        read(bytes(octets[:-1]))
