"""What a sender is told of a packet that does not fit, judged by scapy."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, TCPerror
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPerror6,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from tests.helpers.frames import MAC_A, MAC_B, is_sound, plain_frame
from vxnet.wire.too_big import answer


@pytest.mark.conformance("X10")
@pytest.mark.parametrize("size", [1_500, 8_000])
def test_an_ipv4_sender_is_told_that_fragmentation_is_needed(size: int) -> None:
    frame = plain_frame(4, TCP(sport=7, dport=9, seq=1_234), bytes(size))

    told = Ether(answer(frame, 1_400))

    assert (told.src, told.dst) == (MAC_B, MAC_A)
    assert (told[IP].src, told[IP].dst) == ("10.9.0.2", "10.9.0.1")
    assert (told[ICMP].type, told[ICMP].code, told[ICMP].nexthopmtu) == (3, 4, 1_400)
    assert len(told[IP]) == 576
    assert told[IPerror].dst == "10.9.0.2"
    assert told[TCPerror].seq == 1_234
    again = told.copy()
    del again[IP].chksum, again[ICMP].chksum
    assert bytes(again) == bytes(told)


@pytest.mark.conformance("X10")
def test_an_ipv6_sender_is_told_that_its_packet_is_too_big() -> None:
    frame = plain_frame(6, UDP(sport=7, dport=9), bytes(1_500))

    told = Ether(answer(frame, 1_380))

    assert (told.src, told.dst) == (MAC_B, MAC_A)
    assert (told[IPv6].src, told[IPv6].dst) == ("fd09::2", "fd09::1")
    assert told[ICMPv6PacketTooBig].mtu == 1_380
    assert len(told[IPv6]) == 1_280
    assert told[IPerror6].dst == "fd09::2"
    again = told.copy()
    del again[ICMPv6PacketTooBig].cksum
    assert bytes(again) == bytes(told)
    assert is_sound(told)


def test_tags_are_kept() -> None:
    frame = plain_frame(4, UDP(), bytes(1_500))
    tagged = frame[:12] + b"\x81\x00\x00\x05" + frame[12:]
    told = answer(tagged, 1_400)
    assert told is not None
    assert told[12:18] == b"\x81\x00\x00\x05\x08\x00"


def without_df(frame: bytes) -> bytes:
    return frame[:20] + b"\0\0" + frame[22:]


@pytest.mark.parametrize(
    "frame",
    [
        without_df(plain_frame(4, UDP(), bytes(1_500))),
        plain_frame(4, UDP(), bytes(1_500))[:20] + b"\x60\0" + bytes(1_600),
        b"\xff" * 6 + plain_frame(4, UDP(), bytes(1_500))[6:],
        plain_frame(4, ICMP(type=3, code=1), bytes(1_500)),
        plain_frame(6, ICMPv6TimeExceeded(), bytes(1_500)),
        bytes(Ether(src=MAC_A, dst=MAC_B) / IP(src="0.0.0.0", dst="10.9.0.2", flags="DF") / UDP()),
        bytes(Ether(src=MAC_A, dst=MAC_B) / IP(src="10.9.0.1", dst="224.0.0.9", flags="DF")),
        bytes(Ether(src=MAC_A, dst=MAC_B) / IPv6(src="::", dst="fd09::2") / UDP()),
        bytes(Ether(src=MAC_A, dst=MAC_B) / ARP(psrc="10.9.0.1", pdst="10.9.0.2")),
        b"",
        bytes(14),
    ],
)
def test_nobody_is_told_where_there_is_to_be_no_answer(frame: bytes) -> None:
    assert answer(frame, 1_400) is None


def test_questions_of_icmp_are_answered() -> None:
    assert answer(plain_frame(4, ICMP(), bytes(1_500)), 1_400) is not None
    assert answer(plain_frame(6, ICMPv6EchoRequest(), bytes(1_500)), 1_400) is not None
