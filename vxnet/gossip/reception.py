"""What comes in by datagram: who may send how much, is it genuine, and which part it concerns."""

from collections.abc import Callable
from typing import Any

from vxnet.errors import WireError
from vxnet.gossip.compare import Comparison
from vxnet.gossip.detector import Detector
from vxnet.gossip.events import AlarmKind, LetterReceived, MemberState, NodeId
from vxnet.gossip.greeter import Greeter
from vxnet.gossip.hub import Hub
from vxnet.gossip.limit import Limits
from vxnet.gossip.member import Address, Peer
from vxnet.gossip.membership import Membership
from vxnet.gossip.replication import Replication
from vxnet.gossip.roster import Roster
from vxnet.gossip.security import Security
from vxnet.gossip.table import Table
from vxnet.wire.addr import Ip
from vxnet.wire.gossip import (
    Ack,
    Alive,
    Buckets,
    Compare,
    Dead,
    Delta,
    Have,
    Header,
    Hello,
    Left,
    Letter,
    Message,
    Mistaken,
    More,
    Nack,
    Ping,
    PingReq,
    Pull,
    Refused,
    Relayed,
    Rows,
    Snapshot,
    Suspect,
    Unknown,
    Welcome,
    decode_body,
)

__all__ = ["Reception"]

FIRST_WORDS = frozenset((Ack, Alive, Left))
"""What is taken from a member that has not answered us yet: it makes it known, and no more."""

Greeting = Callable[[Any, Header, Address, float], None]
Handler = Callable[[Any, Peer, Address, float], None]


class Reception:
    """Nothing of a packet is acted upon unless all of it is well-formed."""

    def __init__(
        self,
        roster: Roster,
        hub: Hub,
        security: Security,
        now: float,
        *,
        table: Table,
        detector: Detector,
        greeter: Greeter,
        compare: Comparison,
        membership: Membership,
        replication: Replication,
        ask: Callable[[Peer, float], None],
    ) -> None:
        self._roster = roster
        self._hub = hub
        self._security = security
        self._limits = Limits(hub.settings, now)
        self._table = table
        self._detector = detector
        self._greeter = greeter
        self._compare = compare
        self._membership = membership
        self._ask = ask
        self._peers = roster.peers
        self._from_anybody: dict[type, Greeting] = {
            Ping: self._on_ping,
            Hello: self._on_hello,
            Welcome: lambda m, h, s, now: greeter.welcomed(m, h.node_id, s, now),
            Refused: lambda m, h, s, now: greeter.refused(m, s),
            Mistaken: self._on_mistaken,
            Unknown: self._on_mistaken,
        }
        self._from_members: dict[type, Handler] = {
            Ack: self._on_ack,
            Nack: lambda m, p, s, now: detector.nacked(m, p.id, now),
            Relayed: lambda m, p, s, now: detector.relayed(m, p.id),
            PingReq: self._on_ping_req,
            Alive: self._on_claim,
            Suspect: self._on_claim,
            Dead: self._on_claim,
            Left: self._on_claim,
            Rows: lambda m, p, s, now: replication.take(m, p, now),
            Delta: lambda m, p, s, now: replication.take(m, p, now),
            Snapshot: lambda m, p, s, now: replication.take(m, p, now),
            Have: lambda m, p, s, now: compare.has(p, m, now),
            Buckets: lambda m, p, s, now: compare.differ(p, m, now),
            Pull: lambda m, p, s, now: compare.pulled(p.address, m),
            More: lambda m, p, s, now: compare.more(p, m, now),
            Compare: lambda m, p, s, now: compare.forced(p, m),
            Letter: lambda m, p, s, now: self._on_letter(m, p),
        }

    def receive(self, data: bytes, source: Address, now: float) -> None:
        """A datagram arrived. Whatever is wrong with it is counted, and changes nothing."""
        counters = self._hub.counters
        counters["packets_in"] += 1
        known = self._roster.at(source)
        stranger = known is None or not known.live
        if stranger and self._limits.blocked(source, now):
            counters["dropped_strangers"] += 1
            return
        try:
            header, body = self._security.open(data)
            messages = decode_body(body)
        except WireError as error:
            counters["dropped_malformed"] += 1
            self._hub.note_unreadable(source, str(error), now)
            if stranger:
                self._limits.charge(source, now)
            return
        if header.node_id == self._roster.me.id or not self._security.fresh(header):
            counters["dropped_replayed"] += 1
            return
        peer = self._roster.get(header.node_id)
        if peer is None or not peer.verified:
            if self._security.keyring is None:
                self._limits.charge(source, now)
        elif not self._limits.known(peer.id, len(data), now):
            counters["dropped_limited"] += 1
            return
        for message in messages:
            self._dispatch(message, header, source, now)

    def forget(self, peer: Peer) -> None:
        """A member is no longer known."""
        self._limits.forget(peer.id)

    def _dispatch(self, message: Message, header: Header, source: Address, now: float) -> None:
        kind = type(message)
        handler = self._from_members.get(kind)
        if handler is None:
            greeting = self._from_anybody.get(kind)
            if greeting is not None:
                greeting(message, header, source, now)
            else:
                self._hub.counters["messages_unexpected"] += 1
            return
        peer = self._peers.get(NodeId(header.node_id))
        if peer is None:
            self._hub.counters["messages_unexpected"] += 1
        elif peer.verified or kind in FIRST_WORDS:
            handler(message, peer, source, now)
        else:
            self._hub.counters["messages_unverified"] += 1

    # ── greetings ───────────────────────────────────────────────────────────────────────────

    def _on_hello(self, hello: Hello, header: Header, source: Address, now: float) -> None:
        if hello.alive.id == header.node_id:
            self._greeter.greeted(hello, source, now)

    def _on_mistaken(
        self, answer: Mistaken | Unknown, _: Header, source: Address, now: float
    ) -> None:
        if self._detector.asked(answer.seq):
            self._greeter.introduce(source, now)

    # ── probes ──────────────────────────────────────────────────────────────────────────────

    def _on_ping(self, ping: Ping, header: Header, source: Address, now: float) -> None:
        if ping.target != self._roster.me.id:
            self._hub.send(source, Mistaken(ping.seq, ping.target))
            return
        peer = self._roster.get(header.node_id)
        if peer is None:
            self._hub.send(source, Unknown(ping.seq), Ack(ping.seq))
            return
        root = self._table.root(peer)
        self._hub.send(source, Ack(ping.seq, None if root == ping.root else root))
        if peer.live:
            if source != peer.address:
                self._elsewhere(peer, source)
            self._compare.rooted(peer, ping.root, now)
        elif peer.state is MemberState.DEAD or not peer.verified:
            self._ask(peer, now)

    def _elsewhere(self, peer: Peer, source: Address) -> None:
        """A copied state file makes two hosts one member: both are heard, one can be reached."""
        self._hub.alarm(
            AlarmKind.DUPLICATE_ID,
            (peer.id, source),
            f"{peer.name} is at {peer.address}, and is heard from {source} too; if another host was"
            " copied from it, remove gossip.json there and restart it",
        )

    def _on_ack(self, ack: Ack, peer: Peer, source: Address, now: float) -> None:
        if self._detector.acked(ack, peer.id, now) is not None and peer.forwards:
            self._roster.verify(peer, now)
            if ack.root is not None:
                self._compare.rooted(peer, ack.root, now)

    def _on_ping_req(self, request: PingReq, peer: Peer, source: Address, now: float) -> None:
        if not self._limits.relay(peer.id, now):
            self._hub.counters["relays_refused"] += 1
            return
        address = Address(Ip(request.ip), request.port)
        self._detector.relay(request, source, address, now)

    # ── letters ─────────────────────────────────────────────────────────────────────────────

    def _on_letter(self, letter: Letter, peer: Peer) -> None:
        if peer.forwards:
            self._hub.events.append(LetterReceived(peer.id, letter.body))

    # ── claims ──────────────────────────────────────────────────────────────────────────────

    def _on_claim(
        self, claim: Alive | Suspect | Dead | Left, peer: Peer, source: Address, now: float
    ) -> None:
        self._membership.heard(claim, now)
        me = self._roster.me
        doubted = claim.id == me.id and isinstance(claim, Suspect | Dead)
        if doubted and me.state is not MemberState.LEFT:
            self._hub.send(source, me.alive())  # whoever doubts us hears it from us
