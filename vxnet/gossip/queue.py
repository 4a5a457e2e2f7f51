"""News on its way: what is told to random members, how often, and what is told first.

Each item goes to `fanout` random members of its scope at once, again a moment later, and then at
intervals until it was sent often enough for the size of the cluster. Own rows go before relayed
ones, and what was told less before what was told more.
"""

import math
from collections.abc import Iterable
from heapq import heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING

from vxnet.gossip.hub import Hub
from vxnet.gossip.limit import Bucket
from vxnet.gossip.member import Address, Peer
from vxnet.gossip.pool import Pool
from vxnet.gossip.roster import Roster
from vxnet.gossip.stream import Stream
from vxnet.gossip.table import Table
from vxnet.wire.gossip import BODY_MAX, Have, encode, pack_rows
from vxnet.wire.rows import Row

if TYPE_CHECKING:
    from vxnet.gossip.timers import Timer

__all__ = ["Queue"]

OVERHEAD = 64
"""Octets of a stream's head and the arrays around rows, at most."""

_NEWEST_FIRST = attrgetter("rank", "sent")

_IN_ORDER = attrgetter("order")

Name = tuple[object, ...]


class News:
    """One thing to tell: a message about a member, or a row of a stream."""

    __slots__ = ("data", "due", "name", "order", "own", "rank", "row", "scope", "sent", "stream")

    def __init__(self, name: Name, scope: int, data: bytes, due: float, *, own: bool) -> None:
        self.name = name
        self.scope = scope
        self.data = data
        self.due = due
        self.own = own
        self.order = 0  # among all that were ever put in, once it is
        self.sent = 0
        self.rank = 0 if own else 1
        self.stream: Stream | None = None
        self.row: Row | None = None


class Queue:
    """What waits to be told. A newer item of the same name takes the place of the older."""

    def __init__(self, roster: Roster, table: Table, hub: Hub, now: float) -> None:
        self._roster = roster
        self._table = table
        self._hub = hub
        self._news: dict[Name, News] = {}
        # When each is due: a heap, where what was put off or dropped since is passed over.
        self._agenda: list[tuple[float, int, News]] = []
        self._entered = 0
        self._of_stream: dict[tuple[int, int], int] = {}
        self._timer: Timer | None = None
        self._phase = now + hub.jitter(hub.settings.gossip_interval_s)
        budget = hub.settings.budget_bytes_per_s
        self._budget = Bucket(budget, budget, now)
        self._enough = (0, 0)  # for a size of the cluster, so many sends

    def __len__(self) -> int:
        return len(self._news)

    # ── in ──────────────────────────────────────────────────────────────────────────────────

    def member(self, node_id: int, message: object, now: float, *, own: bool = False) -> None:
        """Tell all about a member."""
        self._put(News(("member", node_id), 0, encode(message), self._due(now, own), own=own))

    def rows(self, stream: Stream, rows: Iterable[Row], now: float, *, own: bool) -> None:
        """Tell those who have the scope of rows; of too many, only that there are some."""
        name = (stream.owner, stream.scope)
        if ("advert", *name) in self._news:
            self._advert(stream, now, own=own)
            return
        for row in rows:
            news = News(
                ("row", *name, row.kind, row.key),
                stream.scope,
                encode(row),
                self._due(now, own),
                own=own,
            )
            news.stream = stream
            news.row = row
            self._put(news)
        if self._of_stream.get(name, 0) > self._hub.settings.advert_above_rows:
            for old in [n for n in self._news.values() if n.stream is stream]:
                self._drop(old)
            self._advert(stream, now, own=own)

    def heard(self, *name: object) -> None:
        """Somebody told us what we are telling: the more do, the fewer are left to be told."""
        news = self._news.get(name)
        if news is not None and not news.own:
            news.sent += 1
            if news.sent >= self.enough():
                self._drop(news)

    def advert(self, stream: Stream, now: float) -> None:
        """Tell those who have a stream's scope how far it is, and let them pull."""
        self._advert(stream, now, own=False)

    def _advert(self, stream: Stream, now: float, *, own: bool) -> None:
        data = encode(Have([stream.item()]))
        name = ("advert", stream.owner, stream.scope)
        self._put(News(name, stream.scope, data, self._due(now, own), own=own))

    def _due(self, now: float, own: bool) -> float:
        """Soon, and together with what goes out soon anyway."""
        settings = self._hub.settings
        latest = now + (settings.own_delay_s if own else settings.relay_delay_max_s)
        armed = self._timer.when if self._timer is not None else None
        if armed is not None and now < armed <= latest:
            return armed
        if own:
            return latest
        return latest - self._hub.jitter(settings.relay_delay_max_s - settings.relay_delay_min_s)

    def _next_interval(self, now: float) -> float:
        """The node's own beat, so that all that waits for it shares packets."""
        interval = self._hub.settings.gossip_interval_s
        beats = math.floor((now - self._phase) / interval + 1.5)
        return self._phase + beats * interval

    def _put(self, news: News) -> None:
        old = self._news.get(news.name)
        if old is not None:
            self._drop(old)
        elif len(self._news) >= self._hub.settings.queue_max:
            self._hub.counters["news_shed"] += 1
            self._drop(max(self._news.values(), key=_NEWEST_FIRST))
        self._news[news.name] = news
        self._entered += 1
        news.order = self._entered
        self._schedule(news, news.due)
        if news.stream is not None:
            name = (news.stream.owner, news.stream.scope)
            self._of_stream[name] = self._of_stream.get(name, 0) + 1
        self._arm(news.due)

    def _schedule(self, news: News, due: float) -> None:
        news.due = due
        heappush(self._agenda, (due, news.order, news))

    def _drop(self, news: News) -> None:
        del self._news[news.name]
        if news.stream is not None:
            name = (news.stream.owner, news.stream.scope)
            left = self._of_stream[name] - 1
            if left:
                self._of_stream[name] = left
            else:
                del self._of_stream[name]

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            if self._timer.call is not None and self._timer.when <= when:
                return
            self._timer.cancel()
        self._timer = self._hub.timers.at(when, self._flush)

    def clear(self) -> None:
        """Nothing is news any more."""
        self._news.clear()
        self._agenda.clear()
        self._of_stream.clear()

    # ── out ─────────────────────────────────────────────────────────────────────────────────

    def enough(self) -> int:
        """How often one item is sent in a cluster of this size."""
        size = self._roster.size
        if self._enough[0] != size:
            settings = self._hub.settings
            copies = settings.sends_base + math.ceil(settings.sends_factor * math.log10(size + 1))
            self._enough = (size, copies)
        return self._enough[1]

    def _flush(self, now: float) -> None:
        self._timer = None
        by_scope: dict[int, list[News]] = {}
        for news in sorted(self._take_due(now), key=_IN_ORDER):
            by_scope.setdefault(news.scope, []).append(news)
        for scope, due in by_scope.items():
            self._flush_scope(scope, due, now)
        if self._news:
            self._arm(self._first_due())

    def _take_due(self, now: float) -> list[News]:
        """What is to be told by now, taken from the agenda; whoever tells it puts it in again."""
        due = []
        while self._first_due() <= now:
            due.append(heappop(self._agenda)[2])
        return due

    def _first_due(self) -> float:
        """When the agenda's first is to be told, once what is not told then is off it."""
        agenda = self._agenda
        while agenda:
            due, _, news = agenda[0]
            if news.due == due and self._news.get(news.name) is news:
                return due
            heappop(agenda)
        return math.inf

    def _flush_scope(self, scope: int, due: list[News], now: float) -> None:
        settings = self._hub.settings
        pool = self._pool(scope)
        if len(due) > 1:
            due.sort(key=_NEWEST_FIRST)
        peers = pool.draw(self._hub.random, settings.fanout) if pool else []
        enough = self.enough()
        told = [news for news in due if news.row is None or self._still_true(news)]
        for messages, items in self._packets(told):
            size = sum(map(len, messages))
            if peers and not self._budget.take(now, size * len(peers)):
                self._hub.counters["news_delayed"] += 1
                for news in items:
                    self._schedule(news, self._next_interval(now))
                continue
            for peer in peers:
                self._hub.send(peer.address, *messages)
            for news in items:
                self._told(news, len(peers) or settings.fanout, enough, now)

    def _told(self, news: News, times: int, enough: int, now: float) -> None:
        settings = self._hub.settings
        news.sent += times
        if news.sent >= enough:
            self._drop(news)
            return
        rounds = news.sent // max(1, times)
        if rounds < settings.quick_rounds:
            self._schedule(news, self._due(now, own=False))
        else:
            self._schedule(news, self._next_interval(now))

    def _still_true(self, news: News) -> bool:
        """A row leaves the queue when it is superseded, or its stream is."""
        stream, row = news.stream, news.row
        if stream is None or row is None:
            return True
        if (
            self._table.get(stream.owner, stream.scope) is stream
            and stream.rows.get((row.kind, row.key)) is row
        ):
            return True
        self._drop(news)
        return False

    def _packets(self, due: list[News]) -> list[tuple[list[bytes], list[News]]]:
        """What is due, by packets: whole messages, rows of one stream together."""
        packets: list[tuple[list[bytes], list[News]]] = []
        room = 0
        for messages_news in _grouped(due):
            for data, items in messages_news:
                if len(data) > room:
                    packets.append(([], []))
                    room = BODY_MAX - 3
                packets[-1][0].append(data)
                packets[-1][1].extend(items)
                room -= len(data)
        return packets

    def _pool(self, scope: int) -> Pool[Peer] | None:
        return self._roster.by_vni.get(scope - 1) if scope else self._roster.live

    # ── riding along ────────────────────────────────────────────────────────────────────────

    def ride(self, address: Address, room: int) -> list[bytes]:
        """News that fits into a packet which goes to a member anyway."""
        if not self._news:
            return []
        peer = self._roster.at(address)
        if peer is None or not peer.live:
            return []
        picked: list[News] = []
        room -= OVERHEAD
        for news in self._news.values():
            size = len(news.data) + (OVERHEAD if news.stream else 0)
            if size <= room and (news.scope == 0 or news.scope - 1 in peer.attached):
                picked.append(news)
                room -= size
            if room < OVERHEAD:
                break
        told = [news for news in picked if self._still_true(news)]
        enough = self.enough()
        for news in told:
            news.sent += 1
            if news.sent >= enough:
                self._drop(news)
        return [data for group in _grouped(told) for data, _ in group]


def _grouped(due: Iterable[News]) -> list[list[tuple[bytes, list[News]]]]:
    """Messages with the news each one tells; rows of a stream share messages."""
    plain: list[tuple[bytes, list[News]]] = []
    by_stream: dict[Stream, list[News]] = {}
    for news in due:
        if news.stream is None:
            plain.append((news.data, [news]))
        else:
            by_stream.setdefault(news.stream, []).append(news)
    grouped = [plain] if plain else []
    for stream, items in by_stream.items():
        head = encode(stream.head())
        messages: list[tuple[bytes, list[News]]] = []
        batch: list[News] = []
        room = BODY_MAX - OVERHEAD
        for news in items:
            if batch and len(news.data) > room:
                messages.append((pack_rows(head, [n.data for n in batch]), batch))
                batch, room = [], BODY_MAX - OVERHEAD
            batch.append(news)
            room -= len(news.data)
        messages.append((pack_rows(head, [n.data for n in batch]), batch))
        grouped.append(messages)
    return grouped
