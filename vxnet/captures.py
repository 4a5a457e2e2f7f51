"""Captures: several listeners to what one datapath sees, each with a bounded queue of its own."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from vxnet.datapath.base import Datapath
from vxnet.datapath.sight import SNAP_MAX, Sight
from vxnet.errors import StateError

__all__ = ["Capture", "Captures"]

OPEN_MAX: Final = 16
SIGHTS_MAX: Final = 16_384
OCTETS_MAX: Final = 32 << 20

Filter = Callable[[Sight], bool]


class Capture:
    """One listener. What it does not fetch in time is missed, and counted."""

    def __init__(self, snap: int, wanted: Filter) -> None:
        self.snap = snap
        self._wanted = wanted
        self._waiting: deque[Sight] = deque()
        self._octets = 0
        self._missed = 0
        self._ready = asyncio.Event()
        self._is_over = False

    async def fetch(self) -> tuple[list[Sight], int]:
        """Wait for sights; returns them, and how many were missed. None means that it is over."""
        while not (self._waiting or self._is_over):
            self._ready.clear()
            await self._ready.wait()
        sights, missed = list(self._waiting), self._missed
        self._waiting.clear()
        self._octets = self._missed = 0
        return sights, missed

    def end(self) -> None:
        """Nothing more comes."""
        self._is_over = True
        self._ready.set()

    def hear(self, sights: Sequence[Sight], missed: int) -> None:
        """Take those that are wanted."""
        self._missed += missed
        for sight in filter(self._wanted, sights):
            kept = min(len(sight.octets), self.snap)
            if len(self._waiting) >= SIGHTS_MAX or self._octets + kept > OCTETS_MAX:
                self._missed += 1
                continue
            self._octets += kept
            self._waiting.append(sight)
        if self._waiting:
            self._ready.set()


class Captures:
    """Has the datapath watch while anybody listens, and only then."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._open: set[Capture] = set()

    def open(self, snap: int, wanted: Filter) -> Capture:
        """Listen from now on, to `snap` octets a frame. Raises StateError where too many do."""
        if len(self._open) >= OPEN_MAX:
            raise StateError(f"{OPEN_MAX} captures run already; end one of them")
        capture = Capture(min(snap, SNAP_MAX), wanted)
        self._open.add(capture)
        self._watch()
        return capture

    def close(self, capture: Capture) -> None:
        """Listen no more. Idempotent."""
        capture.end()
        if capture in self._open:
            self._open.remove(capture)
            self._watch()

    def close_all(self) -> None:
        """Whoever listens hears that it is over."""
        for capture in list(self._open):
            self.close(capture)

    def _watch(self) -> None:
        snap = max((capture.snap for capture in self._open), default=0)
        self._datapath.watch(snap, self._hear)

    def _hear(self, sights: Sequence[Sight], missed: int) -> None:
        for capture in self._open:
            capture.hear(sights, missed)
