"""Stations are learned from what they send, for as long as they send, and only so many."""

from dataclasses import replace

import pytest

from tests.switch.site import (
    BLUE,
    FOREIGN,
    P1,
    P2,
    PEER,
    A,
    B,
    C,
    Site,
    frame,
    mac,
)
from vxnet.switch.actions import Deliver, Drop, DropReason, Forgotten, Learned, Send
from vxnet.switch.limits import Limits
from vxnet.switch.model import Peer, Segment, SetPeers


def test_a_station_is_known_once_it_spoke() -> None:
    site = Site()
    assert site.link(P1, frame(A, B)) == site.everybody_but(P1)
    assert site.link(P2, frame(B, A)) == Deliver(P1)
    assert site.link(P1, frame(A, B)) == Deliver(P2)
    assert site.events() == [Learned(BLUE, A, P1), Learned(BLUE, B, P2)]
    assert site.events() == []


def test_a_frame_to_where_it_came_from_goes_nowhere() -> None:
    site = Site()
    site.link(P1, frame(A, C))
    assert site.link(P1, frame(B, A)) == Drop(DropReason.SAME_PORT)


@pytest.mark.conformance("X11")
def test_a_silent_station_is_forgotten_though_others_send_to_it() -> None:
    site = Site()
    site.underlay(FOREIGN, frame(A, B))
    for _ in range(299):
        site.wait(1)
        assert site.link(P1, frame(C, A)) == Send(FOREIGN)
    site.wait(1)
    assert site.link(P1, frame(C, A)) == site.everybody_but(P1)
    assert site.row(C) is not None


@pytest.mark.conformance("X11")
def test_a_station_that_speaks_is_not_forgotten() -> None:
    site = Site()
    for _ in range(5):
        site.underlay(FOREIGN, frame(A, B))
        site.wait(299)
    row = site.row(A)
    assert row is not None
    assert (row.vtep, row.source, row.age_s) == (FOREIGN, "learned", 299)


def test_a_forgotten_local_station_is_told_of() -> None:
    site = Site()
    site.link(P1, frame(A, B))
    site.wait(300)
    assert site.events() == [Learned(BLUE, A, P1), Forgotten(BLUE, A, P1)]


@pytest.mark.conformance("X11")
def test_nothing_is_learned_from_a_peer_whose_stations_the_control_plane_knows() -> None:
    site = Site()
    site.underlay(PEER, frame(A, B))
    assert site.row(A) is None


@pytest.mark.conformance("X11")
def test_nothing_is_learned_from_tunnels_where_the_network_says_so() -> None:
    site = Site(learning=False)
    site.underlay(FOREIGN, frame(A, B))
    assert site.row(A) is None


def test_a_station_moves_between_ports() -> None:
    site = Site()
    site.link(P1, frame(A, B))
    site.link(P2, frame(A, B))
    assert site.underlay(PEER, frame(C, A)) == Deliver(P2)
    assert site.events() == [Learned(BLUE, A, P1), Learned(BLUE, A, P2)]


def test_a_station_moves_to_a_foreign_vtep_and_back() -> None:
    site = Site()
    site.link(P1, frame(A, B))
    site.underlay(FOREIGN, frame(A, B))
    assert site.link(P2, frame(B, A)) == Send(FOREIGN)
    site.link(P1, frame(A, B))
    assert site.link(P2, frame(B, A)) == Deliver(P1)
    assert site.events() == [
        Learned(BLUE, A, P1),
        Forgotten(BLUE, A, P1),
        Learned(BLUE, B, P2),
        Learned(BLUE, A, P1),
    ]


def test_what_was_behind_a_removed_port_is_forgotten() -> None:
    site = Site()
    site.link(P1, frame(A, B))
    site.switch.remove_port(P1)
    assert site.row(A) is None
    assert site.events() == [Learned(BLUE, A, P1), Forgotten(BLUE, A, P1)]
    assert site.link(P1, frame(A, B)) == Drop(DropReason.PORT_UNKNOWN)


@pytest.mark.parametrize("peers", [(Peer(PEER),), (Peer(PEER), Peer(FOREIGN, learning=False))])
def test_what_was_learned_from_a_peer_goes_when_it_leaves_or_is_no_longer_believed(
    peers: tuple[Peer, ...],
) -> None:
    site = Site()
    site.underlay(FOREIGN, frame(A, B))
    site.program(SetPeers(BLUE, peers))
    assert site.row(A) is None


def test_what_was_learned_from_a_peer_outlives_a_change_of_the_others() -> None:
    site = Site()
    site.underlay(FOREIGN, frame(A, B))
    site.program(SetPeers(BLUE, (Peer(FOREIGN, learning=True),)))
    assert site.link(P1, frame(B, A)) == Send(FOREIGN)


def test_settings_of_a_network_change_under_way() -> None:
    site = Site()
    site.link(P1, frame(A, B))
    site.switch.set_segment(Segment(BLUE, 1450, flood_unknown=False))
    assert site.link(P2, frame(B, A)) == Deliver(P1)
    assert site.link(P2, frame(B, C)) == Drop(DropReason.UNKNOWN_UNICAST)


LIMITS = Limits(learned_max=6, learned_per_port_max=4, learned_per_peer_max=3)


def learned(site: Site) -> list[int]:
    return [
        int.from_bytes(row.mac[2:], "big")
        for row in site.switch.rows(site.now)
        if row.source == "learned"
    ]


def test_a_flood_of_addresses_does_not_push_out_those_who_speak() -> None:
    site = Site(LIMITS)
    for number in range(100):
        site.link(P1, frame(mac(number), B))
    assert learned(site) == [0, 1, 2, 3]
    assert site.switch.refused == 96
    assert site.link(P2, frame(B, mac(50))) == site.everybody_but(P2)


def test_a_station_not_heard_from_lately_makes_room_behind_its_own_port() -> None:
    site = Site(LIMITS)
    site.link(P2, frame(B, A))
    for number in range(4):
        site.link(P1, frame(mac(number), B))
    site.events()
    site.wait(9)
    site.link(P1, frame(mac(0), B))
    site.wait(1)
    for number in (4, 4):  # the first looks at the one that spoke, the second at the next
        site.link(P1, frame(mac(number), B))
    assert sorted(learned(site)) == [0, 2, 3, 4, 0xB]
    assert site.events() == [Forgotten(BLUE, mac(1), P1), Learned(BLUE, mac(4), P1)]


def test_a_peer_has_a_limit_and_so_has_the_network() -> None:
    site = Site(LIMITS)
    for number in range(10):
        site.underlay(FOREIGN, frame(mac(number), B))
    assert learned(site) == [0, 1, 2]
    for number in range(10, 20):
        site.link(P1, frame(mac(number), B))
    assert learned(site) == [0, 1, 2, 10, 11, 12]
    site.link(P2, frame(mac(20), B))
    assert mac(20) not in {row.mac for row in site.switch.rows(site.now)}


def test_a_port_makes_only_so_much_news_a_second() -> None:
    site = Site(
        replace(LIMITS, learned_per_port_max=99, learned_max=99, news_burst=5, news_per_s=2)
    )
    for number in range(10):
        site.link(P1, frame(mac(number), B))
    assert len(site.events()) == 5
    site.wait(1)
    for number in range(10, 20):
        site.link(P1, frame(mac(number), B))
    assert len(site.events()) == 2
    site.link(P2, frame(B, A))
    assert site.events() == [Learned(BLUE, B, P2)]


def test_what_nobody_was_told_is_not_learned() -> None:
    site = Site(Limits(events_max=3))
    for number in range(10):
        site.link(P1, frame(mac(number), B))
    assert site.events() == [Learned(BLUE, mac(number), P1) for number in range(3)]
    assert learned(site) == [0, 1, 2]
    site.link(P1, frame(mac(9), B))
    assert site.events() == [Learned(BLUE, mac(9), P1)]


def test_a_station_that_flaps_makes_only_so_much_news() -> None:
    site = Site(Limits(news_burst=5, news_per_s=1))
    for _ in range(100):
        site.link(P1, frame(A, B))
        site.link(P2, frame(A, B))
    assert len(site.events()) <= 10
