"""A node of the gossip: datagrams, connections, the timer and commands in; what to send and what
happened out. It reads no clock and opens no socket; the driver in `vxnet.control.gossip` does both.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from vxnet.errors import StateError, WireError
from vxnet.gossip.compare import Comparison
from vxnet.gossip.detector import Detector
from vxnet.gossip.events import (
    Entry,
    EntryFlag,
    Event,
    Member,
    MemberState,
    NodeId,
    Record,
    RecordKind,
)
from vxnet.gossip.greeter import Greeter
from vxnet.gossip.hub import Datagram, Hub, StreamId, Transmit
from vxnet.gossip.limit import Limits
from vxnet.gossip.member import Address, Identity, Peer
from vxnet.gossip.membership import Membership
from vxnet.gossip.queue import Queue
from vxnet.gossip.replication import Replication
from vxnet.gossip.roster import Roster
from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.gossip.security import Keyring, Security
from vxnet.gossip.settings import GossipSettings
from vxnet.gossip.stream import vni_scope
from vxnet.gossip.table import ATTACH, ENTRY, NODE, Table
from vxnet.gossip.transfer import Transfers
from vxnet.gossip.view import View
from vxnet.wire.addr import Ip, Mac, Vni, Vtep
from vxnet.wire.gossip import (
    BODY_MAX,
    Ack,
    Alive,
    AttachBody,
    Buckets,
    Compare,
    Dead,
    Delta,
    EntryBody,
    Have,
    Header,
    Hello,
    Item,
    Left,
    Message,
    Mistaken,
    More,
    Nack,
    NodeBody,
    Ping,
    PingReq,
    Pull,
    Refused,
    Relayed,
    Rows,
    Snapshot,
    Suspect,
    Welcome,
    decode_body,
    encode,
    pack,
)

__all__ = ["Node"]

PROBING = frozenset((1, 2))  # the types of Ping and Ack: packets with these carry news along
RECORD_KEY_MAX = 64
RECORD_BODY_MAX = 900


class Node:
    """All of VXG/1 for one host. `rules` is whole except in tests of the rules themselves."""

    def __init__(
        self,
        identity: Identity,
        settings: GossipSettings,
        random: Random,
        *,
        now: float,
        keyring: Keyring | None = None,
        aes: bool = True,
        rules: Rule = ALL_RULES,
    ) -> None:
        self.identity = identity
        self.hub = hub = Hub(settings, random)
        self.security = Security(identity.cluster, identity.id, identity.epoch, keyring, aes=aes)
        self.roster = roster = Roster(identity, hub, now)
        self.table = table = Table(roster, hub, rules)
        self.view = View(roster, table, hub, now, self._station_lost)
        self._queue = queue = Queue(roster, table, hub, now)
        self._limits = Limits(settings, now)
        self._now = now
        self._replication = Replication(
            roster, table, queue, hub, now, outlived=lambda epoch, at: claims.outlived(epoch, at)
        )
        self._membership = claims = Membership(roster, queue, hub, reborn=self._replication.reborn)
        self._transfers = Transfers(
            roster,
            table,
            hub,
            self.security,
            take=self._fetched_message,
            acked=self._acked_over_tcp,
            dial_failed=lambda seq, at: self._detector.dial_failed(seq, at),
            fetched=self._fetched,
            rules=rules,
        )
        self._detector = claims.detector = Detector(
            roster, hub, now, say=self._say, dial=self._transfers.dial, root=table.root
        )
        self._greeter = claims.greeter = Greeter(
            roster,
            hub,
            now,
            verify=self._ask,
            met=self._met,
            introduced=claims.introduced,
        )
        self._compare = Comparison(
            roster,
            table,
            hub,
            now,
            fetch=self._transfers.fetch,
            lost=self._ask,
            own=self._replication.own_seen,
        )
        self._handlers: dict[type, Callable[[Any, Header, Peer, Address, float], None]] = {
            Ack: self._on_ack,
            Nack: lambda m, h, p, s, now: self._detector.nacked(m, h.node_id, now),
            Relayed: lambda m, h, p, s, now: self._detector.relayed(m, h.node_id),
            PingReq: self._on_ping_req,
            Alive: self._on_claim,
            Suspect: self._on_claim,
            Dead: self._on_claim,
            Left: self._on_claim,
            Rows: lambda m, h, p, s, now: self._replication.take(m, p, now),
            Delta: lambda m, h, p, s, now: self._replication.take(m, p, now),
            Snapshot: lambda m, h, p, s, now: self._replication.take(m, p, now),
            Have: lambda m, h, p, s, now: self._compare.has(p, m, now),
            Buckets: lambda m, h, p, s, now: self._compare.differ(p, m, now),
            Pull: lambda m, h, p, s, now: self._compare.pulled(p.address, m),
            More: lambda m, h, p, s, now: self._compare.more(p, m, now),
            Compare: lambda m, h, p, s, now: self._compare.forced(p, m),
        }
        self._swept = hub.timers.at(now + settings.suspended_s / 30, self._sweep)
        roster.me.info = NodeBody("", "", identity.low, identity.high, identity.features)
        self._describe(now)

    # ── in: from the network ────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, source: Address, now: float) -> None:
        """A datagram arrived. Whatever is wrong with it is counted, and changes nothing."""
        self._at(now)
        counters = self.hub.counters
        counters["packets_in"] += 1
        known = self.roster.at(source)
        stranger = known is None or not known.live
        if stranger and self._limits.blocked(source, now):
            counters["dropped_strangers"] += 1
            return
        try:
            header, body = self.security.open(data)
            messages = decode_body(body)
        except WireError:
            counters["dropped_malformed"] += 1
            if stranger:
                self._limits.charge(source, now)
            return
        if header.node_id == self.roster.me.id or not self.security.fresh(header):
            counters["dropped_replayed"] += 1
            return
        peer = self.roster.get(header.node_id)
        if peer is None or not peer.verified:
            if self.security.keyring is None:
                self._limits.charge(source, now)
        elif not self._limits.known(peer.id, len(data), now):
            counters["dropped_limited"] += 1
            return
        for message in messages:
            self._dispatch(message, header, source, now)

    def _dispatch(self, message: Message, header: Header, source: Address, now: float) -> None:
        match message:
            case Ping():
                self._on_ping(message, header, source, now)
            case Hello():
                if message.alive.id == header.node_id:
                    self._greeter.greeted(message, source, now)
            case Welcome():
                self._greeter.welcomed(message, header.node_id, source, now)
            case Refused():
                self._greeter.refused(message, source)
            case Mistaken():
                self._greeter.hello(source)
            case _:
                peer = self.roster.get(header.node_id)
                handler = self._handlers.get(type(message))
                if handler is None or peer is None:
                    self.hub.counters["messages_unexpected"] += 1
                elif not peer.verified and not isinstance(message, Ack | Alive | Left):
                    self.hub.counters["messages_unverified"] += 1
                else:
                    handler(message, header, peer, source, now)

    def accepted(self, source: Address, now: float) -> StreamId | None:
        """Somebody connected over TCP; None: hang up."""
        self._at(now)
        return self._transfers.accepted(source, now)

    def connected(self, stream: StreamId, now: float) -> None:
        """The connection asked for is open."""
        self._at(now)
        self._transfers.connected(stream, now)

    def stream_received(self, stream: StreamId, data: bytes, now: float) -> None:
        """Octets arrived on a connection."""
        self._at(now)
        self._transfers.received(stream, data, now)

    def drained(self, stream: StreamId, now: float) -> None:
        """What was to be sent on a connection is on its way."""
        self._at(now)
        self._transfers.drained(stream, now)

    def stream_closed(self, stream: StreamId, now: float) -> None:
        """A connection is over, or could not be opened."""
        self._at(now)
        self._transfers.closed(stream, now)

    # ── in: the timer ───────────────────────────────────────────────────────────────────────

    def deadline(self) -> float | None:
        """When `tick` is to be called."""
        return self.hub.timers.deadline()

    def tick(self, now: float) -> None:
        """Do what is due. Whatever was received until now is to be told before."""
        self._at(now)
        due = self.hub.timers.deadline()
        settings = self.hub.settings
        if due is not None and now - due > settings.probe_timeout_s and settings.lifeguard:
            self._detector.slept(now - due, now)
        self.hub.timers.run(now)

    # ── out ─────────────────────────────────────────────────────────────────────────────────

    def transmits(self) -> list[Transmit]:
        """What is to be sent, once; messages for one address share datagrams."""
        hub = self.hub
        outbox, hub.outbox = hub.outbox, {}
        for address, messages in outbox.items():
            self._pack(address, messages)
        out, hub.transmits = hub.transmits, []
        hub.counters["packets_out"] += len(out)
        return out

    def _pack(self, address: Address, messages: list[bytes]) -> None:
        size = sum(map(len, messages))
        if len(messages[0]) > 1 and messages[0][1] in PROBING and size < BODY_MAX and self._queue:
            messages.extend(self._queue.ride(address, BODY_MAX - 3 - size))
            size = sum(map(len, messages))
        if size <= BODY_MAX - 3:
            self._seal(address, messages)
            return
        batch: list[bytes] = []
        room = BODY_MAX - 3
        for message in messages:
            if batch and len(message) > room:
                self._seal(address, batch)
                batch, room = [], BODY_MAX - 3
            batch.append(message)
            room -= len(message)
        self._seal(address, batch)

    def _seal(self, address: Address, messages: Sequence[bytes]) -> None:
        kid = None
        if self.security.keyring is not None:
            peer = self.roster.at(address)
            if peer is None or peer.info is None:
                ids = self.security.keyring.ids
                kid = ids[self.hub.counters["hellos"] % len(ids)]
            else:
                kid = self.security.best_key(peer.info.keys)
        data = self.security.seal(pack(messages), kid)
        self.hub.counters["bytes_out"] += len(data)
        self.hub.transmits.append(Datagram(address, data))

    def events(self) -> list[Event]:
        """What happened, once, in order."""
        out, self.hub.events = self.hub.events, []
        return out

    # ── commands ────────────────────────────────────────────────────────────────────────────

    def join(self, seeds: Iterable[Address], now: float) -> None:
        """Where to look for the others; may be said again when names resolve to something else."""
        self._at(now)
        self._replication.settled = not self._greeter.alone and self._replication.settled
        self._greeter.join(seeds, now)

    def leave(self, now: float) -> None:
        """Say farewell; go on answering for `leave_s`, then stop."""
        self._at(now)
        if self.roster.me.state is not MemberState.LEFT:
            self._membership.farewell(now)

    def attach(self, vni: Vni, now: float) -> None:
        """This host has the network now."""
        self._at(now)
        scope = vni_scope(vni)
        if self.table.wants(scope):
            return
        if len(self.table.scopes) > self.hub.settings.vnis_max:
            raise StateError(f"this host has {len(self.table.scopes) - 1} networks, the most")
        stream = self.table.want(scope)
        body = encode(AttachBody(stream.att))
        self._replication.publish(0, ATTACH, vni.to_bytes(3, "big"), body, now)
        self.view.scope_taken_up(scope)
        wanted = [
            Item(peer.id, peer.epoch, scope, peer.attached[vni], 0)
            for peer in self.roster.by_vni.get(vni, ())
        ]
        if wanted:
            for peer in self.roster.by_vni[vni].draw(self.hub.random, 2):
                self._compare.pull(peer, wanted[:200])

    def detach(self, vni: Vni, now: float) -> None:
        """This host no longer has the network; its own entries in it go with it."""
        self._at(now)
        scope = vni_scope(vni)
        if self.table.wants(scope):
            self._replication.publish(0, ATTACH, vni.to_bytes(3, "big"), None, now)
            self.table.unwant(scope)
            self.view.scope_given_up(scope)

    def announce(
        self,
        vni: Vni,
        mac: Mac,
        ips: tuple[Ip, ...] = (),
        *,
        flags: EntryFlag = EntryFlag.NONE,
        moved: bool = False,
        vtep: Vtep | None = None,
        now: float,
    ) -> None:
        """This host has the station, or speaks for `vtep`, which has. Raises StateError."""
        self._at(now)
        if len(ips) > 8:
            raise StateError(f"a station with {len(ips)} addresses; gossip carries 8")
        self.table.own(vni_scope(vni))
        sequence = self.view.election.sequence(vni, mac, now, moved=moved)
        if sequence is None:
            return
        body = EntryBody(
            int(flags), sequence, tuple(ips), vtep.ip if vtep else None, vtep.port if vtep else 0
        )
        self._replication.publish(vni_scope(vni), ENTRY, mac, encode(body), now)

    def withdraw(self, vni: Vni, mac: Mac, now: float) -> None:
        """This host no longer has the station."""
        self._at(now)
        if self.table.wants(vni_scope(vni)):
            self._replication.publish(vni_scope(vni), ENTRY, mac, None, now)

    def publish(self, kind: RecordKind, key: bytes, body: bytes, now: float) -> None:
        """Put a record into the catalogue, or replace it. Raises StateError if it is too large."""
        self._at(now)
        if len(key) > RECORD_KEY_MAX or len(body) > RECORD_BODY_MAX:
            raise StateError(
                f"a record with a key of {len(key)} and a body of {len(body)} octets;"
                f" {RECORD_KEY_MAX} and {RECORD_BODY_MAX} fit a gossip packet"
            )
        self._replication.publish(0, kind, key, body, now)

    def retract(self, kind: RecordKind, key: bytes, now: float) -> None:
        """Take a record of this host out of the catalogue."""
        self._at(now)
        self._replication.publish(0, kind, key, None, now)

    # ── what is known ───────────────────────────────────────────────────────────────────────

    @property
    def epoch(self) -> int:
        """The epoch now: it may have been raised, and is to be kept before the next start."""
        return self.roster.me.epoch

    @property
    def health(self) -> int:
        """0 is well; up to 8: this node doubts itself."""
        return self._detector.health

    @property
    def refusal(self) -> str | None:
        """Why the others do not let this host in, if they do not."""
        return self._greeter.refusal

    def members(self) -> list[Member]:
        """Every member known first hand, this one first."""
        me = self.roster.me.member(local=True)
        return [me, *(peer.member() for peer in self.roster if peer.verified)]

    def entries(self, vni: Vni | None = None) -> list[Entry]:
        """The entries that count."""
        return list(self.view.election.winners(vni))

    def records(self, kind: RecordKind) -> list[Record]:
        """The catalogue's records of one kind."""
        return self.view.records(kind)

    # ── messages ────────────────────────────────────────────────────────────────────────────

    def _on_ping(self, ping: Ping, header: Header, source: Address, now: float) -> None:
        if ping.target != self.roster.me.id:
            self.hub.send(source, Mistaken(ping.seq, ping.target))
            return
        peer = self.roster.get(header.node_id)
        if peer is None:
            self.hub.send(source, Ack(ping.seq, 0))
            self._greeter.stranger(source, now)
            return
        self.hub.send(source, Ack(ping.seq, self.table.root(peer)))
        if peer.live:
            self._compare.rooted(peer, ping.root, now)
        elif peer.state is MemberState.DEAD or not peer.verified:
            self._ask(peer, now)

    def _on_ack(self, ack: Ack, header: Header, peer: Peer, source: Address, now: float) -> None:
        if self._detector.acked(ack, header.node_id, now) is None:
            return
        if peer.forwards:
            self.roster.verify(peer, now)
            self._compare.rooted(peer, ack.root, now)

    def _on_ping_req(
        self, request: PingReq, header: Header, peer: Peer, source: Address, now: float
    ) -> None:
        if len(request.ip) in (4, 16):
            address = Address(Ip(request.ip), request.port)
            self._detector.relay(request, source, address, now)

    def _on_claim(
        self,
        claim: Alive | Suspect | Dead | Left,
        header: Header,
        peer: Peer,
        source: Address,
        now: float,
    ) -> None:
        self._membership.heard(claim, now)
        me = self.roster.me
        if claim.id == me.id and isinstance(claim, Suspect | Dead):
            if me.state is not MemberState.LEFT:
                self.hub.send(source, me.alive())  # whoever doubts us hears it from us

    def _say(self, claim: object, now: float) -> None:
        if isinstance(claim, Suspect | Dead):
            self._membership.heard(claim, now)

    def _ask(self, peer: Peer, now: float) -> None:
        """Have a member show that it is there; one held dead is told so, and may object."""
        self._detector.verify(peer, now, *self._greeter.reminder(peer.id))

    # ── fetching ────────────────────────────────────────────────────────────────────────────

    def _met(self, peer: Peer, now: float) -> None:
        """A member welcomed us: while joining, everything it holds is of interest."""
        if not self._replication.settled or len(self.roster.peers) <= 1:
            self._transfers.fetch(peer, (), now, join=True)
        elif peer.live:
            self._compare.descend(peer)

    def _fetched_message(self, message: Message, peer: Peer, now: float) -> None:
        match message:
            case Alive() | Suspect():
                self._membership.heard(message, now)
            case Delta() | Snapshot():
                self._replication.take(message, peer, now)

    def _fetched(self, peer: Peer, whole: bool, now: float) -> None:
        if whole:
            self._replication.settled = True

    def _acked_over_tcp(self, ack: Ack, sender: int, now: float) -> None:
        self._detector.acked(ack, sender, now, over_tcp=True)

    # ── the rest ────────────────────────────────────────────────────────────────────────────

    def _at(self, now: float) -> None:
        self._now = now
        self.view.at(now)

    def _station_lost(self, vni: Vni, mac: Mac) -> None:
        """Another host has it now, with a higher number: ours goes (RFC 7432 §15)."""
        self.withdraw(vni, mac, self._now)

    def _describe(self, now: float) -> None:
        identity = self.identity
        ring = self.security.keyring
        body = NodeBody(
            identity.version,
            identity.datapath,
            identity.low,
            identity.high,
            identity.features,
            ring.ids if ring else (),
        )
        self._replication.publish(0, NODE, b"", encode(body), now)

    def _sweep(self, now: float) -> None:
        """Forget what is of no use any more: streams of the dead, then that they ever were."""
        settings = self.hub.settings
        self._swept = self.hub.timers.at(now + settings.suspended_s / 30, self._sweep)
        for peer in list(self.roster):
            if peer.forwards:
                continue
            gone_s = now - peer.since
            if gone_s > settings.record_s or not peer.verified:
                self._forget(peer)
            elif gone_s > settings.suspended_s:
                for stream in self.table.of(peer.id):
                    if stream.scope:
                        self.table.drop(stream)

    def _forget(self, peer: Peer) -> None:
        for stream in self.table.of(peer.id):
            if self.table.get(peer.id, stream.scope) is stream:
                self.table.drop(stream)
        self._limits.forget(peer.id)
        self.roster.forget(peer)

    # ── keys ────────────────────────────────────────────────────────────────────────────────

    def install_key(self, key: bytes, now: float) -> bytes:
        """Accept a key; the others hear that we do. Its id. Raises StateError without a keyring."""
        kid = self._keyring().install(key)
        self._describe(now)
        return kid

    def use_key(self, kid: bytes, now: float, *, force: bool = False) -> None:
        """Seal with a key. Raises StateError while a live member does not accept it."""
        lacking = [
            peer.name for peer in self.roster.live if not peer.info or kid not in peer.info.keys
        ]
        if lacking and not force:
            raise StateError(
                f"key {kid.hex()} is not installed on {', '.join(sorted(lacking)[:5])}; install it"
                " there first, or force it and lose them"
            )
        self._keyring().use(kid)
        self._describe(now)

    def remove_key(self, kid: bytes, now: float, *, force: bool = False) -> None:
        """Accept a key no longer. Raises StateError while a member has no other of ours."""
        ring = self._keyring()
        others = set(ring.ids) - {kid}
        only = [
            peer.name
            for peer in self.roster
            if peer.state is not MemberState.LEFT
            and peer.info
            and kid in peer.info.keys
            and not others.intersection(peer.info.keys)
        ]
        if only and not force:
            raise StateError(
                f"key {kid.hex()} is the only one of ours that {', '.join(sorted(only)[:5])}"
                " accepts; install a newer one there first, or force it and lose them"
            )
        ring.remove(kid)
        self._describe(now)

    def _keyring(self) -> Keyring:
        if self.security.keyring is None:
            raise StateError("gossip is not encrypted here; set gossip.key_file to use keys")
        return self.security.keyring

    def key_holders(self) -> dict[bytes, list[NodeId]]:
        """Which live members accept each of our keys."""
        return {
            kid: [p.id for p in self.roster.live if p.info and kid in p.info.keys]
            for kid in self._keyring().ids
        }
