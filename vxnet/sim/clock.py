"""A clock that moves when there is something to do."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

__all__ = ["Clock"]


class Clock:
    """Calls in the order of their time; equal times in the order they were asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, call: Callable[..., None], *arguments: Any) -> None:
        """Have something done at a time, or now if that is past."""
        self._count = count = self._count + 1
        heappush(self._heap, (max(when, self.now), count, call, arguments))

    def run(self, until: float) -> None:
        """Do everything up to a time, and stop there."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, call, arguments = heappop(heap)
            self.steps += 1
            call(*arguments)
        self.now = max(self.now, until)
