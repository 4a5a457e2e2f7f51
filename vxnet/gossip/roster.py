"""Who is there: every member known, and what claims about members change (SWIM's rules)."""

import bisect
from collections.abc import Callable, Iterator

from vxnet.gossip.events import AlarmKind, MemberChanged, MemberState, NodeId
from vxnet.gossip.holders import Holders
from vxnet.gossip.hub import Hub
from vxnet.gossip.limit import Bucket
from vxnet.gossip.member import FORWARDING, NOTHING, Address, Identity, Peer, newer
from vxnet.gossip.pool import Pool
from vxnet.wire.gossip import Alive, Dead, Left, Suspect

__all__ = ["Roster"]

Watcher = Callable[[Peer, MemberState | None, float], None]


class Roster:
    """All members but this node itself is `me`, a `Peer` too, whose claims it alone makes."""

    def __init__(self, identity: Identity, hub: Hub, now: float) -> None:
        self._hub = hub
        self.identity = identity
        ip, port = identity.address
        self.me = Peer(
            Alive(
                identity.id,
                identity.epoch,
                0,
                identity.name,
                identity.vtep.ip,
                identity.vtep.port,
                port,
                None if ip == identity.vtep.ip else ip,
            ),
            now,
        )
        self.me.verified = True
        self.peers: dict[NodeId, Peer] = {}
        self.live: Pool[Peer] = Pool()  # verified, alive or suspect
        self.dead: Pool[Peer] = Pool()
        self.unverified: dict[NodeId, Peer] = {}
        self.by_vni: dict[int, Pool[Peer]] = {}  # the live ones that have a network
        self._ring: list[int] = []  # ids of the live, sorted
        self._names = Holders()
        self._vteps = Holders()
        self._addresses = Holders()
        self._epoch_at_start = (identity.epoch, now)
        self._admissions = Bucket(
            hub.settings.new_members_per_s, hub.settings.new_members_burst, now
        )
        self.watchers: list[Watcher] = []

    # ── looking up ──────────────────────────────────────────────────────────────────────────

    @property
    def size(self) -> int:
        """How many count, this node included."""
        return len(self.live.items) + 1

    def __iter__(self) -> Iterator[Peer]:
        return iter(self.peers.values())

    def get(self, node_id: int) -> Peer | None:
        """A member by its id; this node too."""
        if node_id == self.me.id:
            return self.me
        return self.peers.get(NodeId(node_id))

    def at(self, address: Address) -> Peer | None:
        """The member whose gossip is at this address: of several, who is there, and came last."""
        return self._addresses.latest(address)

    def all_at(self, address: Address) -> tuple[Peer, ...]:
        """All members that say their gossip is at this address."""
        return self._addresses.of(address)

    def named(self, name: str) -> list[Peer]:
        """The live members that go by a name, this node included."""
        found = [peer for peer in self._names.of(name) if peer.live]
        return [self.me, *found] if name == self.me.name else found

    def successor(self) -> Peer | None:
        """The live member whose id comes next after this node's: it is ours to look after."""
        ring = self._ring
        if not ring:
            return None
        at = bisect.bisect(ring, self.me.id)
        return self.peers[NodeId(ring[at % len(ring)])]

    # ── claims ──────────────────────────────────────────────────────────────────────────────

    def plausible(self, epoch: int, now: float) -> bool:
        """Whether an epoch may be true: they are wall-clock milliseconds, never far ahead."""
        start, at = self._epoch_at_start
        ahead_ms = (self._hub.settings.epoch_ahead_max_s + now - at) * 1000
        return epoch <= max(start, self.me.epoch) + ahead_ms

    def alive(self, claim: Alive, now: float) -> Peer | None:
        """A member says, or is said, to be alive. The peer if that was news, else None."""
        peer = self.peers.get(NodeId(claim.id))
        if peer is None:
            return self._admit(claim, now)
        if not newer(peer, claim.epoch, claim.inc, MemberState.ALIVE):
            return None
        if not self.plausible(claim.epoch, now):
            self._hub.counters["epoch_refused"] += 1
            return None
        self._forget_names(peer)
        peer.describe(claim)
        self._remember_names(peer)
        self.change(peer, MemberState.ALIVE, now)
        return peer

    def _admit(self, claim: Alive, now: float) -> Peer | None:
        hub = self._hub
        if not self.plausible(claim.epoch, now) or claim.id == 0:
            hub.counters["epoch_refused"] += 1
            return None
        if len(self.peers) >= hub.settings.members_max and not self._make_room():
            hub.alarm(
                AlarmKind.BOUND_REACHED,
                "members",
                f"{hub.settings.members_max} members are known; {claim.name} is not admitted",
            )
            return None
        if len(self.unverified) >= hub.settings.unverified_max or not self._admissions.take(now):
            hub.counters["members_deferred"] += 1
            return None
        peer = Peer(claim, now)
        self.peers[peer.id] = peer
        self.unverified[peer.id] = peer
        self._remember_names(peer)
        for watcher in self.watchers:
            watcher(peer, None, now)
        return peer

    def adopt(self, other: Peer, now: float) -> Peer:
        """Another node, as it knows itself, known for certain: where a cluster is made whole."""
        peer = self.peers[other.id] = other.copy(now)
        peer.verified = True
        self._remember_names(peer)
        self._place(peer)
        return peer

    def _make_room(self) -> bool:
        gone = min(
            (p for p in self.peers.values() if p.state not in FORWARDING),
            key=lambda p: p.since,
            default=None,
        )
        if gone is None:
            return False
        self.forget(gone)
        return True

    def doubt(self, claim: Suspect | Dead, state: MemberState, now: float) -> Peer | None:
        """A member is suspected or declared dead; the peer if that was news."""
        peer = self.peers.get(NodeId(claim.id))
        if peer is None or not newer(peer, claim.epoch, claim.inc, state):
            return None
        if claim.epoch > peer.epoch:
            return None  # a life not heard of yet: its own word comes first
        peer.inc = claim.inc
        self.change(peer, state, now)
        return peer

    def leave(self, claim: Left, now: float) -> Peer | None:
        """A member said farewell; the peer if that was news."""
        peer = self.peers.get(NodeId(claim.id))
        if peer is None or not newer(peer, claim.epoch, claim.inc, MemberState.LEFT):
            return None
        if not self.plausible(claim.epoch, now):
            self._hub.counters["epoch_refused"] += 1
            return None
        peer.epoch = claim.epoch
        peer.inc = claim.inc
        self.change(peer, MemberState.LEFT, now)
        return peer

    def verify(self, peer: Peer, now: float) -> None:
        """The member answered us itself."""
        if peer.verified:
            return
        peer.verified = True
        self.unverified.pop(peer.id, None)
        peer.since = now
        self._check_clashes(peer)
        self._place(peer)
        for watcher in self.watchers:
            watcher(peer, None, now)
        self._hub.events.append(MemberChanged(peer.member(), None))

    def change(self, peer: Peer, state: MemberState, now: float) -> None:
        """Believe something else of a member."""
        previous = peer.state
        peer.state = state
        if state is not MemberState.SUSPECT:
            peer.suspicion = None
        if state is not previous:
            peer.since = now
            peer.asked = None
        self._place(peer)
        for watcher in self.watchers:
            watcher(peer, previous, now)
        if peer.verified and state is not previous:
            self._hub.events.append(MemberChanged(peer.member(), previous))

    def forget(self, peer: Peer) -> None:
        """As if it had never been."""
        del self.peers[peer.id]
        self.unverified.pop(peer.id, None)
        self.dead.discard(peer)
        self.live.discard(peer)
        self._leave_ring(peer)
        for vni in list(peer.attached):
            self.detached(peer, vni)
        self._forget_names(peer)

    # ── networks ────────────────────────────────────────────────────────────────────────────

    def attached(self, peer: Peer, vni: int, att: int) -> None:
        """A member has a network."""
        peer.attached = {**peer.attached, vni: att}
        if peer.live and peer is not self.me:
            self.by_vni.setdefault(vni, Pool()).add(peer)

    def detached(self, peer: Peer, vni: int) -> None:
        """A member no longer has a network."""
        peer.attached = {v: att for v, att in peer.attached.items() if v != vni} or NOTHING
        pool = self.by_vni.get(vni)
        if pool is not None:
            pool.discard(peer)
            if not len(pool):
                del self.by_vni[vni]

    # ── indexes ─────────────────────────────────────────────────────────────────────────────

    def _place(self, peer: Peer) -> None:
        if peer.live:
            if peer not in self.live:
                self.live.add(peer)
                bisect.insort(self._ring, peer.id)
                for vni in peer.attached:
                    self.by_vni.setdefault(vni, Pool()).add(peer)
        elif peer in self.live:
            self.live.discard(peer)
            self._leave_ring(peer)
            for vni in peer.attached:
                self.by_vni[vni].discard(peer)
        if peer.state is MemberState.DEAD and peer.verified:
            self.dead.add(peer)
        else:
            self.dead.discard(peer)

    def _leave_ring(self, peer: Peer) -> None:
        at = bisect.bisect_left(self._ring, peer.id)
        if at < len(self._ring) and self._ring[at] == peer.id:
            del self._ring[at]

    def _remember_names(self, peer: Peer) -> None:
        self._names.add(peer.name, peer)
        self._vteps.add(peer.vtep, peer)
        self._addresses.add(peer.address, peer)

    def _forget_names(self, peer: Peer) -> None:
        self._names.discard(peer.name, peer)
        self._vteps.discard(peer.vtep, peer)
        self._addresses.discard(peer.address, peer)

    def _check_clashes(self, peer: Peer) -> None:
        for other in (self.me, *self._names.of(peer.name)):
            if _clash(other, peer) and other.name == peer.name:
                self._hub.alarm(
                    AlarmKind.DUPLICATE_NAME,
                    (peer.name, frozenset((peer.id, other.id))),
                    f"two members are called {peer.name}: one at {other.address}, one at"
                    f" {peer.address}; rename one",
                )
        for other in (self.me, *self._vteps.of(peer.vtep)):
            if _clash(other, peer) and other.vtep == peer.vtep:
                self._hub.alarm(
                    AlarmKind.DUPLICATE_ADDRESS,
                    (peer.vtep, frozenset((peer.id, other.id))),
                    f"{other.name} and {peer.name} both say that VTEP {peer.vtep} is theirs;"
                    " give one another address",
                )


def _clash(one: Peer, other: Peer) -> bool:
    """Whether both are there; who answers at the other's very address has replaced it."""
    return one is not other and one.live and one.address != other.address
