"""What the control plane and ports say stands above what frames say."""

import pytest

from tests.switch.site import (
    BLUE,
    FOREIGN,
    P1,
    P2,
    P3,
    PEER,
    RED,
    A,
    B,
    C,
    Site,
    frame,
    ip,
    mac,
)
from vxnet.errors import StateError
from vxnet.switch.actions import Deliver, Drop, DropReason, Forgotten, Learned, Moved, Send
from vxnet.switch.limits import Limits
from vxnet.switch.model import Peer, Port, RemoveEntry, Segment, SetEntry, SetPeers
from vxnet.wire.addr import BROADCAST, Mac, Vtep


def test_frames_go_where_the_control_plane_says() -> None:
    site = Site()
    site.hold(C)
    assert site.link(P1, frame(A, C)) == Send(PEER)
    site.hold(C, FOREIGN)
    assert site.link(P1, frame(A, C)) == Send(FOREIGN)
    site.program(RemoveEntry(BLUE, C))
    assert site.link(P1, frame(A, C)) == site.everybody_but(P1)


@pytest.mark.conformance("X11", "V3")
def test_learning_never_beats_an_entry() -> None:
    site = Site()
    site.hold(C)
    site.underlay(FOREIGN, frame(C, A))
    site.link(P2, frame(C, A))
    assert site.link(P1, frame(A, C)) == Send(PEER)
    row = site.row(C)
    assert row is not None
    assert (row.source, row.vtep, row.age_s) == ("control", PEER, None)


@pytest.mark.conformance("X11")
def test_an_entry_beats_what_was_learned() -> None:
    site = Site()
    site.underlay(FOREIGN, frame(C, A))
    site.link(P2, frame(B, A))
    site.hold(C)
    site.hold(B)
    assert site.link(P1, frame(A, C)) == site.link(P1, frame(A, B)) == Send(PEER)
    assert Forgotten(BLUE, B, P2) in site.events()


def test_entries_do_not_age_and_are_not_evicted() -> None:
    site = Site(Limits(learned_max=2, learned_per_port_max=2))
    site.hold(C)
    for number in range(100):
        site.wait(100)
        site.link(P1, frame(mac(number), B))
    assert site.link(P1, frame(A, C)) == Send(PEER)


def test_a_station_held_elsewhere_that_speaks_here_is_told_of_once_a_second() -> None:
    site = Site()
    site.hold(C)
    for _ in range(100):
        assert site.link(P1, frame(C, B)) == site.everybody_but(P1)
    assert site.events() == [Moved(BLUE, C, PEER, P1)]
    site.wait(1)
    site.link(P1, frame(C, B))
    assert site.events() == [Moved(BLUE, C, PEER, P1)]
    site.program(RemoveEntry(BLUE, C))
    site.link(P1, frame(C, B))
    assert site.events() == [Learned(BLUE, C, P1)]


def test_a_port_is_reached_before_it_spoke() -> None:
    site = Site(ports=(Port(P1, BLUE), Port(P2, BLUE, B)))
    assert site.link(P1, frame(A, B)) == Deliver(P2)
    row = site.row(B)
    assert row is not None
    assert (row.source, row.port, row.age_s) == ("local", P2, None)
    site.wait(10_000)
    assert site.link(P1, frame(A, B)) == Deliver(P2)


def test_a_port_made_here_takes_its_station_over() -> None:
    site = Site()
    site.hold(C)
    site.switch.add_port(Port(P3, BLUE, C))
    assert site.link(P1, frame(A, C)) == Deliver(P3)


def test_a_station_that_moved_away_is_followed_and_taken_back() -> None:
    site = Site(ports=(Port(P1, BLUE), Port(P2, BLUE, B)))
    site.hold(B)
    assert site.link(P1, frame(A, B)) == Send(PEER)
    site.program(RemoveEntry(BLUE, B))
    assert site.link(P1, frame(A, B)) == Deliver(P2)


def test_a_removed_port_leaves_an_entry_alone() -> None:
    site = Site(ports=(Port(P1, BLUE), Port(P2, BLUE, B)))
    site.hold(B)
    site.switch.remove_port(P2)
    assert site.link(P1, frame(A, B)) == Send(PEER)


@pytest.mark.parametrize("nobody", [BROADCAST, Mac(bytes(6)), Mac(b"\x01\0\x5e\0\0\1")])
def test_an_entry_for_what_is_no_station_is_ignored(nobody: Mac) -> None:
    site = Site()
    site.hold(nobody)
    assert site.row(nobody) is None
    assert site.link(P1, frame(A, nobody)) == site.everybody_but(P1)


def test_removing_an_entry_that_is_not_there_changes_nothing() -> None:
    site = Site()
    site.link(P1, frame(A, B))
    site.program(RemoveEntry(BLUE, A), RemoveEntry(BLUE, B))
    assert site.row(A) is not None


def test_what_is_said_of_networks_that_are_not_here_is_ignored() -> None:
    site = Site()
    site.program(
        SetEntry(RED, C, PEER),
        RemoveEntry(RED, C),
        SetPeers(RED, (Peer(PEER),)),
        SetPeers(BLUE, ()),
    )
    assert site.row(C, RED) is None
    assert site.underlay(PEER, frame(A, B)) == Drop(DropReason.UNKNOWN_VTEP)


def test_one_address_is_one_vtep() -> None:
    site = Site()
    moved = Vtep(FOREIGN.ip, 14789)
    site.underlay(FOREIGN, frame(C, A))
    site.program(SetPeers(BLUE, (Peer(moved, learning=True),)))
    assert site.row(C) is None
    site.underlay(FOREIGN, frame(C, A))
    assert site.link(P1, frame(A, C)) == Send(moved)


def test_wrong_requests_are_refused_in_a_sentence() -> None:
    site = Site(ports=(Port(P1, BLUE, A),))
    switch = site.switch
    with pytest.raises(StateError, match="port 2 is for network 8, which is not on this host"):
        switch.add_port(Port(P2, RED))
    with pytest.raises(StateError, match="port 1 exists already"):
        switch.add_port(Port(P1, BLUE))
    with pytest.raises(StateError, match="02:00:00:00:00:0a: another port of network 7 has it"):
        switch.add_port(Port(P2, BLUE, A))
    with pytest.raises(StateError, match="does not name a single station"):
        switch.add_port(Port(P2, BLUE, BROADCAST))
    with pytest.raises(StateError, match="network 7 still has 1 ports"):
        switch.remove_segment(BLUE)
    assert site.link(P2, frame(B, A)) == Drop(DropReason.PORT_UNKNOWN)


def test_a_network_without_ports_can_go_and_is_forgotten() -> None:
    site = Site(ports=(Port(P1, BLUE, A),))
    site.hold(C, PEER, "10.9.0.3")
    site.switch.remove_port(P1)
    site.switch.remove_port(P1)
    site.switch.remove_segment(BLUE)
    site.switch.remove_segment(BLUE)
    assert site.underlay(PEER, frame(C, A)) == Drop(DropReason.UNKNOWN_VNI)
    site.switch.set_segment(Segment(BLUE, 1450))
    assert site.row(C) is None


def test_addresses_of_ports_and_entries_are_in_the_table() -> None:
    site = Site(ports=(Port(P1, BLUE, A, (ip("10.9.0.1"),)),))
    site.hold(C, PEER, "10.9.0.3", "fd09::3")
    rows = {row.mac: row.ips for row in site.switch.rows(site.now)}
    assert rows == {A: (ip("10.9.0.1"),), C: (ip("10.9.0.3"), ip("fd09::3"))}
