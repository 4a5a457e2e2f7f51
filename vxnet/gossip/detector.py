"""Who still answers: SWIM's probes with Lifeguard's doubts about oneself.

Each interval the member whose id comes after ours is asked, so that every member is asked once an
interval by somebody, and every second interval the next of a shuffled round, so that everybody is
asked by everybody in time. No answer: three others ask for us, and we try TCP. Still none:
suspicion, which others confirm or the member refutes.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from vxnet.gossip.events import MemberState
from vxnet.gossip.hub import Hub, StreamId
from vxnet.gossip.member import Address, Peer
from vxnet.gossip.roster import Roster
from vxnet.gossip.suspicion import Suspicion, shortest_s
from vxnet.wire.gossip import Ack, Dead, Nack, Ping, PingReq, Relayed, Suspect

if TYPE_CHECKING:
    from vxnet.gossip.timers import Timer

__all__ = ["Detector"]

AFTER_SLEEP_S: Final = 0.1  # in which a process reads what arrived while it stood still
NACK_SHARE = 0.4  # of the probe timeout: a relay says so well before its asker gives up
Say = Callable[[object, float], None]


class Kind(Enum):
    """Why a member is asked."""

    PROBE = auto()
    CONFIRM = auto()  # others doubt it
    RELAY = auto()  # somebody asked us to
    VERIFY = auto()  # we only know of it by hearsay


class Probe:
    """One question under way."""

    __slots__ = (
        "kind",
        "nacks",
        "origin",
        "peer_id",
        "refused",
        "relays",
        "sent",
        "seq",
        "stream",
        "timer",
    )

    def __init__(self, seq: int, kind: Kind, peer_id: int, sent: float) -> None:
        self.seq = seq
        self.kind = kind
        self.peer_id = peer_id
        self.sent = sent
        self.timer: Timer | None = None
        self.relays: set[int] = set()
        self.nacks: set[int] = set()
        self.stream: StreamId | None = None
        self.refused = False
        self.origin: tuple[Address, int] | None = None


class Detector:
    """`say(claim, now)` has a claim about a member applied here and told to all.

    `dial(peer, seq, now)` asks over TCP; `root(peer)` is what a ping carries.
    """

    def __init__(
        self,
        roster: Roster,
        hub: Hub,
        now: float,
        *,
        say: Say,
        dial: Callable[[Peer, int, float], StreamId | None],
        root: Callable[[Peer], int],
    ) -> None:
        self._roster = roster
        self._hub = hub
        self._say = say
        self._dial = dial
        self._root = root
        self._seq = hub.random.getrandbits(15)
        self._probes: dict[int, Probe] = {}
        self._round: list[Peer] = []
        self._turn = False
        self.health = 0  # 0 is well; more means that the fault may be ours
        hub.timers.at(now + hub.jitter(hub.settings.probe_interval_s), self._beat)
        self._suspicions: dict[int, Timer] = {}

    # ── asking ──────────────────────────────────────────────────────────────────────────────

    @property
    def _interval_s(self) -> float:
        return self._hub.settings.probe_interval_s * (1 + self.health)

    @property
    def _timeout_s(self) -> float:
        return self._hub.settings.probe_timeout_s * (1 + self.health)

    def _beat(self, now: float) -> None:
        timers = self._hub.timers
        timers.at(now + self._interval_s, self._beat)
        successor = self._roster.successor()
        if successor is not None:
            self._ask(successor, Kind.PROBE, now)
        self._turn = not self._turn
        if self._turn and len(self._roster.live) > 1:
            timers.at(now + self._interval_s / 2, self._off_beat)

    def _off_beat(self, now: float) -> None:
        peer = self._next()
        if peer is not None:
            self._ask(peer, Kind.PROBE, now)

    def _next(self) -> Peer | None:
        """The next of a shuffled round."""
        while True:
            if not self._round:
                self._round = list(self._roster.live)
                self._hub.random.shuffle(self._round)
                if not self._round:
                    return None
            peer = self._round.pop()
            if peer.live:
                return peer

    def _new(self, kind: Kind, peer_id: int, now: float) -> Probe:
        self._seq = (self._seq + 1) & 0xFFFFFFFF
        probe = self._probes[self._seq] = Probe(self._seq, kind, peer_id, now)
        return probe

    def _ask(self, peer: Peer, kind: Kind, now: float) -> None:
        probe = self._new(kind, peer.id, now)
        self._ping(peer, probe)
        probe.timer = self._hub.timers.at(
            now + self._timeout_s, lambda at: self._ask_others(probe, at)
        )

    def _ping(self, peer: Peer, probe: Probe) -> None:
        self._hub.counters["pings"] += 1
        peer.pinged += 1
        messages: list[object] = [Ping(probe.seq, peer.id, self._root(peer))]
        if peer.state is MemberState.SUSPECT and self._hub.settings.lifeguard:
            messages.append(Suspect(peer.id, peer.epoch, peer.inc, self._roster.me.id))
        self._hub.send(peer.address, *messages)

    def _ask_others(self, probe: Probe, now: float) -> None:
        peer = self._roster.get(probe.peer_id)
        if peer is None or not peer.forwards:
            self._end(probe)
            return
        peer.answers_missed += 1
        settings = self._hub.settings
        relays = self._roster.live.draw(self._hub.random, settings.indirect_probes, without=peer)
        for relay in relays:
            probe.relays.add(relay.id)
            self._hub.send(
                relay.address, PingReq(probe.seq, peer.id, peer.address.ip, peer.address.port)
            )
        probe.stream = self._dial(peer, probe.seq, now)
        end = max(probe.sent + self._interval_s, now + self._timeout_s)
        probe.timer = self._hub.timers.at(end, lambda at: self._failed(probe, at))

    def verify(self, peer: Peer, now: float, *extra: object) -> None:
        """Ask a member known by hearsay, or thought dead, whether it is there; not too often."""
        if peer.asked is not None and now - peer.asked < self._hub.settings.verify_retry_s:
            return
        peer.asked = now
        probe = self._new(Kind.VERIFY, peer.id, now)
        self._ping(peer, probe)
        self._hub.send(peer.address, *extra)
        probe.timer = self._hub.timers.at(now + 2 * self._timeout_s, lambda at: self._end(probe))

    def relay(self, request: PingReq, source: Address, address: Address, now: float) -> None:
        """Somebody asks us to ask; the answer, or that there is none, goes back to it."""
        probe = self._new(Kind.RELAY, request.target, now)
        probe.origin = (source, request.seq)
        peer = self._roster.get(request.target)
        root = self._root(peer) if peer is not None else 0
        self._hub.send(address, Ping(probe.seq, request.target, root))
        probe.timer = self._hub.timers.at(
            now + self._hub.settings.probe_timeout_s * NACK_SHARE, lambda at: self._nack(probe, at)
        )

    def _nack(self, probe: Probe, now: float) -> None:
        if probe.origin is not None and self._hub.settings.lifeguard:
            self._hub.send(probe.origin[0], Nack(probe.origin[1]))
        # a late answer is passed on too
        probe.timer = self._hub.timers.at(now + self._interval_s, lambda at: self._end(probe))

    # ── answers ─────────────────────────────────────────────────────────────────────────────

    def acked(self, ack: Ack, sender: int, now: float, *, over_tcp: bool = False) -> Peer | None:
        """A member answered for itself; the peer if we had asked it."""
        probe = self._probes.get(ack.seq)
        if probe is None or probe.peer_id != sender:
            return None
        peer = self._roster.get(sender)
        if probe.kind is Kind.RELAY and probe.origin is not None:
            self._hub.send(probe.origin[0], Relayed(probe.origin[1]))
        elif peer is not None and not over_tcp:
            sample = now - probe.sent
            peer.rtt_s = sample if peer.rtt_s is None else 0.8 * peer.rtt_s + 0.2 * sample
        self._succeeded(probe)
        return peer

    def asked(self, seq: int) -> bool:
        """Whether a question of ours is open under this number."""
        return seq in self._probes

    def relayed(self, answer: Relayed, sender: int) -> None:
        """A member we asked to ask says that there was an answer."""
        probe = self._probes.get(answer.seq)
        if probe is not None and sender in probe.relays:
            self._hub.counters["probes_saved_by_relay"] += 1
            self._succeeded(probe)

    def nacked(self, answer: Nack, sender: int, now: float) -> None:
        """A member we asked to ask says that it heard nothing: so it is well itself."""
        probe = self._probes.get(answer.seq)
        if probe is None or sender not in probe.relays:
            return
        probe.nacks.add(sender)
        self._maybe_hopeless(probe, now)

    def dial_failed(self, seq: int, now: float) -> None:
        """TCP was refused: nobody listens there."""
        probe = self._probes.get(seq)
        if probe is not None and probe.relays:
            probe.refused = True
            self._maybe_hopeless(probe, now)

    def _maybe_hopeless(self, probe: Probe, now: float) -> None:
        """Every way was tried and none is open: no need to wait for the rest of the interval."""
        if probe.refused and probe.relays and probe.nacks == probe.relays:
            self._failed(probe, now)

    def _succeeded(self, probe: Probe) -> None:
        if probe.kind is Kind.PROBE:
            self._feel(-1)
        self._end(probe)

    def _end(self, probe: Probe) -> None:
        if probe.timer is not None:
            probe.timer.cancel()
        self._probes.pop(probe.seq, None)

    def _failed(self, probe: Probe, now: float) -> None:
        self._end(probe)
        missed = len(probe.relays) - len(probe.nacks)
        if not probe.relays:
            self._feel(1)
        elif missed and self._hub.settings.lifeguard:
            self._feel(missed)
        peer = self._roster.get(probe.peer_id)
        if peer is None or not peer.forwards or not peer.verified:
            return
        self._hub.counters["probes_failed"] += 1
        self._say(Suspect(peer.id, peer.epoch, peer.inc, self._roster.me.id), now)

    def _feel(self, change: int) -> None:
        settings = self._hub.settings
        if settings.lifeguard:
            self.health = min(settings.local_health_max, max(0, self.health + change))

    def refuted(self) -> None:
        """Others doubted us: perhaps with reason."""
        self._feel(1)

    # ── suspicion ───────────────────────────────────────────────────────────────────────────

    def suspected(self, peer: Peer, claim: Suspect, now: float) -> None:
        """A member came under suspicion here."""
        settings = self._hub.settings
        shortest = self.suspicion_s()
        wanted = min(settings.confirmations, self._roster.size - 2) if settings.lifeguard else 0
        longest = shortest * settings.suspicion_max_factor
        peer.suspicion = Suspicion(claim.by, now, shortest, longest, wanted)
        self._watch(peer, now)
        if claim.by == self._roster.me.id or wanted <= 0 or not peer.verified:
            return
        # A few of those who hear of it ask at once: confirmed or refuted, it is soon settled.
        if self._hub.random.random() * len(self._roster.live) < settings.confirm_probes:
            self._ask(peer, Kind.CONFIRM, now)

    def confirmed(self, peer: Peer, claim: Suspect, now: float) -> bool:
        """One more doubts it; whether that counts for anything."""
        if peer.suspicion is None or not peer.suspicion.confirm(claim.by):
            return False
        self._watch(peer, now)
        return True

    def suspicion_s(self) -> float:
        """The shortest suspicion in a cluster of this size."""
        settings = self._hub.settings
        return shortest_s(self._roster.size, settings.probe_interval_s, settings.suspicion_factor)

    def _watch(self, peer: Peer, now: float) -> None:
        old = self._suspicions.pop(peer.id, None)
        if old is not None:
            old.cancel()
        suspicion = peer.suspicion
        if suspicion is not None:
            self._suspicions[peer.id] = self._hub.timers.at(
                max(now, suspicion.deadline), lambda at: self._expired(peer, suspicion, at)
            )

    def _expired(self, peer: Peer, suspicion: Suspicion, now: float) -> None:
        self._suspicions.pop(peer.id, None)
        if peer.suspicion is suspicion and peer.state is MemberState.SUSPECT:
            self._say(Dead(peer.id, peer.epoch, peer.inc, self._roster.me.id), now)

    def _prolong(self, probe: Probe, by_s: float, now: float) -> None:
        timer = probe.timer
        if timer is None or timer.call is None:
            return
        call = timer.call
        timer.cancel()
        probe.sent += by_s
        probe.timer = self._hub.timers.at(max(timer.when + by_s, now + AFTER_SLEEP_S), call)

    def slept(self, late_s: float, now: float) -> None:
        """This process stood still: what it waited for meanwhile says nothing about others.

        They get the time back, and a moment more. Were they asked anew, a host that is late again
        and again would never come to a verdict.
        """
        self._hub.counters["sleeps"] += 1
        self._feel(1)
        for probe in self._probes.values():
            if probe.kind is not Kind.RELAY:
                self._prolong(probe, min(late_s, now - probe.sent), now)
        for peer_id in list(self._suspicions):
            peer = self._roster.get(peer_id)
            if peer is not None and peer.suspicion is not None:
                peer.suspicion.started += late_s
                self._watch(peer, now)
