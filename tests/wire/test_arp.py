"""ARP packets against scapy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import ARP, Ether

from vxnet.errors import WireError
from vxnet.wire import arp
from vxnet.wire.addr import BROADCAST, Ip, Mac, format_ip, parse_ip

A, B = Mac(b"\x02\0\0\0\0\x0a"), Mac(b"\x02\0\0\0\0\x0b")
IP_A, IP_B = parse_ip("10.9.0.1"), parse_ip("10.9.0.2")

MACS = st.binary(min_size=6, max_size=6).map(Mac)
IPS = st.binary(min_size=4, max_size=4).map(Ip)
PACKETS = st.builds(arp.Arp, st.integers(0, 0xFFFF), MACS, IPS, MACS, IPS)


@given(PACKETS)
def test_what_is_built_is_what_scapy_builds_and_is_read_back(packet: arp.Arp) -> None:
    frame = arp.build(B, A, packet)
    expected = Ether(src=A.hex(":"), dst=B.hex(":")) / ARP(
        op=packet.operation,
        hwsrc=packet.sender_mac.hex(":"),
        psrc=format_ip(packet.sender_ip),
        hwdst=packet.target_mac.hex(":"),
        pdst=format_ip(packet.target_ip),
    )
    assert frame == bytes(expected)
    assert arp.parse(frame) == packet


@given(PACKETS, st.integers(0, 41))
def test_a_packet_cut_off_is_refused(packet: arp.Arp, size: int) -> None:
    with pytest.raises(WireError, match="28 are needed"):
        arp.parse(arp.build(B, A, packet)[:size])


@pytest.mark.parametrize(("at", "value"), [(15, 6), (17, 0xDD), (18, 8), (19, 16)])
def test_what_is_not_ipv4_over_ethernet_is_refused(at: int, value: int) -> None:
    frame = bytearray(arp.request(A, IP_A, IP_B))
    frame[at] = value
    with pytest.raises(WireError, match="only IPv4 over Ethernet"):
        arp.parse(frame)


def test_a_request_goes_to_everybody_and_its_reply_to_the_asker() -> None:
    request = arp.request(A, IP_A, IP_B)
    assert Ether(request).dst == BROADCAST.hex(":")
    asked = arp.parse(request)
    reply = Ether(arp.reply(asked, B))
    assert (reply.dst, reply.src) == (A.hex(":"), B.hex(":"))
    assert reply[ARP].answers(Ether(request)[ARP])
    assert (reply[ARP].hwsrc, reply[ARP].psrc) == (B.hex(":"), "10.9.0.2")
    assert (reply[ARP].hwdst, reply[ARP].pdst) == (A.hex(":"), "10.9.0.1")


@pytest.mark.parametrize(
    ("operation", "sender", "target", "probe", "gratuitous"),
    [
        (1, "10.9.0.1", "10.9.0.2", False, False),
        (1, "0.0.0.0", "10.9.0.2", True, False),
        (1, "10.9.0.1", "10.9.0.1", False, True),
        (2, "10.9.0.1", "10.9.0.1", False, True),
        (2, "10.9.0.1", "10.9.0.2", False, False),
        (1, "0.0.0.0", "0.0.0.0", True, False),
    ],
)
def test_probes_and_announcements_are_told_from_questions(
    operation: int, sender: str, target: str, probe: bool, gratuitous: bool
) -> None:
    packet = arp.Arp(operation, A, parse_ip(sender), B, parse_ip(target))
    assert (packet.is_probe, packet.is_gratuitous) == (probe, gratuitous)
