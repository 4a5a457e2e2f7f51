"""A set to draw from: add, remove and draw at random, each in constant time."""

from collections.abc import Hashable, Iterator
from random import Random
from typing import Generic, TypeVar

__all__ = ["Pool"]

T = TypeVar("T", bound=Hashable)


class Pool(Generic[T]):
    """Its order depends only on what was done to it, so a run can be repeated.

    `items` are for reading: asked for at each packet, they are worth no call.
    """

    __slots__ = ("_at", "items")

    def __init__(self) -> None:
        self.items: list[T] = []
        self._at: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __contains__(self, item: object) -> bool:
        return item in self._at

    def add(self, item: T) -> None:
        """Put it in, once."""
        if item not in self._at:
            self._at[item] = len(self.items)
            self.items.append(item)

    def discard(self, item: T) -> None:
        """Take it out, if it is in."""
        at = self._at.pop(item, None)
        if at is None:
            return
        last = self.items.pop()
        if at < len(self.items):
            self.items[at] = last
            self._at[last] = at

    def draw(self, random: Random, count: int, *, without: T | None = None) -> list[T]:
        """Up to `count` different ones."""
        items = self.items
        if len(items) <= count + 1:
            drawn = [item for item in items if item != without]
            random.shuffle(drawn)
            return drawn[:count]
        drawn = []
        while len(drawn) < count:
            item = items[int(random.random() * len(items))]
            if item != without and item not in drawn:
                drawn.append(item)
        return drawn
