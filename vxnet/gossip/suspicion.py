"""A suspicion: how long a member has to speak up, less the more others doubt it (Lifeguard)."""

import math

__all__ = ["Suspicion", "shortest_s"]


def shortest_s(members: int, probe_interval_s: float, factor: float) -> float:
    """The shortest suspicion in a cluster of this size."""
    return factor * max(1.0, math.log10(max(1, members))) * probe_interval_s


class Suspicion:
    """Starts at the longest time and shrinks to the shortest with `wanted` confirmations."""

    __slots__ = ("by", "longest_s", "shortest_s", "started", "wanted")

    def __init__(
        self, by: int, started: float, shortest_s: float, longest_s: float, wanted: int
    ) -> None:
        self.by = {by}  # the first accuser is no confirmation
        self.started = started
        self.shortest_s = shortest_s
        self.longest_s = longest_s
        self.wanted = wanted

    def confirm(self, by: int) -> bool:
        """Another member doubts it too; False where that was known or is no longer needed."""
        if by in self.by or len(self.by) > self.wanted:
            return False
        self.by.add(by)
        return True

    @property
    def deadline(self) -> float:
        """When the member is to be declared dead."""
        if self.wanted <= 0:
            return self.started + self.shortest_s
        share = math.log(len(self.by)) / math.log(self.wanted + 1)
        span = self.longest_s - self.shortest_s
        return self.started + max(self.shortest_s, self.longest_s - span * share)
