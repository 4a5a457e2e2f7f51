"""Looks at the rows of one stream after the other: damage is found where nothing changes."""

from vxnet.gossip.hub import Hub
from vxnet.gossip.stream import Stream, sum_of
from vxnet.gossip.table import Table
from vxnet.wire.rows import Row

__all__ = ["Scrub"]

PAUSE_S = 0.05
"""Between two slices of a large stream others get their turn; it takes a processor's 2 %."""


class Count:
    """One stream that is being counted, and what shows whether it has changed since."""

    __slots__ = ("before", "count", "rows", "stream", "xor")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.rows = list(stream.live())
        self.before = (stream.watermark, stream.latest, stream.count, stream.xor)
        self.count = 0
        self.xor = 0

    @property
    def unchanged(self) -> bool:
        """Whether the rows are still those that were there at the beginning."""
        stream = self.stream
        return self.before == (stream.watermark, stream.latest, stream.count, stream.xor)

    def add(self, rows: list[Row]) -> None:
        """Count some."""
        count, xor = sum_of(rows)
        self.count += count
        self.xor ^= xor


class Scrub:
    """One stream an interval, a large one in slices; one that changes meanwhile is left for the
    next time, for each change compares it with what its owner says anyway."""

    def __init__(self, table: Table, hub: Hub, now: float) -> None:
        self._table = table
        self._hub = hub
        self._streams: list[Stream] = []
        hub.timers.at(now + hub.jitter(hub.settings.scrub_interval_s), self._next)

    def _next(self, now: float) -> None:
        while True:
            if not self._streams:
                self._streams = list(self._table)
            stream = self._streams.pop()
            if self._held(stream):
                break
        if len(stream.rows) > self._hub.settings.slice_rows:
            self._slice(Count(stream), now)
            return
        self._rest(now)
        self._table.scrub(stream)

    def _rest(self, now: float) -> None:
        self._hub.timers.at(now + self._hub.settings.scrub_interval_s, self._next)

    def _slice(self, count: Count, now: float) -> None:
        size = self._hub.settings.slice_rows
        count.add(count.rows[-size:])
        del count.rows[-size:]
        if not count.unchanged or not self._held(count.stream):
            self._hub.counters["scrubs_given_up"] += 1
            self._rest(now)
        elif count.rows:
            self._hub.timers.at(now + PAUSE_S, lambda at: self._slice(count, at))
        else:
            self._rest(now)
            self._table.scrub(count.stream, (count.count, count.xor))

    def _held(self, stream: Stream) -> bool:
        return self._table.get(stream.owner, stream.scope) is stream
