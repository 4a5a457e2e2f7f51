"""What the rows mean: who has which network, the catalogue, and the entries put to election.

Everything here follows from the streams, from what is believed of their owners, and from nothing
else. Rows of an owner that is gone are hidden, not forgotten; rows of a former life of an owner
stand in until the new life is complete (make before break).
"""

from collections.abc import Callable, Iterable, Sequence

from vxnet.errors import WireError
from vxnet.gossip.backlog import Backlog
from vxnet.gossip.elect import Election
from vxnet.gossip.events import (
    Entry,
    EntryFlag,
    Feature,
    MemberState,
    NetworkPeer,
    NodeId,
    Record,
    RecordGone,
    RecordKind,
    RecordSet,
)
from vxnet.gossip.hub import Hub
from vxnet.gossip.member import Peer
from vxnet.gossip.roster import Roster
from vxnet.gossip.stream import Change, Key, Stream, vni_scope
from vxnet.gossip.table import ATTACH, ENTRY, NODE, Table
from vxnet.gossip.timers import Timer
from vxnet.wire.addr import Ip, Mac, Vni, Vtep
from vxnet.wire.rows import AttachBody, EntryBody, NodeBody, Row, decode_row_body

__all__ = ["View"]

RECORDS = {kind.value: kind for kind in RecordKind}
SETTLE_S = 1.0
"""A new life may look complete before its host has said all: it gets this long at least."""


class Stale:
    """Rows of a former life, and when that life was over."""

    __slots__ = ("rows", "since", "timer")

    def __init__(self, rows: dict[Key, Row], since: float, timer: Timer) -> None:
        self.rows = rows
        self.since = since
        self.timer = timer


class View:
    """Watches the table and the roster, and tells events."""

    def __init__(
        self,
        roster: Roster,
        table: Table,
        hub: Hub,
        now: float,
        lost: Callable[[Vni, Mac], None],
    ) -> None:
        self._roster = roster
        self._table = table
        self._hub = hub
        self._now = now
        self.election = Election(roster.me.id, hub, lost)
        self.backlog = Backlog(hub, self._apply)
        self._records: dict[tuple[int, Key], Record] = {}
        self._shown: set[tuple[int, int]] = set()  # owner and scope of entries that count
        self._stale: dict[tuple[int, int], Stale] = {}
        # VNI and owner: peers that were told of, and what they can do
        self._flooding: dict[tuple[int, int], tuple[Vtep, Feature]] = {}
        table.changed.append(self._rows_changed)
        table.replaced.append(self._stream_replaced)
        roster.watchers.append(self._member_changed)

    def at(self, now: float) -> None:
        """What time it is for all that follows."""
        self._now = now

    def records(self, kind: RecordKind) -> list[Record]:
        """The catalogue's records of one kind."""
        return [record for record in self._records.values() if record.kind is kind]

    def adopted(self, peer: Peer) -> None:
        """A member is known, with all that it has said, of which nothing was told here yet."""
        for stream in self._table.of(peer.id):
            if stream.scope:
                self.refresh(peer, stream.scope)
            else:
                for row in stream.live():
                    if row.kind in RECORDS:
                        self._catalogue(peer.id, row)

    # ── rows ────────────────────────────────────────────────────────────────────────────────

    def _rows_changed(self, stream: Stream, changes: Sequence[Change]) -> None:
        stale = self._stale.get((stream.owner, stream.scope))
        if stale is not None:
            for _, new in changes:
                stale.rows.pop((new.kind, new.key), None)
        self._put(stream.owner, stream.scope, (new for _, new in changes))
        if stale is not None:
            self._settle(stream)

    def _put(self, owner: int, scope: int, rows: Iterable[Row]) -> None:
        if scope == 0:
            for row in rows:
                self._put_record(owner, row)
        elif self._visible(owner, scope):
            self._shown.add((owner, scope))
            for row in rows:
                self._put_entry(owner, scope, row)

    def _put_entry(self, owner: int, scope: int, row: Row) -> None:
        if row.kind != ENTRY or len(row.key) != 6:
            return
        if row.body is None:
            self.election.remove(scope - 1, row.key, owner, self._now)
            return
        entry = self._entry(owner, scope, row)
        if entry is not None:
            self.election.set(entry, self._now)

    def _entry(self, owner: int, scope: int, row: Row) -> Entry | None:
        peer = self._roster.get(owner)
        if peer is None or row.body is None:
            return None
        try:
            body = decode_row_body(row.body, EntryBody)
        except WireError:
            self._hub.counters["rows_unreadable"] += 1
            return None
        return Entry(
            vni=Vni(scope - 1),
            mac=Mac(row.key),
            ips=tuple(Ip(ip) for ip in body.ips),
            vtep=Vtep(Ip(body.vtep), body.port) if body.vtep else peer.vtep,
            owner=NodeId(owner),
            sequence=body.sequence,
            flags=EntryFlag(body.flags),
            version=row.ver,
            announced_ms=body.at_ms,
        )

    def _put_record(self, owner: int, row: Row) -> None:
        peer = self._roster.get(owner)
        if peer is None:
            return
        try:
            if row.kind == ATTACH and len(row.key) == 3:
                body = decode_row_body(row.body, AttachBody) if row.body is not None else None
                self._attachment(peer, int.from_bytes(row.key, "big"), body.att if body else None)
            elif row.kind == NODE and row.body is not None:
                peer.info = decode_row_body(row.body, NodeBody)
                for vni in peer.attached:
                    self._flood_target(peer, vni)
            elif row.kind in RECORDS:
                self._catalogue(owner, row)
        except WireError:
            self._hub.counters["rows_unreadable"] += 1

    def _catalogue(self, owner: int, row: Row) -> None:
        name = (owner, (row.kind, row.key))
        kind = RECORDS[row.kind]
        if row.body is not None:
            record = Record(kind, row.key, row.body, NodeId(owner), row.ver)
            self._records[name] = record
            self._hub.events.append(RecordSet(record))
        elif self._records.pop(name, None) is not None:
            self._hub.events.append(RecordGone(kind, row.key, NodeId(owner)))

    # ── attachments ─────────────────────────────────────────────────────────────────────────

    def _attachment(self, peer: Peer, vni: int, att: int | None) -> None:
        if att is None:
            self._roster.detached(peer, vni)
        elif len(peer.attached) < self._hub.settings.vnis_max or vni in peer.attached:
            self._roster.attached(peer, vni, att)
        scope = vni_scope(vni)
        stream = self._table.get(peer.id, scope)
        if stream is not None:
            # what belongs to an attachment that is over is of no use to anybody
            if peer is not self._roster.me and (
                att is None or (stream.att < att and stream.epoch == peer.epoch)
            ):
                self._table.drop(stream)
            else:
                self._table.recount(stream)
        self.refresh(peer, scope)

    def refresh(self, peer: Peer, scope: int) -> None:
        """Show or hide what an owner has in a network, as is right now."""
        name = (peer.id, scope)
        visible = self._visible(peer.id, scope)
        if visible != (name in self._shown):
            if visible:
                self._shown.add(name)
            else:
                self._shown.discard(name)
            stream = self._table.get(*name)
            stale = self._stale.get(name)
            keys = [*(stream.rows if stream else ()), *(stale.rows if stale else ())]
            if keys:
                self.backlog.add(*name, keys, self._now)
        self._flood_target(peer, scope - 1)

    def _apply(self, owner: int, scope: int, keys: Iterable[Key]) -> None:
        """Have rows of an owner stand for election just where they count right now."""
        visible = self._visible(owner, scope)
        stream = self._table.get(owner, scope)
        stale = self._stale.get((owner, scope))
        for key in keys:
            row = None
            if visible:
                row = stream.rows.get(key) if stream else None
                if row is None and stale is not None:
                    row = stale.rows.get(key)
            self._put_entry(owner, scope, row or Row(*key, 0, None))

    def _visible(self, owner: int, scope: int) -> bool:
        peer = self._roster.get(owner)
        if peer is None or not peer.forwards or not self._table.wants(scope):
            return False
        att = peer.attached.get(scope - 1)
        if att is None:
            return False
        if (owner, scope) in self._stale:
            return True
        # Rows of a life that the owner is not known to have yet: those it is known to have may
        # still come, and what was shown would go back.
        stream = self._table.get(owner, scope)
        return stream is not None and stream.life == (peer.epoch, att)

    def _flood_target(self, peer: Peer, vni: int) -> None:
        if peer is self._roster.me:
            return
        name = (vni, peer.id)
        present = peer.live and vni in peer.attached and self._table.wants(vni_scope(vni))
        told = self._flooding.get(name)
        if told is not None and (not present or told[0] != peer.vtep):
            del self._flooding[name]
            self._hub.events.append(NetworkPeer(Vni(vni), peer.id, told[0], present=False))
        features = Feature(peer.info.features if peer.info else 0)
        if present and told != (peer.vtep, features):
            self._flooding[name] = (peer.vtep, features)
            self._hub.events.append(
                NetworkPeer(Vni(vni), peer.id, peer.vtep, present=True, features=features)
            )

    def refresh_scope(self, scope: int) -> None:
        """This node has a network now, or no longer has it: who else has it?"""
        for peer in self._roster:
            if scope - 1 in peer.attached:
                self.refresh(peer, scope)

    # ── owners ──────────────────────────────────────────────────────────────────────────────

    def _member_changed(self, peer: Peer, previous: MemberState | None, now: float) -> None:
        if peer is self._roster.me:
            return
        left = peer.state is MemberState.LEFT
        for stream in self._table.of(peer.id):
            held = self._table.get(peer.id, stream.scope) is stream  # not gone with another
            if held and (left or stream.epoch < peer.epoch):
                self._table.drop(stream)
        self._table.recount_owner(peer.id)
        for vni in list(peer.attached):
            self.refresh(peer, vni_scope(vni))
        if previous is None or peer.forwards:
            return
        for owner, scope in [name for name in self._stale if name[0] == peer.id]:
            self._give_up_stale(owner, scope)

    # ── former lives ────────────────────────────────────────────────────────────────────────

    def _stream_replaced(self, old: Stream, new: Stream | None) -> None:
        name = (old.owner, old.scope)
        rows = {key: row for key, row in old.rows.items() if row.body is not None}
        former = self._stale.pop(name, None)
        if former is not None:
            former.timer.cancel()
            rows = {**former.rows, **rows}
        peer = self._roster.get(old.owner)
        again = peer is not None and peer.epoch > old.epoch
        if new is not None:
            again = new.epoch > old.epoch or new.life == old.life
        if again and rows and peer is not None and peer.forwards:
            since = former.since if former else self._now
            limit = since + self._hub.settings.stale_s
            timer = self._hub.timers.at(limit, lambda now: self._give_up_stale(*name))
            self._stale[name] = Stale(rows, since, timer)
            return
        self._shown.discard(name)
        self._retract(old.owner, old.scope, rows.values())

    def _settle(self, stream: Stream) -> None:
        name = (stream.owner, stream.scope)
        stale = self._stale.get(name)
        if stale is None or not stream.complete:
            return
        if not stale.rows or self._now >= stale.since + SETTLE_S:
            self._give_up_stale(*name)
            return
        stale.timer.cancel()
        stale.timer = self._hub.timers.at(
            stale.since + SETTLE_S, lambda now: self._settle_later(name)
        )

    def _settle_later(self, name: tuple[int, int]) -> None:
        stale = self._stale.get(name)
        stream = self._table.get(*name)
        if stale is None:
            return
        if stream is None or stream.complete:
            self._give_up_stale(*name)
            return
        stale.timer = self._hub.timers.at(
            stale.since + self._hub.settings.stale_s, lambda now: self._give_up_stale(*name)
        )

    def _give_up_stale(self, owner: int, scope: int) -> None:
        stale = self._stale.pop((owner, scope), None)
        if stale is None:
            return
        stale.timer.cancel()
        self._retract(owner, scope, stale.rows.values())

    def _retract(self, owner: int, scope: int, rows: Iterable[Row]) -> None:
        """Rows are gone without having been deleted by their owner."""
        if scope == 0:
            for row in list(rows):
                self._put_record(owner, Row(row.kind, row.key, row.ver, None))
            return
        self.backlog.add(owner, scope, [(row.kind, row.key) for row in rows], self._now)
        peer = self._roster.get(owner)
        if peer is not None:
            self.refresh(peer, scope)
