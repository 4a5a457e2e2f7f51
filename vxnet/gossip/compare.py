"""Finding out who lacks what without sending what both have (anti-entropy).

Equal roots on a probe: done. Different: 64 bucket hashes, then the watermarks in the buckets that
differ, then pulls, then deltas; up to eight datagrams, and beyond that over TCP.
"""

import math
from collections.abc import Callable, Iterable, Sequence

from vxnet.gossip.events import MemberState
from vxnet.gossip.hub import Hub
from vxnet.gossip.member import Address, Peer
from vxnet.gossip.roster import Roster
from vxnet.gossip.stream import Stream, parts
from vxnet.gossip.table import Table
from vxnet.wire.gossip import (
    BUCKETS,
    Buckets,
    Compare,
    Delta,
    Have,
    Left,
    More,
    Pull,
    Snapshot,
    Suspect,
)
from vxnet.wire.rows import Head, Item, Row

__all__ = ["Comparison"]

ITEMS_A_PACKET = 24  # so that an answer is not much larger than what asked for it


class Comparison:
    """`fetch(peer, items, now)` gets what is too much for datagrams; `lost(peer, now)` asks after a
    member that others hold alive and this node does not; `own(item, now)` hears how far others hold
    this node's own streams."""

    def __init__(
        self,
        roster: Roster,
        table: Table,
        hub: Hub,
        now: float,
        *,
        fetch: Callable[[Peer, Sequence[Item], float], None],
        lost: Callable[[Peer, float], None],
        own: Callable[[Item | Head, float], None],
    ) -> None:
        self._roster = roster
        self._table = table
        self._hub = hub
        self._fetch = fetch
        self._lost = lost
        self._own = own
        self._next_descent = now
        settings = hub.settings
        hub.timers.at(now + hub.jitter(settings.compare_interval_s), self._force)

    # ── roots ───────────────────────────────────────────────────────────────────────────────

    def rooted(self, peer: Peer, root: int, now: float) -> None:
        """A member told its root: find the difference if there is one, not too often."""
        if root != self._table.root(peer):
            self.met(peer, now)

    def met(self, peer: Peer, now: float) -> None:
        """Compare with a member, unless that was done with another a moment ago."""
        if now >= self._next_descent:
            self._next_descent = now + self._hub.settings.descent_interval_s
            self.descend(peer)

    def descend(self, peer: Peer, *, contents: bool = False) -> None:
        """Ask a member which of the 64 parts differ."""
        self._hub.counters["descents"] += 1
        hashes = b"".join(
            part.to_bytes(8, "big") for part in self._table.buckets(peer, contents=contents)
        )
        self._hub.send(peer.address, Buckets(hashes, contents))

    def _force(self, now: float) -> None:
        size = self._roster.size
        interval = self._hub.settings.compare_interval_s * max(1.0, 1 + math.log2(size / 32))
        self._hub.timers.at(now + interval, self._force)
        for peer in self._roster.live.draw(self._hub.random, 1):
            self._hub.send(peer.address, Compare(self._table.contents(peer)))

    def forced(self, peer: Peer, compare: Compare) -> None:
        """A member compares everything, whatever the roots say."""
        if compare.root != self._table.contents(peer):
            self._hub.counters["forced_differences"] += 1
            self.descend(peer, contents=True)

    def differ(self, peer: Peer, buckets: Buckets, now: float) -> None:
        """Say how far we are in the parts that differ."""
        mine = self._table.buckets(peer, contents=buckets.contents)
        wanted = {
            at
            for at in range(BUCKETS)
            if mine[at] != int.from_bytes(buckets.hashes[8 * at : 8 * at + 8], "big")
        }
        if not wanted:
            return
        items = [
            stream.item(contents=buckets.contents)
            for stream in self._table.shared(peer)
            if stream.owner % BUCKETS in wanted
        ]
        if len(items) > ITEMS_A_PACKET * self._hub.settings.answer_datagrams:
            self._hub.send(peer.address, More([]))
            return
        self._tell(peer.address, items, answer=True)

    def _tell(self, address: Address, items: Sequence[Item], *, answer: bool) -> None:
        for at in range(0, len(items), ITEMS_A_PACKET):
            self._hub.send(address, Have(list(items[at : at + ITEMS_A_PACKET]), answer))

    # ── watermarks ──────────────────────────────────────────────────────────────────────────

    def has(self, peer: Peer, have: Have, now: float) -> None:
        """A member says how far it holds some streams: pull where it is ahead of us."""
        pulls: list[Item] = []
        ahead: list[Item] = []
        for item in have.items:
            owner = self._roster.get(item.owner)
            if owner is self._roster.me:
                self._own(item, now)
                if have.answer:
                    self._own_ahead(item, ahead)
                continue
            if owner is not None and not owner.forwards and item.epoch <= owner.epoch:
                self._disputed(peer, owner, item, now)
                continue
            if not self._table.wants(item.scope):
                continue
            if owner is None and item.scope:
                continue  # who it is comes first, with its own record
            stream = self._table.get(item.owner, item.scope)
            life = (item.epoch, item.att)
            if stream is None or stream.life < life or self._table.strays(stream):
                pulls.append(Item(item.owner, item.epoch, item.scope, item.att, 0))
            elif stream.life > life:
                ahead.append(stream.item())
            elif stream.watermark < item.ver:
                pulls.append(stream.item())
            elif stream.watermark > item.ver:
                ahead.append(stream.item())
            else:
                self._same_version(stream, item)
        self.pull(peer, pulls)
        if have.answer and ahead:
            self._tell(peer.address, ahead, answer=False)

    def _own_ahead(self, item: Item, ahead: list[Item]) -> None:
        stream = self._table.get(item.owner, item.scope)
        if stream is not None and (*stream.life, stream.watermark) > (
            item.epoch,
            item.att,
            item.ver,
        ):
            ahead.append(stream.item())

    def _disputed(self, peer: Peer, owner: Peer, item: Item, now: float) -> None:
        """It holds alive whom we hold gone: one of us is wrong, and the member itself knows."""
        if owner.state is MemberState.LEFT:
            self._hub.send(peer.address, Left(owner.id, owner.epoch, owner.inc))
        else:
            if owner.asked is not None and now - owner.asked > self._hub.settings.probe_interval_s:
                claim = Suspect(owner.id, owner.epoch, owner.inc, self._roster.me.id)
                self._hub.send(peer.address, claim)  # we asked it, in vain
            self._lost(owner, now)

    def _same_version(self, stream: Stream, item: Item) -> None:
        """R10 between replicas: the owner's count, where known, says whose is wrong."""
        if item.count == stream.count and item.xor == stream.xor:
            return
        if (item.count or item.xor) and stream.complete:
            self._table.scrub(stream)

    def pull(self, peer: Peer, items: Sequence[Item]) -> None:
        """Ask a member for what came after these."""
        for at in range(0, len(items), ITEMS_A_PACKET):
            self._hub.counters["pulls"] += 1
            self._hub.send(peer.address, Pull(list(items[at : at + ITEMS_A_PACKET])))

    # ── what was pulled ─────────────────────────────────────────────────────────────────────

    def pulled(self, address: Address, pull: Pull) -> None:
        """Answer with deltas and small snapshots; say what is too large for datagrams."""
        settings = self._hub.settings
        room = settings.answer_datagrams * settings.delta_max_bytes
        more: list[Item] = []
        for item in pull.items:
            stream = self._table.get(item.owner, item.scope)
            owner = self._roster.get(item.owner)
            if stream is None or owner is None:
                continue
            start = item.ver if (item.epoch, item.att) == stream.life else 0
            if (item.epoch, item.att) > stream.life or start >= stream.watermark:
                continue
            if item.scope == 0 and owner.forwards:
                self._hub.send(address, owner.alive())
            rows = stream.whole() if stream.needs_snapshot(start) else stream.since(start)
            size = _size(rows)
            if size > room or (stream.needs_snapshot(start) and size > settings.delta_max_bytes):
                more.append(item)
                continue
            room -= size
            if stream.needs_snapshot(start):
                self._hub.send(address, Snapshot(stream.head(), stream.watermark, rows))
            else:
                self._deltas(address, stream, start, rows)
        if more:
            self._hub.send(address, More(more))

    def _deltas(self, address: Address, stream: Stream, start: int, rows: Sequence[Row]) -> None:
        head = stream.head()
        for part, last in parts(rows, self._hub.settings.delta_max_bytes):
            self._hub.send(address, Delta(head, start, stream.watermark, last, part))
            start = part[-1].ver if part else start

    def more(self, peer: Peer, more: More, now: float) -> None:
        """It is too much for datagrams: get it over TCP."""
        self._fetch(peer, more.items, now)


def _size(rows: Iterable[Row]) -> int:
    return sum(24 + len(row.key) + len(row.body or b"") for row in rows)
