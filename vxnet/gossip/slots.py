"""Shallow copies of objects with slots, several times as fast as `copy.copy` makes them."""

from collections.abc import Callable
from operator import attrgetter
from typing import TypeVar

__all__ = ["copier"]

T = TypeVar("T")


def copier(kind: type[T], slots: tuple[str, ...]) -> Callable[[T], T]:
    """Makes such copies of this class, all of whose slots are set."""
    everything = attrgetter(*slots)

    def copy(thing: T) -> T:
        again: T = object.__new__(kind)
        for name, value in zip(slots, everything(thing), strict=True):
            setattr(again, name, value)
        return again

    return copy
