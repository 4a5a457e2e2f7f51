"""Medians, ratios and their spread."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats import quantile, ratios, summary

speeds = st.floats(min_value=0.01, max_value=1e6)


@given(st.lists(speeds, min_size=1))
def test_the_median_lies_between_the_lowest_and_the_highest(values: list[float]) -> None:
    found = summary(values)
    assert found is not None
    assert found.low <= found.median <= found.high
    assert found.count == len(values)


def test_nothing_measured_has_no_summary() -> None:
    assert summary([]) is None


def test_the_spread_is_half_the_range_as_a_share_of_the_median() -> None:
    found = summary([8.0, 10.0, 14.0])
    assert found is not None
    assert found.spread == pytest.approx(0.3)


@given(st.dictionaries(st.integers(1, 9), speeds, min_size=1), speeds)
def test_a_machine_that_changes_its_speed_between_rounds_does_not_change_the_ratio(
    baseline: dict[int, float], factor: float
) -> None:
    values = {number: value * factor for number, value in baseline.items()}
    assert ratios(values, baseline) == pytest.approx([factor] * len(baseline))


def test_a_round_that_one_of_the_two_missed_gives_no_ratio() -> None:
    assert ratios({1: 3.0, 2: 4.0, 3: 5.0}, {2: 2.0, 3: 0.0, 4: 1.0}) == [2.0]


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)])
def test_a_quantile_is_one_of_the_values(share: float, value: float) -> None:
    assert quantile([float(number) for number in range(100, 0, -1)], share) == value
