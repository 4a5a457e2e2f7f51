"""Rows that wait to be shown or hidden: of a large stream only a slice at a time.

A host that comes back with tens of thousands of stations would otherwise hold up everything else
for seconds, the answers to probes among them.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from vxnet.gossip.hub import Hub
from vxnet.gossip.stream import Key

if TYPE_CHECKING:
    from vxnet.gossip.timers import Timer

__all__ = ["Backlog"]

PAUSE_S = 0.002
"""Between two slices others get their turn."""


class Backlog:
    """`apply(owner, scope, keys)` brings what is seen of some rows up to what is true by then, so
    it does not matter what has happened to them meanwhile, or how often they were named."""

    def __init__(self, hub: Hub, apply: Callable[[int, int, Iterable[Key]], None]) -> None:
        self._hub = hub
        self._apply = apply
        self._waiting: dict[tuple[int, int], dict[Key, None]] = {}
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, owner: int, scope: int, keys: Iterable[Key], now: float) -> None:
        """Have rows brought up to what is true: few at once, many in slices from now on."""
        named = dict.fromkeys(keys)
        waiting = self._waiting.get((owner, scope))
        if waiting is not None:
            waiting.update(named)
        elif self._waiting or len(named) > self._hub.settings.slice_rows:
            self._waiting[owner, scope] = named
        else:
            self._apply(owner, scope, named)
            return
        if self._timer is None:
            self._slice(now)

    def finish(self) -> None:
        """All that waits, at once."""
        while self._waiting:
            (owner, scope), keys = self._waiting.popitem()
            self._apply(owner, scope, keys)

    def _slice(self, now: float) -> None:
        self._timer = None
        room = self._hub.settings.slice_rows
        while self._waiting and room:
            name, keys = next(iter(self._waiting.items()))
            some = [keys.popitem()[0] for _ in range(min(room, len(keys)))]
            if not keys:
                del self._waiting[name]
            room -= len(some)
            self._apply(*name, some)
        if self._waiting:
            self._timer = self._hub.timers.at(now + PAUSE_S, self._slice)
