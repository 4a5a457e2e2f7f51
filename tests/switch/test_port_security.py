"""Nobody speaks with another's voice."""

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6NDOptDstLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet as Layer

from tests.switch.site import (
    BLUE,
    FOREIGN,
    GROUP,
    P1,
    P2,
    P3,
    PEER,
    A,
    B,
    C,
    Site,
    frame,
    ip,
    tagged,
)
from vxnet.switch.actions import Deliver, Drop, DropReason, Learned, Send
from vxnet.switch.model import Port
from vxnet.wire import arp, nd
from vxnet.wire.addr import BROADCAST, Mac
from vxnet.wire.arp import Arp, Operation

IP_A, IP_B, IP6_A, IP6_B = ip("10.9.0.1"), ip("10.9.0.2"), ip("fd09::1"), ip("fd09::2")
LOCAL_A = ip("fe80::200:ff:fe00:a")
NO_MAC = Mac(bytes(6))
REFUSED = Drop(DropReason.PORT_SECURITY)
INVALID = Drop(DropReason.SOURCE_MAC_INVALID)


def guarded(**blue: bool) -> Site:
    """Port 1 is A's with its addresses; port 2 is B's, whatever addresses it has."""
    ports = (Port(P1, BLUE, A, (IP_A, IP6_A)), Port(P2, BLUE, B))
    return Site(ports=ports, **blue)


def advertise(
    target: str, *, source: Mac = A, named: Mac | None = None, extension: Layer | None = None
) -> bytes:
    """A neighbour advertisement to all nodes."""
    layer = Ether(src=source.hex(":"), dst="33:33:00:00:00:01")
    layer /= IPv6(src=target, dst="ff02::1", hlim=255)
    if extension is not None:
        layer /= extension
    message = ICMPv6ND_NA(tgt=target, R=0, S=0, O=1)
    return bytes(layer / message / ICMPv6NDOptDstLLAddr(lladdr=(named or source).hex(":")))


@pytest.mark.conformance("V14")
@pytest.mark.parametrize("source", [B, C, BROADCAST, NO_MAC])
def test_a_frame_with_another_source_mac_is_dropped(source: Mac) -> None:
    site = guarded()
    assert site.link(P1, frame(source, B)) == REFUSED
    assert site.link(P2, frame(B, A)) == Deliver(P1)
    assert site.events() == []


@pytest.mark.conformance("V14")
@pytest.mark.parametrize(
    "octets",
    [
        arp.request(A, IP_B, ip("10.9.0.9")),
        arp.build(BROADCAST, A, Arp(Operation.REPLY, A, IP_B, B, IP_B)),
        arp.build(BROADCAST, A, Arp(Operation.REPLY, B, IP_A, B, IP_A)),
        arp.build(B, A, Arp(Operation.REPLY, A, IP_B, B, IP_B)),
        nd.solicit(A, IP6_B, ip("fd09::9")),
        advertise("fd09::2"),
        advertise("fd09::1", named=B),
        advertise("fd09::2", extension=IPv6ExtHdrDestOpt()),
        advertise("fd09::2", extension=IPv6ExtHdrFragment()),
    ],
    ids=[
        "asks as another",
        "says it is another",
        "says another is it",
        "says it to one",
        "solicits as another",
        "advertises another",
        "advertises anothers mac",
        "behind an extension header",
        "in an atomic fragment",
    ],
)
def test_a_claim_to_anothers_address_is_dropped(octets: bytes) -> None:
    site = guarded()
    assert site.link(P1, octets) == REFUSED


@pytest.mark.conformance("V14")
@pytest.mark.parametrize(
    "octets",
    [
        arp.request(A, IP_A, ip("10.9.0.9")),
        arp.request(A, ip("0.0.0.0"), ip("10.9.0.9")),
        nd.solicit(A, IP6_A, ip("fd09::9")),
        nd.solicit(A, ip("::"), ip("fd09::9")),
        advertise("fd09::1"),
        advertise("fe80::200:ff:fe00:a"),
    ],
    ids=["arp", "arp probe", "ns", "dad", "na", "link-local"],
)
def test_a_claim_to_ones_own_address_is_passed_on(octets: bytes) -> None:
    site = guarded()
    assert site.link(P1, octets) == site.everybody_but(P1)


@pytest.mark.conformance("V14")
def test_anothers_link_local_address_cannot_be_claimed() -> None:
    site = guarded()
    site.hold(C, PEER, "fe80::c")
    assert site.link(P1, advertise("fe80::c")) == REFUSED
    assert site.link(P1, advertise("fe80::200:ff:fe00:a")) == site.everybody_but(P1)
    assert site.events() == [Learned(BLUE, A, P1, LOCAL_A)]
    site.switch.add_port(Port(P3, BLUE, C, (ip("10.9.0.3"),)))
    assert site.link(P3, advertise("fe80::200:ff:fe00:a", source=C)) == REFUSED


@pytest.mark.conformance("V14")
@pytest.mark.parametrize("size", [15, 20, 41])
def test_what_cannot_be_read_is_not_let_through_a_guarded_port(size: int) -> None:
    octets = arp.request(A, IP_A, ip("10.9.0.9"))[:size]
    site = guarded()
    site.switch.add_port(Port(P3, BLUE))
    assert site.link(P1, octets) == Drop(DropReason.FRAME_MALFORMED)
    passed = site.link(P3, octets.replace(A, C))
    assert not isinstance(passed, Drop)


@pytest.mark.conformance("V14")
def test_a_claim_cannot_hide_in_a_tag() -> None:
    site = guarded(vlan_transparent=True)
    octets = arp.request(A, IP_B, ip("10.9.0.9"))
    assert site.link(P1, tagged(octets, 0)) == REFUSED
    assert site.link(P1, tagged(tagged(octets, 0), 0)) == REFUSED


def test_a_port_without_assigned_addresses_may_claim_any_with_its_own_mac() -> None:
    site = guarded()
    assert site.link(P2, arp.request(B, IP_B, ip("10.9.0.9"))) == site.everybody_but(P2)
    assert site.events() == [Learned(BLUE, B, P2, IP_B)]
    spoof = arp.build(BROADCAST, B, Arp(Operation.REPLY, C, IP_B, A, IP_B))
    assert site.link(P2, spoof) == REFUSED


@pytest.mark.conformance("V3", "V14")
def test_an_open_port_cannot_take_anothers_assigned_mac() -> None:
    site = guarded()
    site.switch.add_port(Port(P3, BLUE))
    assert site.link(P3, frame(A, B)) == REFUSED
    assert site.link(P2, frame(B, A)) == Deliver(P1)


@pytest.mark.conformance("X15")
@pytest.mark.parametrize("source", [BROADCAST, GROUP, NO_MAC])
def test_a_source_that_is_no_station_is_dropped_wherever_it_comes_from(source: Mac) -> None:
    site = Site()
    assert site.link(P1, frame(source, B)) == INVALID
    assert site.underlay(PEER, frame(source, B)) == INVALID
    assert site.underlay(FOREIGN, frame(source, B)) == INVALID
    assert site.switch.rows(site.now) == []


@pytest.mark.conformance("X15")
def test_one_of_our_own_that_arrives_from_a_tunnel_is_dropped() -> None:
    site = guarded()
    site.switch.add_port(Port(P3, BLUE))
    site.link(P3, frame(C, A))
    for source in (PEER, FOREIGN):
        assert site.underlay(source, frame(A, B)) == INVALID
    assert site.underlay(PEER, frame(C, B)) == INVALID
    assert site.link(P2, frame(B, A)) == Deliver(P1)
    assert site.link(P2, frame(B, C)) == Deliver(P3)


@pytest.mark.conformance("X15")
def test_a_station_that_moved_away_is_no_longer_our_own() -> None:
    site = guarded()
    site.hold(A, PEER)
    assert site.underlay(PEER, frame(A, B)) == Deliver(P2)
    assert site.link(P2, frame(B, A)) == Send(PEER)
