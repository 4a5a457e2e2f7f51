"""Floods are limited, loops are found and stopped, contended addresses are told of."""

from dataclasses import replace

import pytest

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
    D,
    Site,
    frame,
    ip,
)
from vxnet.switch.actions import (
    Deliver,
    Drop,
    DropReason,
    DuplicateIp,
    Flood,
    Forgotten,
    Looped,
    PortId,
    SwitchEvent,
)
from vxnet.switch.limits import Limits
from vxnet.switch.model import Port
from vxnet.wire import arp, nd
from vxnet.wire.addr import BROADCAST, Ip, Mac
from vxnet.wire.arp import Arp, Operation

LIMITED = Drop(DropReason.RATE_LIMITED)
LOOPED = Drop(DropReason.LOOPED)
FEW = Limits(
    flooded_per_port_per_s=10,
    flooded_per_port_burst=20,
    flooded_per_peer_per_s=10,
    flooded_per_peer_burst=20,
)


@pytest.mark.conformance("V13")
@pytest.mark.parametrize(
    "destination", [BROADCAST, GROUP, D], ids=["broadcast", "group", "unknown"]
)
def test_what_a_port_floods_is_limited_and_the_rest_dropped(destination: Mac) -> None:
    site = Site(FEW)
    flood, octets = site.everybody_but(P1), frame(A, destination)
    assert [site.link(P1, octets) for _ in range(22)] == [flood] * 20 + [LIMITED] * 2
    site.wait(1)
    assert [site.link(P1, octets) for _ in range(11)] == [flood] * 10 + [LIMITED]


@pytest.mark.conformance("V13")
def test_one_ports_storm_costs_no_other_port_and_no_known_destination() -> None:
    site = Site(FEW)
    site.link(P2, frame(B, A))
    for _ in range(100):
        site.link(P1, frame(A, BROADCAST))
    assert site.link(P1, frame(A, BROADCAST)) == LIMITED
    assert site.link(P1, frame(A, B)) == Deliver(P2)
    assert site.link(P2, frame(B, BROADCAST)) == site.everybody_but(P2)


@pytest.mark.conformance("V13")
def test_a_super_frame_counts_as_the_frames_it_is_cut_into() -> None:
    site = Site(FEW)
    octets = frame(A, D) + bytes(13_000)
    assert [site.link(P1, octets) for _ in range(3)] == [site.everybody_but(P1)] * 2 + [LIMITED]


@pytest.mark.conformance("V13")
def test_a_peers_storm_is_limited_too() -> None:
    site = Site(FEW)
    for _ in range(20):
        assert site.underlay(FOREIGN, frame(C, BROADCAST)) == Flood((P1, P2), ())
    assert site.underlay(FOREIGN, frame(C, BROADCAST)) == LIMITED
    assert site.underlay(PEER, frame(D, BROADCAST)) == Flood((P1, P2), ())


@pytest.mark.conformance("V13")
def test_floods_are_limited_by_default() -> None:
    site = Site()
    actions = {site.link(P1, frame(A, BROADCAST)) for _ in range(20_000)}
    assert actions == {site.everybody_but(P1), LIMITED}


def test_of_two_joined_ports_the_one_that_came_second_is_blocked() -> None:
    site = Site()
    site.switch.add_port(Port(P3, BLUE))
    storm = frame(A, BROADCAST)
    actions = [site.link(port, storm) for _ in range(10) for port in (P1, P2)]
    assert actions[6:] == [LOOPED if at % 2 else Flood((P3,), (PEER, FOREIGN)) for at in range(14)]
    assert site.events()[-1] == Looped(BLUE, A, P2, P1)
    assert site.link(P3, frame(B, A)) == Deliver(P1)
    assert site.underlay(PEER, frame(C, BROADCAST)) == Flood((P1, P3), ())


def test_what_was_behind_a_blocked_port_is_forgotten() -> None:
    site = Site()
    site.link(P2, frame(B, A))
    for port in (P1, P2) * 3:
        site.link(port, frame(A, BROADCAST))
    assert site.row(B) is None
    assert site.events()[-2:] == [Forgotten(BLUE, B, P2), Looped(BLUE, A, P2, P1)]


def looped_site() -> Site:
    """Port 2 is blocked."""
    site = Site()
    for port in (P1, P2) * 3:
        site.link(port, frame(A, BROADCAST))
    assert site.link(P2, frame(A, BROADCAST)) == LOOPED
    site.events()
    return site


def test_a_blocked_port_says_and_hears_nothing_and_gets_another_chance() -> None:
    site = looped_site()
    assert site.link(P2, frame(B, A)) == LOOPED
    assert site.link(P1, frame(C, B)) == Flood((), (PEER, FOREIGN))
    site.wait(59)
    assert site.link(P2, frame(B, A)) == LOOPED
    site.wait(1)
    assert site.link(P2, frame(B, A)) == Deliver(P1)
    assert site.link(P1, frame(C, BROADCAST)) == Flood((P2,), (PEER, FOREIGN))


def test_a_loop_that_shows_only_strangers_is_found_too() -> None:
    site = Site()
    site.hold(C)
    actions = [site.link(port, frame(C, BROADCAST)) for _ in range(4) for port in (P1, P2)]
    assert LOOPED in actions
    looped = [event for event in site.events() if isinstance(event, Looped)]
    assert looped == [Looped(BLUE, C, P2, P1)]


def test_a_station_may_change_ports_now_and_then() -> None:
    site = Site()
    for _ in range(20):
        for port in (P1, P2):
            assert site.link(port, frame(A, BROADCAST)) == site.everybody_but(port)
            site.wait(3)
    assert not any(isinstance(event, Looped) for event in site.events())


def test_a_guarded_port_cannot_be_blocked_by_anothers_forgeries() -> None:
    site = Site(ports=(Port(P1, BLUE, A), Port(P2, BLUE)))
    for _ in range(20):
        assert site.link(P2, frame(A, BROADCAST)) == Drop(DropReason.PORT_SECURITY)
        assert site.link(P1, frame(A, BROADCAST)) == site.everybody_but(P1)


IP_A = ip("10.9.0.1")


def claim(source: Mac, address: Ip) -> bytes:
    """A gratuitous ARP."""
    packet = Arp(Operation.REQUEST, source, address, Mac(bytes(6)), address)
    return arp.build(BROADCAST, source, packet)


def alarms(site: Site) -> list[SwitchEvent]:
    return [event for event in site.events() if isinstance(event, DuplicateIp)]


@pytest.mark.conformance("V11")
@pytest.mark.parametrize("version", [4, 6])
def test_a_claim_to_an_address_given_to_another_is_told_of(version: int) -> None:
    site = Site()
    address = ip("10.9.0.3") if version == 4 else ip("fd09::3")
    site.hold(C, PEER, "10.9.0.3", "fd09::3")
    claimed = claim(A, address) if version == 4 else nd.solicit(A, address, ip("fd09::9"))
    for _ in range(50):
        site.link(P1, claimed)
    assert alarms(site) == [DuplicateIp(BLUE, address, A, P1, C, PEER)]
    site.wait(181)
    site.link(P1, claimed)
    assert alarms(site) == [DuplicateIp(BLUE, address, A, P1, C, PEER)]


@pytest.mark.conformance("V11")
def test_a_foreign_station_that_claims_a_ports_address_is_told_of() -> None:
    site = Site(ports=(Port(P1, BLUE, A, (IP_A,)), Port(P2, BLUE)))
    site.underlay(FOREIGN, claim(C, IP_A))
    assert alarms(site) == [DuplicateIp(BLUE, IP_A, C, FOREIGN, A, P1)]


@pytest.mark.conformance("V11")
def test_an_address_that_changes_hands_again_and_again_is_told_of_once() -> None:
    site = Site()
    for _ in range(10):
        site.link(P1, claim(A, IP_A))
        site.link(P2, claim(B, IP_A))
        site.wait(1)
    assert alarms(site) == [DuplicateIp(BLUE, IP_A, B, P2, A, P1)]


def test_an_address_may_change_hands() -> None:
    site = Site()
    for _ in range(4):
        site.link(P1, claim(A, IP_A))
        site.link(P2, claim(B, IP_A))
        site.wait(181)
    assert alarms(site) == []


def test_only_so_many_contended_addresses_are_watched() -> None:
    site = Site(replace(Limits(), contended_max=2))
    for number in range(3):
        site.hold(Mac(b"\x02\x01\0\0\0" + bytes([number])), PEER, f"10.9.1.{number}")
    for _ in range(2):
        for number in range(3):
            site.link(PortId(1), claim(A, ip(f"10.9.1.{number}")))
    assert len(alarms(site)) == 6  # each forgot the one before, and tells again
