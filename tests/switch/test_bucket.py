"""A token bucket lets a burst through, and then its rate."""

from hypothesis import given
from hypothesis import strategies as st

from vxnet.switch.bucket import TokenBucket


def test_a_burst_passes_and_then_so_many_a_second() -> None:
    bucket = TokenBucket(per_s=10, burst=5)
    assert [bucket.take(100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [bucket.take(100.25) for _ in range(3)] == [True] * 2 + [False]
    assert [bucket.take(900.0) for _ in range(6)] == [True] * 5 + [False]


def test_what_is_too_much_at_once_takes_nothing() -> None:
    bucket = TokenBucket(per_s=1, burst=5)
    assert not bucket.take(0.0, 6)
    assert bucket.take(0.0, 5)


@given(st.floats(0, 1_000), st.floats(1, 1_000), st.lists(st.floats(0, 2), max_size=200))
def test_never_more_passes_than_the_burst_and_the_rate(
    per_s: float, burst: float, gaps: list[float]
) -> None:
    bucket = TokenBucket(per_s, burst)
    now, passed = 50.0, 0
    for gap in gaps:
        now += gap
        passed += bucket.take(now)
    assert passed <= burst + per_s * sum(gaps) + 1e-6
