"""Runs of the simulator, as many at once as there are processors."""

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

__all__ = ["over_seeds"]

T = TypeVar("T")


def over_seeds(run: Callable[[int], T], seeds: Iterable[int]) -> list[T]:
    """What `run(seed)` gives for each seed; `run` is a module's function or a partial of one."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return list(pool.map(run, seeds))
