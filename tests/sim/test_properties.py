"""P1 to P7 of docs/gossip.md, with as many seeds as each test run can afford.

`scripts/sim` runs the same with many more seeds and hosts.
"""

from functools import partial

import pytest

from tests.sim.runs import over_seeds
from vxnet.sim.measure import (
    crash_s,
    false_deaths,
    idle_bytes_per_s,
    paused_deaths,
    percentile,
    split_heals_s,
    spread_intervals,
)
from vxnet.sim.storm import weather

pytestmark = pytest.mark.timeout(900)

SEEDS = {3: 24, 30: 8, 100: 2}
SIZES = sorted(SEEDS)


@pytest.mark.parametrize(("loss", "allowed"), [(0.0, 1.0), (0.1, 1.0), (0.3, 1.5)])
@pytest.mark.parametrize("size", SIZES)
def test_an_update_reaches_everybody_within_a_gossip_interval_a_doubling(
    size: int, loss: float, allowed: float
) -> None:
    runs = over_seeds(partial(spread_intervals, size, loss=loss, updates=5), range(SEEDS[size]))
    took = [intervals for run in runs for intervals in run]
    assert percentile(took, 0.99) <= allowed


@pytest.mark.parametrize("size", [3, 4, 6])
def test_after_any_storm_all_replicas_are_equal_and_nothing_came_back(size: int) -> None:
    storms = over_seeds(partial(weather, size), range(96 // size))
    assert [storm.faults for storm in storms if storm.faults] == []


@pytest.mark.parametrize(("size", "seed"), [(4, 77), (6, 2)])
def test_storms_that_once_left_faults_behind_leave_none(size: int, seed: int) -> None:
    assert weather(size, seed).faults == []


@pytest.mark.parametrize("size", SIZES)
def test_nobody_dies_because_one_process_stands_still(size: int) -> None:
    assert over_seeds(partial(paused_deaths, size), range(SEEDS[size])) == [[]] * SEEDS[size]


def test_starved_members_kill_nobody_who_is_well_and_lifeguard_is_why() -> None:
    with_it = over_seeds(partial(false_deaths, 30, for_s=40.0), range(2))
    without = over_seeds(partial(false_deaths, 30, for_s=40.0, lifeguard=False), range(2))
    assert with_it == [0, 0]
    assert sum(without) >= 5


@pytest.mark.parametrize("size", SIZES)
def test_a_crash_is_known_to_all_within_the_suspicion_and_three_intervals(size: int) -> None:
    runs = over_seeds(partial(crash_s, size), range(SEEDS[size]))
    allowed = runs[0][1]
    assert percentile([took for took, _ in runs], 0.99) <= allowed


@pytest.mark.parametrize("restart_seeds", [False, True], ids=["as-was", "seeds-restarted"])
@pytest.mark.parametrize("size", SIZES)
def test_a_split_heals_within_15_s(size: int, restart_seeds: bool) -> None:
    run = partial(split_heals_s, size, restart_seeds=restart_seeds)
    assert percentile(over_seeds(run, range(SEEDS[size])), 0.99) <= 15.0


def test_a_split_of_an_hour_heals_as_fast() -> None:
    took = over_seeds(partial(split_heals_s, 6, length_s=3600.0), range(2))
    assert max(took) <= 15.0


def test_a_node_at_rest_costs_the_same_in_a_large_cluster() -> None:
    small, large = (idle_bytes_per_s(size, seed=1) for size in (30, 200))
    assert large == pytest.approx(small, rel=0.2)
    assert small <= 290
