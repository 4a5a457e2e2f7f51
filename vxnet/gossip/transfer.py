"""What goes over TCP: a ping where UDP may be blocked, and fetching more than datagrams carry.

A request changes nothing at the one who answers, and every answer carries the request's token, so a
recorded connection is of no use to anybody. A snapshot is one transfer from one peer: it is staged,
and applied at once when its last part is here, or not at all (R8).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from vxnet.errors import WireError
from vxnet.gossip.events import MemberState
from vxnet.gossip.hub import Close, Connect, Hub, StreamBytes, StreamId
from vxnet.gossip.member import Address, Peer
from vxnet.gossip.roster import Roster
from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.gossip.security import Security
from vxnet.gossip.stream import Stream, parts
from vxnet.gossip.table import Table
from vxnet.wire.gossip import (
    Ack,
    Delta,
    Done,
    Fetch,
    Message,
    Ping,
    Snapshot,
    Suspect,
    decode_body,
    encode,
    pack,
    split_records,
)
from vxnet.wire.rows import Item, Row

if TYPE_CHECKING:
    from vxnet.gossip.timers import Timer

__all__ = ["Transfers"]

CHUNK_BYTES = 24_000
ITEMS_A_RECORD = 1000
ITEMS_MAX = 131_072
FETCHES_MAX = 4
BUFFER_MAX = 2 * 65_537


class Connection:
    """One TCP connection, ours or another's."""

    __slots__ = (
        "buffer",
        "counter",
        "dialled_seq",
        "heard",
        "inbound",
        "items",
        "join",
        "out",
        "peer",
        "peer_id",
        "request",
        "scopes",
        "staged",
        "timer",
        "token",
    )

    def __init__(self, *, inbound: bool) -> None:
        self.inbound = inbound
        self.buffer = bytearray()
        self.counter = -1
        self.heard = 0.0  # when it last went on: it was dialled, opened, or something came
        self.peer: Peer | None = None
        self.peer_id = 0
        self.timer: Timer | None = None
        self.token = b""
        self.request: list[bytes] = []
        self.dialled_seq: int | None = None
        self.items: list[Item] = []
        self.scopes: list[int] = []
        self.join = False
        self.out: Iterator[bytes] | None = None
        self.staged: dict[tuple[int, int], list[Row]] = {}


class Transfers:
    """All connections of a node. `take(message, peer, now)` has what was fetched applied."""

    def __init__(
        self,
        roster: Roster,
        table: Table,
        hub: Hub,
        security: Security,
        *,
        take: Callable[[Message, Peer, float], None],
        acked: Callable[[Ack, int, float], None],
        dial_failed: Callable[[int, float], None],
        fetched: Callable[[Peer, bool, float], None],
        rules: Rule = ALL_RULES,
    ) -> None:
        self._roster = roster
        self._table = table
        self._hub = hub
        self._security = security
        self._take = take
        self._acked = acked
        self._dial_failed = dial_failed
        self._fetched = fetched
        self._rules = rules
        self._connections: dict[StreamId, Connection] = {}
        self._last = 0
        self._waiting: deque[tuple[Peer, list[Item], bool]] = deque(maxlen=64)

    # ── ours ────────────────────────────────────────────────────────────────────────────────

    def dial(self, peer: Peer, seq: int, now: float) -> StreamId | None:
        """Ask a member over TCP whether it is there."""
        stream, connection = self._open(peer, now, self._hub.settings.probe_interval_s * 2)
        connection.dialled_seq = seq
        connection.request = [encode(Ping(seq, peer.id, 0))]
        return stream

    def fetch(self, peer: Peer, items: Sequence[Item], now: float, *, join: bool = False) -> None:
        """Get what came after these, and with `join` all there is; one fetch a member at a time."""
        self._give_up_stalled(now)
        fetching = [c for c in self._connections.values() if not c.inbound and c.token]
        if any(c.peer is peer for c in fetching) or any(w[0] is peer for w in self._waiting):
            return
        if len(fetching) >= FETCHES_MAX:
            self._waiting.append((peer, list(items), join))
            return
        _, connection = self._open(peer, now, self._hub.settings.stream_idle_s)
        token = connection.token = self._hub.random.getrandbits(64).to_bytes(8, "big")
        scopes = self._table.common(peer) if not join else self._table.scopes
        if not items:
            join = True
            items = list(self._table.items(scopes))
        connection.join = join
        batches = [
            list(items[at : at + ITEMS_A_RECORD]) for at in range(0, len(items), ITEMS_A_RECORD)
        ] or [[]]
        connection.request = [
            encode(Fetch(token, batch, at == len(batches) - 1, join, scopes))
            for at, batch in enumerate(batches)
        ]
        self._hub.counters["fetches"] += 1

    def _give_up_stalled(self, now: float) -> None:
        """A connection may never notice that packets pass again: those that are silent end now."""
        patience_s = self._hub.settings.stream_stall_s
        for stream, connection in list(self._connections.items()):
            asks = not connection.inbound and connection.token
            if asks and now - connection.heard > patience_s:
                self._hub.counters["fetches_stalled"] += 1
                self.closed(stream, now, hang_up=True)

    def _open(self, peer: Peer, now: float, limit_s: float) -> tuple[StreamId, Connection]:
        stream, connection = self._new(inbound=False)
        connection.peer = peer
        connection.peer_id = peer.id
        connection.heard = now
        self._expect(stream, connection, now, limit_s)
        self._hub.transmits.append(Connect(stream, peer.address))
        return stream, connection

    def connected(self, stream: StreamId, now: float) -> None:
        """A connection of ours is open: say what we want."""
        connection = self._connections.get(stream)
        if connection is not None:
            connection.heard = now
            for message in connection.request:
                self._say(stream, [message])

    # ── anybody's ───────────────────────────────────────────────────────────────────────────

    def accepted(self, source: Address, now: float) -> StreamId | None:
        """Somebody connected; None where there are too many already."""
        inbound = sum(1 for c in self._connections.values() if c.inbound)
        if inbound >= self._hub.settings.streams_max:
            self._hub.counters["streams_refused"] += 1
            return None
        stream, connection = self._new(inbound=True)
        self._expect(stream, connection, now, self._hub.settings.stream_header_s)
        return stream

    def received(self, stream: StreamId, data: bytes, now: float) -> None:
        """Octets arrived on a connection. What does not belong there ends it."""
        connection = self._connections.get(stream)
        if connection is None:
            return
        connection.buffer += data
        if len(connection.buffer) > BUFFER_MAX + len(data):
            self.closed(stream, now, hang_up=True)
            return
        try:
            for record in split_records(connection.buffer):
                self._record(stream, connection, record, now)
                if stream not in self._connections:
                    return
        except WireError:
            self._hub.counters["stream_errors"] += 1
            self.closed(stream, now, hang_up=True)

    def drained(self, stream: StreamId, now: float) -> None:
        """What was sent is on its way: go on with the answer."""
        connection = self._connections.get(stream)
        if connection is None or connection.out is None:
            return
        batch: list[bytes] = []
        size = 0
        for message in connection.out:
            batch.append(message)
            size += len(message)
            if size >= CHUNK_BYTES:
                break
        else:
            connection.out = None
        if batch:
            self._say(stream, batch)
            self._expect(stream, connection, now, self._hub.settings.stream_idle_s)

    def closed(self, stream: StreamId, now: float, *, hang_up: bool = False) -> None:
        """A connection is over, or with `hang_up` is to be."""
        connection = self._connections.pop(stream, None)
        if connection is None:
            return
        if connection.timer is not None:
            connection.timer.cancel()
        if hang_up:
            self._hub.transmits.append(Close(stream))
        if connection.dialled_seq is not None:
            self._dial_failed(connection.dialled_seq, now)
        if connection.token and connection.peer is not None:
            self._hub.counters["fetches_cut"] += 1
            self._fetched(connection.peer, False, now)
            self._next_fetch(now)

    def _new(self, *, inbound: bool) -> tuple[StreamId, Connection]:
        self._last += 1
        connection = self._connections[self._last] = Connection(inbound=inbound)
        return self._last, connection

    def _expect(self, stream: StreamId, connection: Connection, now: float, limit_s: float) -> None:
        if connection.timer is not None:
            connection.timer.cancel()
        connection.timer = self._hub.timers.at(
            now + limit_s, lambda at: self.closed(stream, at, hang_up=True)
        )

    def _say(self, stream: StreamId, messages: Sequence[bytes]) -> None:
        connection = self._connections[stream]
        peer = connection.peer
        kid = self._security.best_key(peer.info.keys if peer and peer.info else ())
        record = self._security.seal(pack(messages), kid)
        self._hub.transmits.append(StreamBytes(stream, len(record).to_bytes(2, "big") + record))

    # ── records ─────────────────────────────────────────────────────────────────────────────

    def _record(self, stream: StreamId, connection: Connection, record: bytes, now: float) -> None:
        header, body = self._security.open(record)
        if header.counter <= connection.counter:
            raise WireError("a record that comes twice on one connection")
        connection.counter = header.counter
        messages = decode_body(body)
        if connection.inbound:
            if connection.peer_id not in (0, header.node_id):
                raise WireError("two senders on one connection")
            connection.peer_id = header.node_id
            connection.peer = self._roster.get(header.node_id)
            for message in messages:
                self._asked(stream, connection, message, now)
            return
        if header.node_id != connection.peer_id:
            raise WireError("another member answers than was asked")
        connection.heard = now
        self._expect(stream, connection, now, self._hub.settings.stream_idle_s)
        for message in messages:
            self._answered(stream, connection, message, now)

    def _asked(
        self, stream: StreamId, connection: Connection, message: Message, now: float
    ) -> None:
        match message:
            case Ping(seq, target):
                if target == self._roster.me.id:
                    self._say(stream, [encode(Ack(seq))])
            case Fetch():
                if connection.out is not None:
                    raise WireError("a second request on one connection")
                if len(connection.items) > ITEMS_MAX:
                    raise WireError("a request for more streams than there may be")
                connection.items.extend(message.items)
                if message.last:
                    connection.join = message.join
                    connection.scopes = message.scopes
                    connection.out = self._answer(connection, message.token)
                    self.drained(stream, now)
            case _:
                raise WireError(f"{type(message).__name__} has no place on a connection")

    def _answered(
        self, stream: StreamId, connection: Connection, message: Message, now: float
    ) -> None:
        peer = connection.peer
        if peer is None:
            return
        match message:
            case Ack():
                connection.dialled_seq = None
                self._acked(message, connection.peer_id, now)
                self.closed(stream, now, hang_up=True)
            case Done(token):
                if token != connection.token:
                    raise WireError("the end of another request")
                connection.token = b""
                self.closed(stream, now, hang_up=True)
                self._fetched(peer, connection.join, now)
                self._next_fetch(now)
            case Snapshot() if Rule.R8 in self._rules:
                self._stage(connection, message, now)
            case _:
                self._take(message, peer, now)

    def _stage(self, connection: Connection, part: Snapshot, now: float) -> None:
        name = (part.head.owner, part.head.scope)
        if connection.staged and name not in connection.staged:
            raise WireError("a snapshot that begins before the last one is whole")
        staged = connection.staged.setdefault(name, [])
        if len(staged) + len(part.rows) > self._hub.settings.stream_rows_max:
            raise WireError("a snapshot of more rows than a stream may have")
        staged.extend(part.rows)
        if part.last and connection.peer is not None:
            del connection.staged[name]
            self._take(Snapshot(part.head, part.to, staged), connection.peer, now)

    def _next_fetch(self, now: float) -> None:
        if self._waiting:
            peer, items, join = self._waiting.popleft()
            self.fetch(peer, items, now, join=join)

    # ── answers ─────────────────────────────────────────────────────────────────────────────

    def _answer(self, connection: Connection, token: bytes) -> Iterator[bytes]:
        asked = {(item.owner, item.scope): item for item in connection.items}
        if connection.join:
            yield from self._members()
            streams: Iterable[Stream] = [
                stream
                for stream in self._table
                if stream.contribution and stream.scope in connection.scopes
            ]
        else:
            found = (self._table.get(item.owner, item.scope) for item in connection.items)
            streams = [stream for stream in found if stream is not None]
        for stream in streams:
            yield from self._stream(stream, asked.get((stream.owner, stream.scope)))
        yield encode(Done(token))

    def _members(self) -> Iterator[bytes]:
        yield encode(self._roster.me.alive())
        for peer in list(self._roster):
            if peer.state is MemberState.LEFT or not peer.verified:
                continue
            yield encode(peer.alive())
            if peer.state is not MemberState.ALIVE:
                claim = Suspect(peer.id, peer.epoch, peer.inc, self._roster.me.id)
                yield encode(claim)

    def _stream(self, stream: Stream, item: Item | None) -> Iterator[bytes]:
        start = item.ver if item and (item.epoch, item.att) == stream.life else 0
        if item is not None and (item.epoch, item.att) > stream.life:
            return
        if start >= stream.watermark:
            return
        head, to = stream.head(), stream.watermark
        whole = stream.needs_snapshot(start)
        rows = stream.whole() if whole else stream.since(start)
        for part, last in parts(rows, self._hub.settings.part_max_bytes):
            if whole:
                yield encode(Snapshot(head, to, part, last))
            else:
                yield encode(Delta(head, start, to, last, part))
                start = part[-1].ver if part else start
