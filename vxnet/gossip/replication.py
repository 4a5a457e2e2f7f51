"""Rows in and out: what others sent of their streams, and what this node changes in its own."""

from collections import deque
from collections.abc import Callable, Sequence

from vxnet.gossip.hub import Hub
from vxnet.gossip.member import Peer
from vxnet.gossip.queue import Queue
from vxnet.gossip.roster import Roster
from vxnet.gossip.stream import Stream
from vxnet.gossip.table import Table
from vxnet.wire.gossip import Delta, Pull, Rows, Snapshot
from vxnet.wire.rows import Head, Item, Row

__all__ = ["Replication"]

RELAYED_ROWS_MAX = 16
"""A delta of more rows than this is not passed on as rows: who lacks it pulls."""

GAP_S = 0.3
"""How long a missing row may be on its way before it is asked for."""


class Replication:
    """`outlived(epoch, now)` is called when somebody holds more of our stream than we do."""

    def __init__(
        self,
        roster: Roster,
        table: Table,
        queue: Queue,
        hub: Hub,
        now: float,
        *,
        outlived: Callable[[int, float], None],
    ) -> None:
        self._roster = roster
        self._table = table
        self._queue = queue
        self._hub = hub
        self._outlived = outlived
        self._gaps: dict[Stream, Peer] = {}
        self._deleted: dict[Stream, deque[tuple[float, int]]] = {}
        self.settled = True  # False while joining: what is fetched then is no news to others
        hub.timers.at(now + hub.settings.tombstone_s / 4, self._collect)

    # ── ours ────────────────────────────────────────────────────────────────────────────────

    def publish(self, scope: int, kind: int, key: bytes, body: bytes | None, now: float) -> None:
        """Set or delete a row of ours and tell the others. Raises StateError beyond a bound."""
        row = self._table.publish(scope, kind, key, body)
        if row is None:
            return
        stream = self._table.own(scope)
        if body is None:
            self._deleted.setdefault(stream, deque()).append((now, row.ver))
        self._queue.rows(stream, [row], now, own=True)

    def reborn(self, epoch: int, now: float) -> None:
        """Everything of ours again, under a higher epoch."""
        self._deleted.clear()
        for stream in self._table.restart(epoch):
            self._queue.rows(stream, stream.since(0), now, own=True)

    def own_seen(self, seen: Item | Head, now: float) -> None:
        """Somebody holds a stream of ours: it can not be further than we are."""
        me = self._roster.me
        stream = self._table.get(me.id, seen.scope)
        if seen.epoch > me.epoch or (
            stream is not None and (seen.epoch, seen.att, seen.ver) > (*stream.life, stream.ver)
        ):
            self._hub.counters["own_stream_ahead"] += 1
            self._outlived(seen.epoch, now)

    def _collect(self, now: float) -> None:
        """Tombstones that all who listen have seen, or will get a snapshot instead (R5)."""
        keep_s = self._hub.settings.tombstone_s
        self._hub.timers.at(now + keep_s / 4, self._collect)
        for stream, deleted in list(self._deleted.items()):
            up_to = 0
            while deleted and deleted[0][0] + keep_s <= now:
                up_to = deleted.popleft()[1]
            if up_to:
                stream.collect(up_to)
            if not deleted:
                del self._deleted[stream]

    # ── theirs ──────────────────────────────────────────────────────────────────────────────

    def take(self, message: Rows | Delta | Snapshot, sender: Peer, now: float) -> None:
        """Rows of a stream arrived."""
        head = message.head
        if head.owner == self._roster.me.id:
            self.own_seen(head, now)
            return
        if not self._roster.plausible(head.epoch, now):
            self._hub.counters["epoch_refused"] += 1
            return
        stream = self._table.admit(head)
        if stream is None:
            return
        match message:
            case Rows(_, rows):
                self._table.apply(stream, rows, lambda: stream.push(head, rows))
                self._relay(stream, rows, now)
            case Delta(_, start, to, complete, rows):
                moved = self._table.apply(
                    stream, rows, lambda: stream.delta(head, start, to, complete, rows)
                )
                self._pass_on(stream, rows, moved, now)
            case Snapshot(_, to, rows):
                moved = self._table.apply(stream, rows, lambda: stream.snapshot(head, to, rows))
                if moved and self.settled:
                    self._queue.advert(stream, now)
        if not stream.complete:
            self._miss(stream, sender, now)

    def _relay(self, stream: Stream, rows: Sequence[Row], now: float) -> None:
        news: list[Row] = []
        for row in rows:
            held = stream.rows.get((row.kind, row.key))
            if held is row:
                news.append(row)
            elif held is not None and held.ver == row.ver:
                self._queue.heard("row", stream.owner, stream.scope, row.kind, row.key)
        if news:
            self._queue.rows(stream, news, now, own=False)

    def _pass_on(self, stream: Stream, rows: Sequence[Row], moved: bool, now: float) -> None:
        if not moved or not self.settled:
            return
        if len(rows) <= RELAYED_ROWS_MAX:
            self._relay(stream, rows, now)
        else:
            self._queue.advert(stream, now)

    # ── gaps ────────────────────────────────────────────────────────────────────────────────

    def _miss(self, stream: Stream, sender: Peer, now: float) -> None:
        """Rows between are missing: give them a moment, then ask."""
        if not self._gaps:
            self._hub.timers.at(now + GAP_S, self._fill)
        self._gaps.setdefault(stream, sender)

    def _fill(self, now: float) -> None:
        gaps, self._gaps = self._gaps, {}
        wanted: dict[Peer, list[Item]] = {}
        for stream, sender in gaps.items():
            if stream.complete or self._table.get(stream.owner, stream.scope) is not stream:
                continue
            wanted.setdefault(sender, []).append(stream.item())
        for peer, items in wanted.items():
            self._hub.counters["gaps"] += len(items)
            for at in range(0, len(items), 24):
                self._hub.send(peer.address, Pull(items[at : at + 24]))
