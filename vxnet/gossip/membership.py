"""What is claimed about members, this node included, and what follows from it."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from vxnet.gossip.events import AlarmKind, MemberState
from vxnet.gossip.hub import Hub
from vxnet.gossip.member import Peer
from vxnet.gossip.queue import Queue
from vxnet.gossip.roster import Roster
from vxnet.wire.gossip import Alive, Dead, Left, Suspect

if TYPE_CHECKING:
    from vxnet.gossip.detector import Detector
    from vxnet.gossip.greeter import Greeter

__all__ = ["Claim", "Membership"]

Claim = Alive | Suspect | Dead | Left

INC_MAX = 2**32 - 2
LIVES_MAX = 3
LIVES_WINDOW_S = 60.0


class Membership:
    """`reborn(epoch, now)` publishes everything of this node again under a higher epoch."""

    def __init__(
        self,
        roster: Roster,
        queue: Queue,
        hub: Hub,
        *,
        reborn: Callable[[int, float], None],
    ) -> None:
        self._roster = roster
        self._queue = queue
        self._hub = hub
        self._reborn = reborn
        self._lives: deque[float] = deque(maxlen=LIVES_MAX)
        self.detector: Detector
        self.greeter: Greeter

    def heard(self, claim: Claim, now: float) -> None:
        """A claim came in, first hand or not."""
        if claim.id == self._roster.me.id:
            self._about_me(claim, now)
            return
        match claim:
            case Suspect():
                self._suspect(claim, now)
            case Alive():
                self.introduced(claim, now)
            case Dead():
                peer = self._roster.doubt(claim, MemberState.DEAD, now)
                if peer is not None:
                    self._hub.counters["deaths"] += 1
                    self._queue.member(peer.id, claim, now)
            case Left():
                peer = self._roster.leave(claim, now)
                if peer is not None:
                    self._queue.member(peer.id, claim, now)

    def introduced(self, claim: Alive, now: float, *, tell: bool = True) -> Peer | None:
        """A member is said to be alive; the peer if that was news, to be told on or not."""
        if claim.id == self._roster.me.id:
            self._about_me(claim, now)
            return None
        known = self._roster.get(claim.id)
        was_dead = known is not None and known.state is MemberState.DEAD
        peer = self._roster.alive(claim, now)
        if peer is None:
            if known is not None and (known.epoch, known.inc) == (claim.epoch, claim.inc):
                self._queue.heard("member", claim.id)
            return None
        if was_dead:
            self.greeter.returned(now)
        if tell:
            self._queue.member(peer.id, claim, now)
        self._succeed(peer, now)
        if not peer.verified:
            self.greeter.heard_of(peer, now)
        return peer

    def _succeed(self, peer: Peer, now: float) -> None:
        """Who comes with the address of an older member has taken its place (a lost state file)."""
        for other in self._roster.all_at(peer.address):
            if other is not peer and other.forwards and other.epoch < peer.epoch:
                self._hub.counters["members_replaced"] += 1
                self.heard(Dead(other.id, other.epoch, other.inc, self._roster.me.id), now)

    def _suspect(self, claim: Suspect, now: float) -> None:
        peer = self._roster.get(claim.id)
        if peer is None:
            return
        same = peer.inc == claim.inc and peer.epoch == claim.epoch
        if same and peer.state is MemberState.SUSPECT:
            if self.detector.confirmed(peer, claim, now):
                self._queue.member(peer.id, claim, now)
            return
        if self._roster.doubt(claim, MemberState.SUSPECT, now) is not None:
            self._hub.counters["suspicions"] += 1
            self.detector.suspected(peer, claim, now)
            self._queue.member(peer.id, claim, now)

    # ── about this node ─────────────────────────────────────────────────────────────────────

    def _about_me(self, claim: Claim, now: float) -> None:
        me = self._roster.me
        if me.state is MemberState.LEFT or (claim.epoch, claim.inc) < (me.epoch, me.inc):
            return
        match claim:
            case Alive():
                if claim != me.alive():  # another life of ours, or somebody with our identity
                    self.outlived(claim.epoch, now)
            case Left():
                self.outlived(claim.epoch, now)  # a left epoch never returns
            case _ if claim.epoch > me.epoch or claim.inc >= INC_MAX:
                self.outlived(claim.epoch, now)
            case _:
                me.inc = claim.inc + 1
                self._hub.counters["refutations"] += 1
                self.detector.refuted()
                self._queue.member(me.id, me.alive(), now, own=True)

    def outlived(self, epoch: int, now: float) -> None:
        """Somebody knows a life of this node that goes beyond its own: begin one above it."""
        me = self._roster.me
        if not self._roster.plausible(epoch, now):
            self._hub.counters["epoch_refused"] += 1
            return
        if len(self._lives) == LIVES_MAX and now - self._lives[0] < LIVES_WINDOW_S:
            self._hub.alarm(
                AlarmKind.DUPLICATE_ID,
                me.id,
                f"another host runs with this host's identity {me.id:016x}; remove the state file"
                " of the one that was copied and restart it",
            )
            return
        self._lives.append(now)
        me.epoch = max(me.epoch, epoch) + 1
        me.inc = 0
        self._hub.counters["lives"] += 1
        self._queue.member(me.id, me.alive(), now, own=True)
        self._reborn(me.epoch, now)

    def farewell(self, now: float) -> None:
        """This node leaves."""
        me = self._roster.me
        self._roster.change(me, MemberState.LEFT, now)
        claim = Left(me.id, me.epoch, me.inc)
        self._queue.member(me.id, claim, now, own=True)
        for peer in self._roster.live.draw(self._hub.random, 8):
            self._hub.send(peer.address, claim)
