"""Processor time of the whole machine."""

import pytest

from benchmarks.cpu import TICK_S, busy_s

STAT = "cpu  {} {} {} {} {} {} {} {} 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n"


@pytest.mark.parametrize(
    ("field", "counts"),
    [
        ("user", True),
        ("nice", True),
        ("system", True),
        ("idle", False),
        ("iowait", False),
        ("irq", True),
        ("softirq", True),
        ("steal", False),
    ],
)
def test_every_kind_of_work_counts_and_no_kind_of_waiting(field: str, counts: bool) -> None:
    order = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"]
    stat = STAT.format(*(100 if name == field else 0 for name in order))
    assert busy_s(stat) == pytest.approx(100 * TICK_S if counts else 0)
