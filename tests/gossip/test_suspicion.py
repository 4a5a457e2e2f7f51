"""A suspicion ends sooner the more members share it, and never before its shortest time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxnet.gossip.settings import LAN, WAN
from vxnet.gossip.suspicion import Suspicion, shortest_s


@pytest.mark.parametrize(
    ("members", "seconds"),
    [(1, 4.0), (2, 4.0), (10, 4.0), (100, 8.0), (1000, 12.0), (31, 4 * math.log10(31))],
)
def test_the_shortest_suspicion_grows_with_the_logarithm_of_the_cluster(
    members: int, seconds: float
) -> None:
    assert shortest_s(members, LAN.probe_interval_s, LAN.suspicion_factor) == pytest.approx(seconds)


def test_across_a_wide_area_it_is_six_probes_of_five_seconds() -> None:
    assert shortest_s(10, WAN.probe_interval_s, WAN.suspicion_factor) == 30.0


def test_each_confirmation_shortens_it_down_to_the_shortest() -> None:
    suspicion = Suspicion(1, 100.0, 4.0, 24.0, 3)
    ends = [suspicion.deadline - 100.0]
    for by in (2, 3, 4):
        assert suspicion.confirm(by)
        ends.append(suspicion.deadline - 100.0)
    # Lifeguard: max - (max - min) * log(confirmations + 1) / log(k + 1)
    expected = [24 - 20 * math.log(c + 1) / math.log(4) for c in range(4)]
    assert ends == pytest.approx(expected)
    assert ends[0] == 24.0
    assert ends[-1] == pytest.approx(4.0)


def test_the_accuser_and_those_who_confirmed_count_once() -> None:
    suspicion = Suspicion(1, 0.0, 4.0, 24.0, 3)
    assert not suspicion.confirm(1)
    assert suspicion.confirm(2)
    before = suspicion.deadline
    assert not suspicion.confirm(2)
    assert suspicion.deadline == before


def test_more_confirmations_than_wanted_change_nothing() -> None:
    suspicion = Suspicion(1, 0.0, 4.0, 24.0, 1)
    assert suspicion.confirm(2)
    assert not suspicion.confirm(3)
    assert suspicion.deadline == pytest.approx(4.0)
    assert len(suspicion.by) == 2


def test_where_nobody_could_confirm_it_is_the_shortest() -> None:
    assert Suspicion(1, 10.0, 4.0, 24.0, 0).deadline == 14.0
    assert Suspicion(1, 10.0, 4.0, 24.0, -1).deadline == 14.0


@given(st.integers(0, 8), st.lists(st.integers(1, 12), max_size=30))
def test_it_only_ever_gets_shorter_and_stays_within_its_bounds(
    wanted: int, accusers: list[int]
) -> None:
    suspicion = Suspicion(1, 0.0, 4.0, 24.0, wanted)
    before = suspicion.deadline
    for by in accusers:
        suspicion.confirm(by)
        assert 4.0 <= suspicion.deadline <= before <= 24.0
        before = suspicion.deadline
