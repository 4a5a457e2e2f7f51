"""What is to happen when: a heap of calls on a clock that somebody else reads."""

import heapq
from collections.abc import Callable

__all__ = ["Timer", "Timers"]

Call = Callable[[float], None]


class Timer:
    """One call to come. `cancel` is final and may be repeated."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Call) -> None:
        self.when = when
        self.call: Call | None = call

    def cancel(self) -> None:
        """Never call."""
        self.call = None


class Timers:
    """All calls to come, earliest first; equal times in the order they were asked for."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0

    def at(self, when: float, call: Call) -> Timer:
        """Have `call(now)` made at `when` or soon after."""
        timer = Timer(when, call)
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, timer))
        return timer

    def deadline(self) -> float | None:
        """When the next call is due; None where there is none."""
        heap = self._heap
        while heap and heap[0][2].call is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def run(self, now: float) -> None:
        """Make every call that is due; one that is asked for meanwhile waits for the next run."""
        heap = self._heap
        due: list[Timer] = []
        while heap and heap[0][0] <= now:
            due.append(heapq.heappop(heap)[2])
        for timer in due:
            call, timer.call = timer.call, None
            if call is not None:
                call(now)
