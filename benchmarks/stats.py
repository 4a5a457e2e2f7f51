"""Medians and ratios, and how far they scatter.

A shared machine drifts: its second minute may be half as fast as its first. So what is compared is
measured side by side, round by round, and a ratio is formed within each round before anything is
averaged. Its spread is then of the comparison, not of the machine's mood.
"""

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

__all__ = ["Summary", "quantile", "ratios", "summary"]


class Summary(msgspec.Struct, frozen=True):
    """Several measurements of one thing."""

    median: float
    low: float
    high: float
    count: int

    @property
    def spread(self) -> float:
        """Half the distance from the lowest to the highest, as a share of the median."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


def summary(values: Sequence[float]) -> Summary | None:
    """The values in brief; None when there are none."""
    if not values:
        return None
    return Summary(median(values), min(values), max(values), len(values))


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed; of few values, the largest."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def ratios(values: Mapping[int, float], baseline: Mapping[int, float]) -> list[float]:
    """What a peer reached for each unit of the baseline, in every round that has both."""
    return [
        value / baseline[number] for number, value in sorted(values.items()) if baseline.get(number)
    ]
