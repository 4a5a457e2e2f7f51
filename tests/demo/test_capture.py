"""Reading a captured packet aloud: what it says, and when it is not VXLAN."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from vxnet.demo.capture import decode, is_udp_to

SOURCE, TARGET = "02:00:00:00:00:01", "02:00:00:00:00:02"
ETHER = Ether(src=SOURCE, dst=TARGET)
FRAMES = {
    "arp": ETHER / ARP(psrc="10.9.0.1", pdst="10.9.0.2"),
    "icmp": ETHER / IP(src="10.9.0.1", dst="10.9.0.2") / ICMP() / b"hello",
    "tcp": ETHER / IP(src="10.9.0.1", dst="10.9.0.2") / TCP(sport=1, dport=2) / b"hello",
    "udp": ETHER / IP(src="10.9.0.1", dst="10.9.0.2") / UDP(sport=1, dport=2) / b"hello",
    "nd": ETHER / IPv6(src="fe80::1", dst="ff02::1:ff00:2") / ICMPv6ND_NS(tgt="fd00::2"),
}
CHECKED = [name for name in FRAMES if name != "arp"]


def wrapped(inner: Packet, port: int = 4789, version: int = 4) -> bytes:
    """The frame as a VTEP puts it on the wire."""
    outer = (
        IP(src="192.0.2.1", dst="192.0.2.2")
        if version == 4
        else IPv6(src="2001:db8::1", dst="2001:db8::2")
    )
    tunnel = UDP(sport=50_000, dport=port) / VXLAN(vni=7, flags="Instance")
    return bytes(ETHER / outer / tunnel / inner)


def tunnelled(inner: Packet | bytes) -> bytes:
    """The frame behind its VXLAN header."""
    return bytes(VXLAN(vni=7, flags="Instance")) + bytes(inner)


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("version", [4, 6])
def test_a_packet_says_who_sent_it_and_in_which_network(name: str, version: int) -> None:
    [sighting] = decode(wrapped(FRAMES[name], version=version))
    assert sighting.vni == 7
    assert sighting.outer_target == ("192.0.2.2" if version == 4 else "2001:db8::2")
    assert sighting.inner_bytes == len(FRAMES[name])
    assert sighting.inner_checksums_ok


@pytest.mark.parametrize("name", CHECKED)
def test_one_flipped_bit_inside_is_seen_in_the_checksums(name: str) -> None:
    packet = bytearray(wrapped(FRAMES[name]))
    packet[-1] ^= 1
    [sighting] = decode(bytes(packet))
    assert not sighting.inner_checksums_ok


def test_other_ports_and_other_protocols_are_not_vxlan() -> None:
    assert decode(wrapped(FRAMES["icmp"], port=4790)) == []
    assert decode(bytes(FRAMES["tcp"])) == []
    assert decode(bytes(FRAMES["arp"])) == []


@pytest.mark.parametrize("name", CHECKED)
def test_a_burst_that_was_not_cut_is_read_as_the_datagrams_it_holds(name: str) -> None:
    whole = tunnelled(FRAMES[name])
    last = tunnelled(ETHER / IP(src="10.9.0.1", dst="10.9.0.2") / UDP(sport=3, dport=4))
    burst = IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=50_000, dport=4789)
    sightings = decode(bytes(ETHER / burst / (whole * 2 + last)))
    assert [s.inner_bytes for s in sightings] == [len(FRAMES[name])] * 2 + [42]
    assert all(s.inner_checksums_ok and s.vni == 7 for s in sightings)


def test_a_frame_padded_to_ethernets_least_size_is_one_frame() -> None:
    padded = bytes(FRAMES["arp"]).ljust(60, b"\0")
    outer = IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=50_000, dport=4789)
    [sighting] = decode(bytes(ETHER / outer / tunnelled(padded)))
    assert sighting.inner_bytes == 60


@pytest.mark.parametrize("version", [4, 6])
def test_the_quick_look_agrees_with_scapy(version: int) -> None:
    packet = wrapped(FRAMES["udp"], port=14789, version=version)
    assert is_udp_to(packet, 14789)
    assert not is_udp_to(packet, 4789)
    assert not any(is_udp_to(packet[:size], 14789) for size in range(36))
