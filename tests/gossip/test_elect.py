"""Whose word on a station counts, and what becomes of stations that move too often."""

from dataclasses import replace
from itertools import pairwise, permutations
from random import Random

import pytest

from tests.gossip.stage import BLUE, QUIET, mac
from vxnet.gossip.elect import MOVES_KEPT, Election
from vxnet.gossip.events import (
    Alarm,
    Entry,
    EntryFlag,
    EntryGone,
    EntrySet,
    Event,
    NodeId,
)
from vxnet.gossip.hub import Hub
from vxnet.gossip.settings import LAN
from vxnet.wire.addr import Ip, Mac, Vni, Vtep, parse_ip

ME = 100
A, IP = mac(1), parse_ip("10.0.0.1")
STATIC, GATEWAY = EntryFlag.STATIC, EntryFlag.GATEWAY


def entry(
    owner: int,
    sequence: int = 0,
    *ips: Ip,
    station: Mac = A,
    flags: EntryFlag = EntryFlag.NONE,
    vtep: str = "",
) -> Entry:
    address = Vtep(parse_ip(vtep or f"192.0.2.{owner}"), 4789)
    return Entry(BLUE, station, ips, address, NodeId(owner), sequence, flags)


class Booth:
    """An election, and what it told."""

    def __init__(self) -> None:
        self.hub = Hub(QUIET, Random(1))
        self.lost: list[Mac] = []
        self.election = Election(ME, self.hub, lambda _, station: self.lost.append(station))

    def set(self, *entries: Entry, now: float = 0.0) -> None:
        for one in entries:
            self.election.set(one, now)

    def events(self) -> list[Event]:
        out, self.hub.events = self.hub.events, []
        return out

    def alarms(self) -> list[str]:
        return [f"{e.kind}: {e.text}" for e in self.events() if isinstance(e, Alarm)]

    def move(self, times: int, *, start: float = 0.0, every: float = 1.0, first: int = 1) -> None:
        """A station that is here and there in turn, each time with a higher number."""
        for at in range(times):
            owner, other = (1, 2) if (first + at) % 2 == 0 else (2, 1)
            self.election.set(entry(owner, first + at), start + at * every)
            self.election.remove(BLUE, A, other, start + at * every)


@pytest.fixture
def booth() -> Booth:
    return Booth()


# ── who wins (RFC 7432 §15) ───────────────────────────────────────────────────────────────────

ORDERED = [
    ("pinned by the operator", entry(9, 0, flags=STATIC)),
    ("pinned, at a higher VTEP", entry(10, 0, flags=STATIC)),
    ("moved twice", entry(8, 2)),
    ("moved once, lower VTEP", entry(3, 1)),
    ("moved once, higher VTEP", entry(7, 1)),
    ("IPv4 before IPv6", entry(4, 0, vtep="255.0.0.1")),
    ("IPv6, lower", entry(5, 0, vtep="2001:db8::1")),
    ("IPv6, higher", entry(6, 0, vtep="2001:db8::2")),
]


@pytest.mark.conformance("V1")
@pytest.mark.parametrize("at", range(len(ORDERED) - 1))
def test_static_then_the_higher_number_then_the_lower_vtep_wins(booth: Booth, at: int) -> None:
    (_, better), (_, worse) = ORDERED[at], ORDERED[at + 1]
    booth.set(worse, better)
    assert booth.election.winner(BLUE, A) == better


def test_all_nodes_that_hold_the_same_claims_forward_alike() -> None:
    claims = [claim for _, claim in ORDERED[2:7]]
    winners = set()
    for order in permutations(claims):
        booth = Booth()
        booth.set(*order)
        winners.add(booth.election.winner(BLUE, A))
    assert winners == {claims[0]}


def test_when_the_winner_goes_the_next_best_takes_its_place(booth: Booth) -> None:
    booth.set(*(claim for _, claim in ORDERED))
    for (_, gone), (_, following) in pairwise(ORDERED):
        booth.events()
        booth.election.remove(BLUE, A, gone.owner, 0.0)
        assert booth.election.winner(BLUE, A) == following
        assert EntrySet(following) in booth.events()
    booth.election.remove(BLUE, A, ORDERED[-1][1].owner, 0.0)
    assert booth.events()[-1] == EntryGone(BLUE, A)
    assert list(booth.election.winners()) == []


def test_only_changes_of_the_winner_are_told(booth: Booth) -> None:
    booth.set(entry(1, 5))
    assert booth.events() == [EntrySet(entry(1, 5))]
    booth.set(entry(1, 5), entry(2, 1))
    booth.election.remove(BLUE, A, 2, 0.0)
    booth.election.remove(BLUE, A, 77, 0.0)
    booth.election.remove(Vni(99), A, 1, 0.0)
    assert booth.events() == []
    booth.set(entry(1, 5, IP))
    assert booth.events() == [EntrySet(entry(1, 5, IP))]


def test_networks_do_not_mix(booth: Booth) -> None:
    other = replace(entry(2), vni=Vni(99))
    booth.set(entry(1), other)
    assert list(booth.election.winners(BLUE)) == [entry(1)]
    assert list(booth.election.winners(99)) == [other]
    assert len(list(booth.election.winners())) == 2


# ── moving ────────────────────────────────────────────────────────────────────────────────────


def test_a_station_learned_here_that_is_elsewhere_gets_the_next_number(booth: Booth) -> None:
    assert booth.election.sequence(BLUE, A, 0.0, moved=True) == 0
    booth.set(entry(1, 4))
    assert booth.election.sequence(BLUE, A, 0.0, moved=True) == 5
    booth.set(entry(ME, 5))
    assert booth.election.sequence(BLUE, A, 0.0, moved=True) == 5  # it is here already


def test_the_old_owner_is_told_that_it_lost_its_station(booth: Booth) -> None:
    booth.set(entry(ME, 3))
    booth.set(entry(1, 4))
    assert booth.lost == [A]


def test_an_owner_outdone_by_a_pin_or_by_a_lower_vtep_keeps_its_row(booth: Booth) -> None:
    booth.set(entry(ME, 3), entry(1, 3))
    booth.set(entry(2, 0, flags=STATIC))
    assert booth.lost == []


@pytest.mark.conformance("V3")
def test_a_pinned_station_does_not_move(booth: Booth) -> None:
    booth.set(entry(1, 0, flags=STATIC))
    assert booth.election.sequence(BLUE, A, 0.0, moved=True) is None
    assert booth.hub.counters["pinned_refused"] == 1


def test_one_station_claimed_alike_at_two_places_is_an_alarm(booth: Booth) -> None:
    booth.set(entry(2), entry(1))
    (alarm,) = booth.alarms()
    assert alarm.startswith("duplicate_address")
    assert "192.0.2.1:4789 and at 192.0.2.2:4789" in alarm


@pytest.mark.conformance("V2")
def test_the_fifth_move_in_180_seconds_freezes_a_station_for_1800(booth: Booth) -> None:
    booth.set(entry(1))
    booth.move(4)
    assert not booth.election.frozen(BLUE, A, 4.0)
    booth.events()
    booth.move(1, start=4.0, first=5)
    assert booth.election.frozen(BLUE, A, 4.0)
    (alarm,) = booth.alarms()
    assert alarm.startswith("mac_frozen")
    assert "moved 5 times within 180 s" in alarm
    assert booth.election.sequence(BLUE, A, 5.0, moved=True) is None
    assert booth.hub.counters["frozen_refused"] == 1
    assert booth.election.frozen(BLUE, A, 1803.9)
    assert not booth.election.frozen(BLUE, A, 1804.0)
    assert booth.election.sequence(BLUE, A, 1804.0, moved=True) == 6


def test_moves_spread_over_more_than_180_seconds_freeze_nothing(booth: Booth) -> None:
    booth.set(entry(1))
    booth.move(20, every=46.0)
    assert not booth.election.frozen(BLUE, A, 20 * 46.0)


@pytest.mark.conformance("V2")
def test_a_frozen_station_can_be_believed_again_and_is_alarmed_again(booth: Booth) -> None:
    booth.set(entry(1))
    booth.move(5)
    booth.alarms()
    booth.election.unfreeze(BLUE, A)
    assert not booth.election.frozen(BLUE, A, 5.0)
    booth.move(4, start=5.0, first=6)
    assert booth.alarms() == []
    booth.move(1, start=9.0, first=10)
    assert len(booth.alarms()) == 1


def test_other_stations_are_not_frozen_with_it(booth: Booth) -> None:
    booth.set(entry(1))
    booth.move(5)
    assert not booth.election.frozen(BLUE, mac(2), 5.0)


def test_moves_are_remembered_of_so_many_stations_only(
    booth: Booth, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOVES_KEPT == 65_536
    monkeypatch.setattr("vxnet.gossip.elect.MOVES_KEPT", 10)
    for at in range(50):
        booth.set(entry(1, 0, station=mac(at)), entry(2, 1, station=mac(at)))
    assert len(booth.election._moves) == 10


def test_the_numbers_are_those_of_the_rfc() -> None:
    assert (LAN.moves_max, LAN.moves_window_s, LAN.frozen_s) == (5, 180.0, 1800.0)


# ── addresses ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.conformance("V11")
def test_one_address_at_two_stations_is_an_alarm_until_one_gives_it_up(booth: Booth) -> None:
    booth.set(entry(1, 0, IP), entry(2, 0, IP, station=mac(2)))
    (alarm,) = booth.alarms()
    assert alarm.startswith("duplicate_ip: 10.0.0.1 in network 7 belongs to 02:00:00:00:00:01")
    booth.set(entry(2, 0, station=mac(2)))
    booth.set(entry(2, 0, IP, station=mac(2)))
    assert len(booth.alarms()) == 1


@pytest.mark.parametrize(("address", "flags"), [("fe80::1", EntryFlag.NONE), ("10.0.0.1", GATEWAY)])
def test_link_local_addresses_and_gateways_are_no_clash(
    booth: Booth, address: str, flags: EntryFlag
) -> None:
    ip = parse_ip(address)
    booth.set(entry(1, 0, ip, flags=flags), entry(2, 0, ip, station=mac(2), flags=flags))
    assert booth.alarms() == []


def test_an_address_that_moves_with_its_station_is_no_clash(booth: Booth) -> None:
    booth.set(entry(1, 0, IP), entry(2, 1, IP))
    assert booth.alarms() == []


def test_addresses_of_stations_that_are_gone_are_forgotten(booth: Booth) -> None:
    for at in range(20):
        booth.set(entry(1, at, parse_ip(f"10.0.1.{at}")))
    assert len(booth.election._ips) == 1
    booth.election.remove(BLUE, A, 1, 0.0)
    assert not booth.election._ips
    assert not booth.election._claims
