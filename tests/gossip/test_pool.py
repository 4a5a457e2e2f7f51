"""A pool holds each item once, and draws different ones at random."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from vxnet.gossip.pool import Pool


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_a_pool_holds_what_was_put_in_and_not_taken_out(
    steps: list[tuple[bool, int]],
) -> None:
    pool: Pool[int] = Pool()
    held: set[int] = set()
    for put, item in steps:
        (pool.add if put else pool.discard)(item)
        (held.add if put else held.discard)(item)
        assert set(pool) == held
        assert len(pool) == len(held)
        assert all((at in pool) == (at in held) for at in range(10))


@given(st.integers(0, 12), st.integers(0, 12), st.none() | st.integers(0, 12), st.integers())
def test_those_drawn_are_different_and_never_the_one_left_out(
    size: int, count: int, without: int | None, seed: int
) -> None:
    pool: Pool[int] = Pool()
    for item in range(size):
        pool.add(item)
    drawn = pool.draw(Random(seed), count, without=without)
    possible = set(range(size)) - {without}
    assert len(drawn) == len(set(drawn)) == min(count, len(possible))
    assert set(drawn) <= possible


def test_everybody_is_drawn_about_equally_often() -> None:
    pool: Pool[int] = Pool()
    for item in range(10):
        pool.add(item)
    random = Random(1)
    drawn = Counter(item for _ in range(3000) for item in pool.draw(random, 3))
    assert set(drawn) == set(range(10))
    assert all(700 < times < 1100 for times in drawn.values())


def test_the_same_history_draws_the_same() -> None:
    def drawn() -> list[int]:
        pool: Pool[int] = Pool()
        for item in range(30):
            pool.add(item)
        for item in range(0, 30, 3):
            pool.discard(item)
        return pool.draw(Random(7), 5)

    assert drawn() == drawn()
