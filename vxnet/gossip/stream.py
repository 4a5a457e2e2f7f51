"""One stream: the rows of one owner in one scope, numbered without gaps by their owner.

A replica follows it by versions alone. The watermark is the highest version up to which it has
seen everything; what is at or below it is never taken again, and that, not tombstones, is what
keeps deleted rows from coming back. The rules R1 to R10 are those of docs/gossip.md.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from struct import Struct

from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.wire.gossip import encode
from vxnet.wire.rows import Head, Item, Row

__all__ = ["Change", "Key", "Stream", "parts", "sum_of", "vni_scope"]

Key = tuple[int, bytes]
"""A row's kind and key: unique within a stream."""

Change = tuple[Row | None, Row]
"""A row as it was (None where there was none, or a tombstone) and as it is now."""

AHEAD_MAX = 65_536
"""Versions beyond the watermark that are kept in mind; what came after them is pulled again."""

# Plain numbers: a Flag's operators are as slow as everything else that is done for a row.
R2, R3, R4, R5, R6, R7 = (
    rule.value for rule in (Rule.R2, Rule.R3, Rule.R4, Rule.R5, Rule.R6, Rule.R7)
)

_NAME = Struct("!QQIIQ")
_ROW = Struct("!BQ")


def vni_scope(vni: int) -> int:
    """The scope of a network; 0 is the node's own, and VNI 0 is a network too."""
    return vni + 1


def _version(item: tuple[Key, Row]) -> int:
    return item[1].ver


def row_hash(row: Row) -> int:
    """64 bits over a live row."""
    data = _ROW.pack(row.kind, row.ver) + row.key + b"\0" + (row.body or b"")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def sum_of(rows: Iterable[Row]) -> tuple[int, int]:
    """How many live rows these are, and the XOR of their hashes."""
    count = xor = 0
    for row in rows:
        count += 1
        xor ^= row_hash(row)
    return count, xor


def parts(rows: Sequence[Row], room: int) -> Iterator[tuple[list[Row], bool]]:
    """Rows in order, cut to `room` octets each, and whether a part is the last; at least one."""
    part: list[Row] = []
    left = room
    for row in rows:
        size = len(encode(row))
        if part and size > left:
            yield part, False
            part, left = [], room
        part.append(row)
        left -= size
    yield part, True


class Stream:
    """A replica, or with `publish` the owner's own copy."""

    __slots__ = (
        "ahead",
        "att",
        "contribution",
        "count",
        "epoch",
        "floor",
        "head_count",
        "head_xor",
        "latest",
        "ordered",
        "owner",
        "rows",
        "rules",
        "scope",
        "shared",
        "swept",
        "tombstones",
        "ver",
        "watermark",
        "xor",
    )

    def __init__(
        self, owner: int, epoch: int, scope: int, att: int, rules: Rule = ALL_RULES
    ) -> None:
        self.owner = owner
        self.epoch = epoch
        self.scope = scope
        self.att = att
        self.rules = rules.value
        self.rows: dict[Key, Row] = {}
        self.shared = False  # whether other copies have the very same `rows`
        self.ordered = True  # whether the rows are in the order of their versions
        self.latest = 0  # the highest version that was ever set
        self.ahead: set[int] | None = None  # versions taken beyond the watermark
        self.tombstones = 0
        self.swept = 0  # the floor up to which tombstones were dropped
        self.watermark = 0
        self.count = 0  # live rows, and the XOR of their hashes
        self.xor = 0
        self.ver = 0  # what the owner said last: its version, floor, count and xor
        self.floor = 0
        self.head_count = 0
        self.head_xor = 0
        self.contribution = 0  # what the table added to its roots for this stream

    def replica(self) -> "Stream":
        """A copy as complete as this one. Both have the same rows until either changes."""
        again = Stream(self.owner, self.epoch, self.scope, self.att)
        again.rules = self.rules
        again.rows = self.rows
        again.shared = self.shared = True
        again.ordered = self.ordered
        again.latest = self.latest
        again.ahead = self.ahead
        again.tombstones = self.tombstones
        again.swept = self.swept
        again.watermark = self.watermark
        again.count = self.count
        again.xor = self.xor
        again.ver = self.ver
        again.floor = self.floor
        again.head_count = self.head_count
        again.head_xor = self.head_xor
        return again

    # ── as seen from outside ────────────────────────────────────────────────────────────────

    @property
    def life(self) -> tuple[int, int]:
        """Which of the streams of this owner and scope: a higher one replaces a lower one."""
        return (self.epoch, self.att)

    @property
    def complete(self) -> bool:
        """Whether everything is here that the owner is known to have said."""
        return self.watermark >= self.ver

    def head(self) -> Head:
        """The stream as its owner last described it."""
        return Head(
            self.owner,
            self.epoch,
            self.scope,
            self.att,
            self.ver,
            self.floor,
            self.head_count,
            self.head_xor,
        )

    def item(self, *, contents: bool = False) -> Item:
        """How far this copy is, with what it holds where asked and complete."""
        if contents and self.complete:
            return Item(
                self.owner,
                self.epoch,
                self.scope,
                self.att,
                self.watermark,
                self.count,
                self.xor,
            )
        return Item(self.owner, self.epoch, self.scope, self.att, self.watermark)

    def digest(self, *, contents: bool = False) -> int:
        """64 bits over name and watermark, and with `contents` over the rows too."""
        if not self.watermark:
            return 0  # an empty copy is the same as none
        data = _NAME.pack(self.owner, self.epoch, self.scope, self.att, self.watermark)
        if contents:
            data += self.count.to_bytes(4, "big") + self.xor.to_bytes(8, "big")
        return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")

    def live(self) -> Iterable[Row]:
        """The rows that are not tombstones."""
        return (row for row in self.rows.values() if row.body is not None)

    def corrupt(self) -> bool:
        """R10: complete, and yet not what the owner says it holds."""
        return (
            self.watermark == self.ver
            and self.ver > 0
            and (self.count != self.head_count or self.xor != self.head_xor)
        )

    def recount(self) -> tuple[int, int]:
        """Count and xor from the rows themselves, for the scrub."""
        return sum_of(self.live())

    # ── what the owner does ─────────────────────────────────────────────────────────────────

    def publish(self, kind: int, key: bytes, body: bytes | None) -> Row:
        """The owner's next version: a row set, or with None a tombstone."""
        row = Row(kind, key, self.watermark + 1, body)
        self._put(row)
        self.ver = self.watermark = row.ver
        self._describe()
        return row

    def collect(self, up_to: int) -> None:
        """The owner forgets tombstones up to this version (R5)."""
        self.floor = max(self.floor, up_to)
        self._sweep()

    def _describe(self) -> None:
        self.head_count = self.count
        self.head_xor = self.xor

    # ── what a replica takes ────────────────────────────────────────────────────────────────

    def note(self, head: Head) -> None:
        """What the owner said of this stream, unless something newer is known."""
        if (head.ver, head.floor) >= (self.ver, self.floor):
            self.ver = head.ver
            self.floor = head.floor
            self.head_count = head.count
            self.head_xor = head.xor

    def push(self, head: Head, rows: Iterable[Row]) -> list[Change]:
        """Rows as they came about (R2, R3)."""
        self.note(head)
        changes: list[Change] = []
        for row in rows:
            if row.ver <= self.watermark and self.rules & R2:
                continue
            self._take(row, changes)
            if row.ver == self.watermark + 1 or not self.rules & R3:
                self.watermark = max(self.watermark, row.ver)
            elif self.ahead is None:
                self.ahead = {row.ver}
            elif len(self.ahead) < AHEAD_MAX:
                self.ahead.add(row.ver)
        self._catch_up()
        self._sweep()
        return changes

    def delta(
        self, head: Head, start: int, to: int, complete: bool, rows: Sequence[Row]
    ) -> list[Change]:
        """All that changed in (start, to], possibly cut at its end (R2, R4, R7)."""
        self.note(head)
        if start > self.watermark and self.rules & R7:
            return []
        changes: list[Change] = []
        for row in rows:
            if row.ver > self.watermark or not self.rules & R2:
                self._take(row, changes)
        if complete or not self.rules & R4:
            self.watermark = max(self.watermark, to)
        elif rows:
            self.watermark = max(self.watermark, rows[-1].ver)
        self._catch_up()
        self._sweep()
        return changes

    def snapshot(self, head: Head, to: int, rows: Sequence[Row]) -> list[Change]:
        """A whole stream as of `to`: what it lacks is gone, but for what is newer (R6)."""
        self.note(head)
        if to <= self.watermark and self.rules & R2:
            return []
        changes: list[Change] = []
        for row in rows:
            self._take(row, changes)
        if self.rules & R6:
            kept = {(row.kind, row.key) for row in rows}
            gone = [row for key, row in self.rows.items() if row.ver <= to and key not in kept]
            for row in gone:
                self._remove(row)
                if row.body is not None:
                    changes.append((row, Row(row.kind, row.key, to, None)))
        self.watermark = max(self.watermark, to)
        self._catch_up()
        self._sweep()
        return changes

    def _catch_up(self) -> None:
        """Rows that were pushed ahead count once everything before them is here."""
        ahead = self.ahead
        if ahead is None:
            return
        while self.watermark + 1 in ahead:
            self.watermark += 1
        self.ahead = {ver for ver in ahead if ver > self.watermark} or None

    # ── what a replica gives ────────────────────────────────────────────────────────────────

    def needs_snapshot(self, start: int) -> bool:
        """Whether a copy at `start` may lack tombstones that are gone (R5)."""
        return start < self.floor and bool(self.rules & R5)

    def whole(self) -> list[Row]:
        """All rows for a snapshot, ascending: with the tombstones above the floor, for whoever
        takes it will have to pass them on.
        """
        return sorted(self.rows.values(), key=attrgetter("ver"))

    def since(self, start: int) -> list[Row]:
        """Rows with start < version <= watermark, ascending."""
        if not self.ordered:
            self.rows = dict(sorted(self.rows.items(), key=_version))
            self.shared = False
            self.ordered = True
        found: list[Row] = []
        for row in reversed(self.rows.values()):
            if row.ver <= start:
                break
            if row.ver <= self.watermark:
                found.append(row)
        found.reverse()
        return found

    # ── the rows themselves ─────────────────────────────────────────────────────────────────

    def _take(self, row: Row, changes: list[Change]) -> None:
        """Set a row unless a newer one is here."""
        old = self.rows.get((row.kind, row.key))
        if old is not None and old.ver >= row.ver:
            return
        self._put(row)
        if old is not None and old.body is None:
            old = None
        if old is not None or row.body is not None:
            changes.append((old, row))

    def _put(self, row: Row) -> None:
        key = (row.kind, row.key)
        self._part()
        old = self.rows.get(key)
        if old is not None:
            self._remove(old)
        self.rows[key] = row
        if row.ver > self.latest:
            self.latest = row.ver
        else:
            self.ordered = False
        if row.body is None:
            self.tombstones += 1
        else:
            self.count += 1
            self.xor ^= row_hash(row)

    def _part(self) -> None:
        """Have rows of its own, before they change."""
        if self.shared:
            self.rows = dict(self.rows)
            self.shared = False

    def _remove(self, row: Row) -> None:
        self._part()
        del self.rows[row.kind, row.key]
        if row.body is None:
            self.tombstones -= 1
        else:
            self.count -= 1
            self.xor ^= row_hash(row)

    def _sweep(self) -> None:
        """Drop tombstones below the floor: below it everybody gets a snapshot (R5)."""
        if self.swept < self.floor <= self.watermark:
            self.swept = self.floor
            dead = [r for r in self.rows.values() if r.body is None and r.ver <= self.floor]
            for row in dead:
                self._remove(row)
