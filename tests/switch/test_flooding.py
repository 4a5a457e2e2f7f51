"""Who hears a frame that is for many or for nobody known; and that networks stay apart."""

import pytest

from tests.switch.site import (
    BLUE,
    FOREIGN,
    GROUP,
    P1,
    P2,
    P3,
    PEER,
    RED,
    STRANGER,
    A,
    B,
    C,
    D,
    Site,
    frame,
    tagged,
)
from vxnet.switch.actions import Deliver, Drop, DropReason, Flood, Send
from vxnet.switch.model import Peer, Port, Segment, SetEntry, SetPeers
from vxnet.wire.addr import BROADCAST, Mac, Vtep

FOR_MANY = pytest.mark.parametrize("destination", [BROADCAST, GROUP, D])


@pytest.mark.conformance("X12", "V4")
@FOR_MANY
def test_a_local_frame_goes_once_to_every_other_port_and_every_peer(destination: Mac) -> None:
    site = Site()
    assert site.link(P1, frame(A, destination)) == Flood((P2,), (PEER, FOREIGN))
    assert site.link(P2, frame(B, destination)) == Flood((P1,), (PEER, FOREIGN))


@pytest.mark.conformance("X12")
@FOR_MANY
def test_a_frame_from_a_tunnel_goes_to_every_port_and_no_tunnel(destination: Mac) -> None:
    site = Site()
    assert site.underlay(PEER, frame(A, destination)) == Flood((P1, P2), ())


@pytest.mark.conformance("X12")
def test_a_frame_from_a_tunnel_for_behind_a_tunnel_goes_nowhere() -> None:
    site = Site()
    site.hold(C)
    site.underlay(FOREIGN, frame(D, A))
    for source, destination in ((PEER, D), (FOREIGN, C), (PEER, C)):
        dropped = site.underlay(source, frame(A, destination))
        assert dropped == Drop(DropReason.SPLIT_HORIZON)


@FOR_MANY
def test_with_nobody_to_hear_it_a_frame_is_dropped(destination: Mac) -> None:
    site = Site(ports=(Port(P1, BLUE),))
    site.program(SetPeers(BLUE, ()))
    assert site.link(P1, frame(A, destination)) == Drop(DropReason.NO_RECEIVER)
    site.program(SetPeers(BLUE, (Peer(PEER),)))
    site.switch.remove_port(P1)
    assert site.underlay(PEER, frame(A, destination)) == Drop(DropReason.NO_RECEIVER)


@pytest.mark.conformance("X12", "V4")
def test_who_hears_it_follows_ports_and_peers() -> None:
    site = Site()
    site.switch.add_port(Port(P3, BLUE))
    assert site.link(P1, frame(A, BROADCAST)) == Flood((P2, P3), (PEER, FOREIGN))
    site.switch.remove_port(P2)
    site.program(SetPeers(BLUE, (Peer(PEER),)))
    assert site.link(P1, frame(A, BROADCAST)) == Flood((P3,), (PEER,))
    assert site.underlay(PEER, frame(B, BROADCAST)) == Flood((P1, P3), ())


@pytest.mark.conformance("V5")
def test_unknown_destinations_are_not_flooded_where_the_network_says_so() -> None:
    site = Site(flood_unknown=False)
    site.hold(C)
    assert site.link(P1, frame(A, D)) == Drop(DropReason.UNKNOWN_UNICAST)
    assert site.underlay(PEER, frame(C, D)) == Drop(DropReason.UNKNOWN_UNICAST)
    assert site.link(P1, frame(A, C)) == Send(PEER)
    assert site.link(P1, frame(A, BROADCAST)) == site.everybody_but(P1)
    assert site.underlay(PEER, frame(C, GROUP)) == Flood((P1, P2), ())


@pytest.mark.conformance("X4")
def test_an_unknown_vni_is_dropped() -> None:
    site = Site()
    assert site.underlay(PEER, frame(C, A), RED) == Drop(DropReason.UNKNOWN_VNI)


@pytest.mark.conformance("X4")
def test_equal_macs_in_two_networks_are_strangers() -> None:
    site = Site(ports=(Port(P1, BLUE, A), Port(P2, RED, B))[:1])
    site.switch.set_segment(Segment(RED, 1450))
    site.switch.add_port(Port(P2, RED, A))
    site.switch.add_port(Port(P3, RED, B))
    site.program(SetPeers(RED, (Peer(PEER),)), SetEntry(RED, C, PEER), SetEntry(BLUE, C, FOREIGN))
    assert site.underlay(PEER, frame(D, A), BLUE) == Deliver(P1)
    assert site.underlay(PEER, frame(D, A), RED) == Deliver(P2)
    assert site.link(P1, frame(A, C)) == Send(FOREIGN)
    assert site.link(P2, frame(A, C)) == Send(PEER)
    assert site.link(P1, frame(A, B)) == Flood((), (PEER, FOREIGN))
    assert site.link(P2, frame(A, B)) == Deliver(P3)


@pytest.mark.conformance("X16")
def test_a_vtep_that_is_not_of_the_network_is_dropped_and_not_learned_from() -> None:
    site = Site()
    site.switch.set_segment(Segment(RED, 1450))
    for source, vni in ((Vtep(STRANGER, 4789), BLUE), (FOREIGN, RED)):
        assert site.underlay(source, frame(C, A), vni) == Drop(DropReason.UNKNOWN_VTEP)
        assert site.row(C, vni) is None


@pytest.mark.conformance("X16")
def test_an_entry_does_not_make_its_vtep_a_peer() -> None:
    site = Site()
    stranger = Vtep(STRANGER, 4789)
    site.hold(C, stranger)
    assert site.link(P1, frame(A, C)) == Send(stranger)
    assert site.underlay(stranger, frame(C, A)) == Drop(DropReason.UNKNOWN_VTEP)
    site.program(SetPeers(BLUE, (Peer(stranger),)))
    assert site.underlay(stranger, frame(C, A)) == Deliver(P1)


@pytest.mark.conformance("X2")
def test_reserved_bits_matter_only_where_the_network_is_strict() -> None:
    for strict, action in ((False, Deliver(P1)), (True, Drop(DropReason.VXLAN_RESERVED))):
        site = Site(strict_reserved=strict)
        site.link(P1, frame(A, B))
        octets = frame(C, A)
        assert site.switch.from_underlay(BLUE, PEER.ip, octets, site.now, True) == action
        assert site.switch.from_underlay(BLUE, PEER.ip, octets, site.now, False) == Deliver(P1)


@pytest.mark.conformance("X13")
def test_tagged_frames_are_dropped_both_ways() -> None:
    site = Site(ports=(Port(P1, BLUE, A), Port(P2, BLUE)))
    site.hold(C)
    assert site.link(P1, tagged(frame(A, C), 5)) == Drop(DropReason.VLAN_TAGGED)
    assert site.underlay(PEER, tagged(frame(C, A), 5)) == Drop(DropReason.VLAN_TAGGED)
    qinq = bytearray(tagged(frame(A, C), 5))
    qinq[12:14] = b"\x88\xa8"
    assert site.link(P1, bytes(qinq)) == Drop(DropReason.VLAN_TAGGED)


@pytest.mark.conformance("X13")
def test_tagged_frames_are_carried_where_the_network_says_so() -> None:
    site = Site(ports=(Port(P1, BLUE, A), Port(P2, BLUE)), vlan_transparent=True)
    site.hold(C)
    assert site.link(P1, tagged(frame(A, C), 5)) == Send(PEER)
    assert site.underlay(PEER, tagged(frame(C, A), 5)) == Deliver(P1)


@pytest.mark.conformance("X14")
def test_a_frame_of_nothing_but_its_header_is_carried_and_a_shorter_one_dropped() -> None:
    site = Site()
    site.hold(C)
    site.link(P1, frame(A, B))
    assert site.link(P1, frame(A, C)[:14]) == Send(PEER)
    assert site.underlay(PEER, frame(C, A)[:14]) == Deliver(P1)
    for size in range(14):
        assert site.link(P1, frame(A, C)[:size]) == Drop(DropReason.FRAME_SHORT)
        assert site.underlay(PEER, frame(C, A)[:size]) == Drop(DropReason.FRAME_SHORT)
