"""A node of the gossip: datagrams, connections, the timer and commands in; what to send and what
happened out. It reads no clock and opens no socket; the driver in `vxnet.control.gossip` does both.
"""

from collections.abc import Iterable
from random import Random

from vxnet.errors import StateError
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
from vxnet.gossip.hub import Hub, StreamId, Transmit
from vxnet.gossip.keys import Keys
from vxnet.gossip.local import Local
from vxnet.gossip.member import Address, Identity, Peer
from vxnet.gossip.membership import Membership
from vxnet.gossip.outgoing import Outgoing
from vxnet.gossip.queue import Queue
from vxnet.gossip.reception import Reception
from vxnet.gossip.replication import Replication
from vxnet.gossip.roster import Roster
from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.gossip.scrub import Scrub
from vxnet.gossip.security import Keyring, Security
from vxnet.gossip.settings import GossipSettings
from vxnet.gossip.table import Table
from vxnet.gossip.transfer import Transfers
from vxnet.gossip.view import View
from vxnet.wire.addr import Ip, Mac, Vni, Vtep
from vxnet.wire.gossip import Ack, Alive, Dead, Delta, Letter, Message, Snapshot, Suspect
from vxnet.wire.rows import NodeBody

__all__ = ["Node"]


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
        self._now = now
        self._queue = queue = Queue(roster, table, hub, now)
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
            keyed=lambda: self.security.keyring is not None,
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
        Scrub(table, hub, now)
        self._reception = Reception(
            roster,
            hub,
            self.security,
            now,
            table=table,
            detector=self._detector,
            greeter=self._greeter,
            compare=self._compare,
            membership=claims,
            replication=self._replication,
            ask=self._ask,
        )
        self._outgoing = Outgoing(roster, queue, hub, self.security)
        self._local = Local(
            roster, table, self.view, self._replication, self._compare, self.security, hub
        )
        self._hosts: list[Peer] = []  # who welcomed us, while we join
        self.keys = Keys(roster, self.security, self._local.describe)
        self._swept = hub.timers.at(now + settings.suspended_s / 30, self._sweep)
        roster.me.info = NodeBody("", "", identity.low, identity.high, identity.features)
        self._local.describe(now)

    # ── in: from the network ────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, source: Address, now: float) -> None:
        """A datagram arrived. Whatever is wrong with it is counted, and changes nothing."""
        self._at(now)
        self._reception.receive(data, source, now)

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
        return self._outgoing.take()

    def events(self) -> list[Event]:
        """What happened, once, in order."""
        hub = self.hub
        if not hub.events:
            return []
        out, hub.events = hub.events, []
        return out

    # ── commands ────────────────────────────────────────────────────────────────────────────

    def join(self, seeds: Iterable[Address], now: float) -> None:
        """Where to look for the others; may be said again when names resolve to something else."""
        self._at(now)
        self._greeter.join(seeds, now)
        if self._greeter.alone:
            self._replication.settled = False

    def adopt(self, others: Iterable["Node"], now: float) -> None:
        """Know others, and all they have said, as if for long: clusters that begin whole."""
        self._at(now)
        self._greeter.joined = True
        for other in others:
            if other is self:
                continue
            peer = self.roster.adopt(other.roster.me, now)
            for scope in other.table.scopes:
                self.table.adopt(other.table.own(scope))
            self.view.adopted(peer)
        self._queue.clear()
        self.hub.events.clear()

    def leave(self, now: float) -> None:
        """Say farewell; go on answering for `leave_s`, then stop."""
        self._at(now)
        if self.roster.me.state is not MemberState.LEFT:
            self._membership.farewell(now)

    def attach(self, vni: Vni, now: float) -> None:
        """This host has the network now. Raises StateError where it has too many."""
        self._at(now)
        self._local.attach(vni, now)

    def detach(self, vni: Vni, now: float) -> None:
        """This host no longer has the network; its own entries in it go with it."""
        self._at(now)
        self._local.detach(vni, now)

    def announce(
        self,
        vni: Vni,
        mac: Mac,
        ips: tuple[Ip, ...] = (),
        *,
        flags: EntryFlag = EntryFlag.NONE,
        moved: bool = False,
        vtep: Vtep | None = None,
        wall_ms: int = 0,
        now: float,
    ) -> None:
        """This host has the station, or speaks for `vtep`, which has. Raises StateError.

        `wall_ms` is the Unix time, for people who ask when.
        """
        self._at(now)
        self._local.announce(vni, mac, ips, flags, now, moved=moved, vtep=vtep, wall_ms=wall_ms)

    def withdraw(self, vni: Vni, mac: Mac, now: float) -> None:
        """This host no longer has the station."""
        self._at(now)
        self._local.withdraw(vni, mac, now)

    def publish(self, kind: RecordKind, key: bytes, body: bytes, now: float) -> None:
        """Put a record into the catalogue, or replace it. Raises StateError if it is too large."""
        self._at(now)
        self._local.publish(kind, key, body, now)

    def retract(self, kind: RecordKind, key: bytes, now: float) -> None:
        """Take a record of this host out of the catalogue."""
        self._at(now)
        self._local.retract(kind, key, now)

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

    def write(self, to: NodeId, body: bytes, now: float) -> None:
        """Say something to one member. Raises StateError for one that is not known."""
        self._at(now)
        peer = self.roster.get(to)
        if peer is None or peer is self.roster.me:
            raise StateError(f"member {to:016x} is not known")
        self.hub.send(peer.address, Letter(body))

    # ── between the parts ───────────────────────────────────────────────────────────────────

    def _say(self, claim: object, now: float) -> None:
        if isinstance(claim, Suspect | Dead):
            self._membership.heard(claim, now)

    def _ask(self, peer: Peer, now: float) -> None:
        """Have a member show that it is there; one held dead is told so, and may object."""
        self._detector.verify(peer, now, *self._greeter.reminder(peer.id))

    # ── fetching ────────────────────────────────────────────────────────────────────────────

    def _met(self, peer: Peer, now: float) -> None:
        """A member welcomed us: while joining, everything it holds is of interest."""
        if self._replication.settled:
            if peer.live:
                self._compare.met(peer, now)
            return
        self._hosts.append(peer)
        if len(self._hosts) == 1:
            self._transfers.fetch(peer, (), now, join=True)

    def _fetched_message(self, message: Message, peer: Peer, now: float) -> None:
        match message:
            case Alive():
                self._membership.introduced(message, now, tell=self._replication.settled)
            case Suspect():
                self._membership.heard(message, now)
            case Delta() | Snapshot():
                self._replication.take(message, peer, now)

    def _fetched(self, peer: Peer, whole: bool, now: float) -> None:
        """A fetch is over. The first host that told us all suffices; others may know more."""
        if self._replication.settled or peer not in self._hosts:
            return
        hosts, self._hosts = [host for host in self._hosts if host is not peer], []
        if not whole and hosts:
            self._hosts = hosts
            self._transfers.fetch(hosts[0], (), now, join=True)
            return
        self._replication.settled = True  # where TCP does not pass, comparing must do
        for host in (hosts if whole else [peer])[: self.hub.settings.join_peers - 1]:
            if host.live:
                self._compare.descend(host)

    def _acked_over_tcp(self, ack: Ack, sender: int, now: float) -> None:
        self._detector.acked(ack, sender, now, over_tcp=True)

    # ── the rest ────────────────────────────────────────────────────────────────────────────

    def _at(self, now: float) -> None:
        self._now = now
        self.view.at(now)

    def _station_lost(self, vni: Vni, mac: Mac) -> None:
        """Another host has it now, with a higher number: ours goes (RFC 7432 §15)."""
        self.withdraw(vni, mac, self._now)

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
        self._reception.forget(peer)
        self.roster.forget(peer)
