"""A clock that moves when there is something to do."""

import heapq
from collections.abc import Callable

__all__ = ["Clock"]


class Clock:
    """Calls in the order of their time; equal times in the order they were asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Have something done at a time, or now if that is past."""
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, call))

    def run(self, until: float) -> None:
        """Do everything up to a time, and stop there."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, call = heapq.heappop(heap)
            self.steps += 1
            call()
        self.now = max(self.now, until)
