"""Who owns which part of a subnet: a map that hosts merge, in any order, to the same result.

An address belongs to the owner of the newest version that is known of it, and only its owner makes
a newer one, by handing it on. So there is one owner at a time, wherever the owner's word arrives.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

__all__ = ["RECLAIM_STEP", "Ring", "Segment"]

RECLAIM_STEP: Final = 1 << 32
"""What reclaiming adds to a version: more than a host cut off could add by handing on."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Addresses from `start` to `end`, both included, as numbers."""

    start: int
    end: int
    owner: int
    version: int

    @property
    def rank(self) -> tuple[int, int]:
        """The higher one holds; between equals, which only a reclaim can bring, the lower owner."""
        return (self.version, -self.owner)

    @property
    def size(self) -> int:
        """How many addresses."""
        return self.end - self.start + 1


class Ring:
    """The parts of one subnet that are known to belong to somebody."""

    def __init__(self, segments: Iterable[Segment] = ()) -> None:
        self._segments: list[Segment] = []
        for segment in segments:
            self.merge(segment)

    def __iter__(self) -> Iterator[Segment]:
        """The parts, in order of their addresses."""
        return iter(self._segments)

    def of(self, owner: int) -> list[Segment]:
        """The parts of one owner."""
        return [segment for segment in self._segments if segment.owner == owner]

    def owner_of(self, address: int) -> int | None:
        """Whose an address is, if that is known."""
        for segment in self._segments:
            if segment.start <= address <= segment.end:
                return segment.owner
        return None

    def merge(self, new: Segment) -> bool:
        """Take in what somebody says of a part; says whether anything changed."""
        before = self._segments
        parts: list[Segment] = []
        at = new.start  # what of the new part is not decided yet
        for old in before:
            if old.end < new.start or old.start > new.end:
                parts.append(old)
                continue
            start, end = max(old.start, new.start), min(old.end, new.end)
            if at < start:
                parts.append(replace(new, start=at, end=start - 1))
            if old.start < start:
                parts.append(replace(old, end=start - 1))
            newest = new if new.rank > old.rank else old
            parts.append(replace(newest, start=start, end=end))
            if end < old.end:
                parts.append(replace(old, start=end + 1))
            at = end + 1
        if at <= new.end:
            parts.append(replace(new, start=at))
        self._segments = _joined(sorted(parts, key=lambda segment: segment.start))
        return self._segments != before

    def hand_on(self, start: int, end: int, to: int, *, step: int = 1) -> list[Segment]:
        """Make a part somebody else's; returns the new parts."""
        made = [
            Segment(max(s.start, start), min(s.end, end), to, s.version + step)
            for s in self._segments
            if s.start <= end and s.end >= start
        ]
        for segment in made:
            self.merge(segment)
        return made


def _joined(segments: list[Segment]) -> list[Segment]:
    """Neighbours that say the same as one."""
    joined: list[Segment] = []
    for segment in segments:
        last = joined[-1] if joined else None
        if last is not None and last.end + 1 == segment.start and last.rank == segment.rank:
            joined[-1] = replace(last, end=segment.end)
        else:
            joined.append(segment)
    return joined
