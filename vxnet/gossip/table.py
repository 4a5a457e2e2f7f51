"""All streams of one node, its own and those it follows, with roots that say how far each is.

A root is the XOR of the hashes of streams, kept up as they change: two nodes with equal roots over
the scopes both have hold the same. Streams of members that are gone do not count.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from vxnet.errors import StateError
from vxnet.gossip.events import AlarmKind
from vxnet.gossip.hub import Hub
from vxnet.gossip.member import Peer
from vxnet.gossip.roster import Roster
from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.gossip.stream import Change, Stream, vni_scope
from vxnet.wire.gossip import BUCKETS
from vxnet.wire.rows import Head, Item, Row

__all__ = ["ATTACH", "ENTRY", "NODE", "ROW_MAX", "Table"]

ENTRY = 1  # kinds 2 to 15 are the catalogue's: `RecordKind`
NODE = 16
ATTACH = 17

FIRST_ATT = 1
"""Scope 0 is taken up once in a life."""

ROW_MAX = 1040
"""Octets of an encoded row: with a packet's and a stream's headers it fits a datagram."""

Watcher = Callable[[Stream, Sequence[Change]], None]
Replaced = Callable[[Stream, Stream | None], None]


class Scope:
    """The streams of one scope, and what they add up to."""

    __slots__ = ("buckets", "root", "streams")

    def __init__(self) -> None:
        self.root = 0
        self.buckets = [0] * BUCKETS
        self.streams: dict[int, Stream] = {}


class Table:
    """`changed` hears of rows, `replaced` of streams that gave way to another, or to none."""

    def __init__(self, roster: Roster, hub: Hub, rules: Rule = ALL_RULES) -> None:
        self._roster = roster
        self._hub = hub
        self._rules = rules
        self._r1 = Rule.R1 in rules
        self._scopes: dict[int, Scope] = {}
        self._attachments: dict[int, int] = {}  # how often each of our scopes was taken up
        self.rows = 0
        self.changed: list[Watcher] = []
        self.replaced: list[Replaced] = []
        self.want(0)

    # ── scopes ──────────────────────────────────────────────────────────────────────────────

    @property
    def scopes(self) -> list[int]:
        """The scopes this node holds: 0, and each network it has."""
        return list(self._scopes)

    def wants(self, scope: int) -> bool:
        """Whether this node holds a scope."""
        return scope in self._scopes

    def want(self, scope: int) -> Stream:
        """Hold a scope from now on; the node's own stream in it, new and empty."""
        if scope in self._scopes:
            return self.own(scope)
        self._scopes[scope] = Scope()
        att = self._attachments[scope] = self._attachments.get(scope, 0) + 1
        me = self._roster.me
        return self._add(Stream(me.id, me.epoch, scope, att, self._rules))

    def unwant(self, scope: int) -> None:
        """Hold a scope no more; all its streams are dropped."""
        held = self._scopes.get(scope)
        if held is None:
            return
        for stream in list(held.streams.values()):
            self.drop(stream)
        del self._scopes[scope]

    def common(self, peer: Peer) -> list[int]:
        """The scopes that a member holds too."""
        theirs = peer.attached
        scopes = self._scopes
        if len(theirs) < len(scopes):
            return [0, *(vni + 1 for vni in theirs if vni + 1 in scopes)]
        return [scope for scope in scopes if scope == 0 or scope - 1 in theirs]

    # ── our own ─────────────────────────────────────────────────────────────────────────────

    def own(self, scope: int) -> Stream:
        """This node's stream in a scope. Raises StateError for a network it does not have."""
        try:
            return self._scopes[scope].streams[self._roster.me.id]
        except KeyError:
            raise StateError(f"this host has no network with VNI {scope - 1}") from None

    def publish(self, scope: int, kind: int, key: bytes, body: bytes | None) -> Row | None:
        """Set or (None) delete a row of ours; None where nothing changes."""
        stream = self.own(scope)
        old = stream.rows.get((kind, key))
        if (old.body if old else None) == body:
            return None
        if body is not None:
            settings = self._hub.settings
            if len(body) + len(key) + 24 > ROW_MAX:
                raise StateError(f"a row of {len(body)} octets does not fit a gossip packet")
            if old is None and stream.count >= settings.stream_rows_max:
                raise StateError(
                    f"this host already announces {stream.count} rows in this scope, the most"
                    " there may be"
                )
        before = len(stream.rows)
        row = stream.publish(kind, key, body)
        self.rows += len(stream.rows) - before
        self.recount(stream)
        visible = old if old is not None and old.body is not None else None
        self._tell(stream, [(visible, row)])
        return row

    def restart(self, epoch: int) -> list[Stream]:
        """Publish all of our rows again under a higher epoch; the streams as they are now."""
        fresh = []
        for stream in self.of(self._roster.me.id):
            again = Stream(stream.owner, epoch, stream.scope, stream.att, self._rules)
            for row in stream.live():
                again.publish(row.kind, row.key, row.body)
            self.drop(stream, quietly=True)
            fresh.append(self._add(again))
            self.rows += len(again.rows)
            self.recount(again)
        return fresh

    # ── everybody's ─────────────────────────────────────────────────────────────────────────

    def __iter__(self) -> Iterator[Stream]:
        for held in self._scopes.values():
            yield from held.streams.values()

    def get(self, owner: int, scope: int) -> Stream | None:
        """A stream, if it is held."""
        held = self._scopes.get(scope)
        return held.streams.get(owner) if held is not None else None

    def of(self, owner: int) -> list[Stream]:
        """All streams of an owner."""
        return [held.streams[owner] for held in self._scopes.values() if owner in held.streams]

    def admit(self, head: Head) -> Stream | None:
        """The stream that a message is about, made if need be; None where it is to be ignored.

        To ignore a message whole is as if it had been lost, so whatever is decided here can not
        make replicas differ for good (R9 is about single rows).
        """
        owner = self._roster.get(head.owner)
        if head.scope not in self._scopes or owner is None:
            return None
        if head.epoch < owner.epoch and self._r1:
            return None
        old = self.get(head.owner, head.scope)
        if old is not None:
            life = (head.epoch, head.att)
            if life == old.life:
                return old
            if self._r1:
                # Whatever the order: nobody ends the life that the owner itself says it has by
                # telling of a later one.
                said = self._life(owner, head.scope)
                if old.life == said or (life != said and life < old.life):
                    return None
        stream = self._add(
            Stream(head.owner, head.epoch, head.scope, head.att, self._rules), replacing=old
        )
        if old is not None:
            for watcher in self.replaced:
                watcher(old, stream)
        return stream

    def adopt(self, own: Stream) -> None:
        """A copy of another node's own stream, as if it had been followed for long."""
        if own.scope in self._scopes:
            stream = self._add(own.replica())
            self.rows += len(stream.rows)
            if own.contribution and self.counts(stream):
                self._contribute(stream, own.contribution)

    def apply(self, stream: Stream, rows: Sequence[Row], take: Callable[[], list[Change]]) -> bool:
        """Let a stream take rows, within bounds; whether it got further."""
        settings = self._hub.settings
        if (
            len(stream.rows) + len(rows) > 2 * settings.stream_rows_max
            or self.rows + len(rows) > settings.rows_max
        ):
            self._hub.alarm(
                AlarmKind.BOUND_REACHED,
                (stream.owner, stream.scope),
                f"the rows of member {stream.owner:016x} are more than this host holds"
                f" ({self.rows} of {settings.rows_max} in all); some of them are missing here",
            )
            return False
        before = stream.watermark
        size = len(stream.rows)
        changes = take()
        self.rows += len(stream.rows) - size
        if stream.watermark != before:
            self.recount(stream)
        if changes:
            self._tell(stream, changes)
        if stream.corrupt():
            self._mend(stream)
        return bool(changes) or stream.watermark != before

    def scrub(self, stream: Stream, counted: tuple[int, int] | None = None) -> None:
        """R10 against the rows themselves: what memory holds must be what was counted.

        What came late of an attachment that is over is not held either. `counted` is what the
        rows add up to, where somebody has done that already.
        """
        owner = self._roster.get(stream.owner)
        if owner is not None and stream.scope and stream.epoch == owner.epoch:
            over = stream.att < owner.attached.get(stream.scope - 1, 0)
            if over:
                self.drop(stream)
                return
        if (counted or stream.recount()) != (stream.count, stream.xor) or stream.corrupt():
            self._mend(stream)

    def _mend(self, stream: Stream) -> None:
        self._hub.counters["streams_mismatched"] += 1
        self._hub.alarm(
            AlarmKind.STREAM_MISMATCH,
            (stream.owner, stream.scope, stream.epoch),
            f"the rows of member {stream.owner:016x} in scope {stream.scope} are not what it says"
            f" it holds at version {stream.ver}; they are fetched again",
        )
        if stream.owner != self._roster.me.id:
            self.drop(stream, quietly=True)
            fresh = self._add(
                Stream(stream.owner, stream.epoch, stream.scope, stream.att, self._rules)
            )
            for watcher in self.replaced:
                watcher(stream, fresh)

    def drop(self, stream: Stream, *, quietly: bool = False) -> None:
        """Forget a stream; quietly where another takes its place at once."""
        self._count_out(stream)
        self.rows -= len(stream.rows)
        del self._scopes[stream.scope].streams[stream.owner]
        if not quietly:
            for watcher in self.replaced:
                watcher(stream, None)

    def _add(self, stream: Stream, replacing: Stream | None = None) -> Stream:
        if replacing is not None:
            self.drop(replacing, quietly=True)
        self._scopes[stream.scope].streams[stream.owner] = stream
        return stream

    def _tell(self, stream: Stream, changes: Sequence[Change]) -> None:
        for watcher in self.changed:
            watcher(stream, changes)

    # ── roots ───────────────────────────────────────────────────────────────────────────────

    def counts(self, stream: Stream) -> bool:
        """Whether a stream is part of the roots: its owner is there and has that network."""
        peer = self._roster.get(stream.owner)
        if peer is None or not peer.forwards or stream.epoch != peer.epoch:
            return False
        return stream.scope == 0 or peer.attached.get(stream.scope - 1) == stream.att

    def strays(self, stream: Stream) -> bool:
        """Whether a stream is of another life than the one that its owner says it has."""
        owner = self._roster.get(stream.owner)
        return owner is not None and self._life(owner, stream.scope) not in (None, stream.life)

    def _life(self, owner: Peer, scope: int) -> tuple[int, int] | None:
        """What is known from an owner itself: its epoch, and from its record the attachment."""
        att = owner.attached.get(scope - 1) if scope else FIRST_ATT
        return (owner.epoch, att) if att is not None else None

    def recount(self, stream: Stream) -> None:
        """A stream, or what is known of its owner, changed: keep the roots true."""
        self._contribute(stream, stream.digest() if self.counts(stream) else 0)

    def _contribute(self, stream: Stream, contribution: int) -> None:
        change = contribution ^ stream.contribution
        if change:
            stream.contribution = contribution
            scope = self._scopes[stream.scope]
            scope.root ^= change
            scope.buckets[stream.owner % BUCKETS] ^= change

    def recount_owner(self, owner: int) -> None:
        """The same for all streams of an owner."""
        for stream in self.of(owner):
            self.recount(stream)

    def _count_out(self, stream: Stream) -> None:
        if stream.contribution:
            scope = self._scopes[stream.scope]
            scope.root ^= stream.contribution
            scope.buckets[stream.owner % BUCKETS] ^= stream.contribution
            stream.contribution = 0

    def root_of(self, scope: int) -> int:
        """One hash over the watermarks of all streams in a scope."""
        return self._scopes[scope].root

    def root(self, peer: Peer) -> int:
        """One hash over the watermarks of all streams in the scopes both have."""
        if not peer.attached:
            return self._scopes[0].root
        root = 0
        for scope in self.common(peer):
            root ^= self._scopes[scope].root
        return root

    def contents(self, peer: Peer) -> int:
        """One hash over everything in the scopes both have, made afresh."""
        root = 0
        for stream in self.shared(peer):
            root ^= stream.digest(contents=True)
        return root

    def buckets(self, peer: Peer, *, contents: bool) -> list[int]:
        """The same in 64 parts."""
        sums = [0] * BUCKETS
        if contents:
            for stream in self.shared(peer):
                sums[stream.owner % BUCKETS] ^= stream.digest(contents=True)
            return sums
        for scope in self.common(peer):
            for at, part in enumerate(self._scopes[scope].buckets):
                sums[at] ^= part
        return sums

    def shared(self, peer: Peer) -> Iterable[Stream]:
        """The streams that count in the scopes both have."""
        for scope in self.common(peer):
            for stream in self._scopes[scope].streams.values():
                if stream.contribution:
                    yield stream

    def items(self, scopes: Iterable[int]) -> Iterable[Item]:
        """How far this node holds the streams of some scopes."""
        for scope in scopes:
            held = self._scopes.get(scope)
            if held is not None:
                for stream in held.streams.values():
                    yield stream.item()

    def attach_scope(self, vni: int) -> int:
        """The attachment under which this node has a network."""
        return self.own(vni_scope(vni)).att
