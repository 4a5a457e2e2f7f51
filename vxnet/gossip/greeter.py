"""Meeting members: joining through seeds, confirming hearsay, and looking for those lost.

Dead members and seeds are contacted for ever, so that any split heals once packets pass again.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from vxnet.gossip.events import AlarmKind, MemberState
from vxnet.gossip.hub import Hub
from vxnet.gossip.limit import Bucket
from vxnet.gossip.member import Address, Peer
from vxnet.gossip.roster import Roster
from vxnet.wire.gossip import Alive, Dead, Hello, Refused, Welcome

if TYPE_CHECKING:
    from vxnet.gossip.timers import Timer

__all__ = ["Greeter"]

HELLO_PAD = bytes(160)  # a refusal with its sentence is never larger than the hello
TOKENS_KEPT = 1024
SEEDS_NAMED = 3
KNOWN_S = 1.0
"""News of a host that joined is everywhere in this time."""


class Greeter:
    """`verify(peer, now)` has a member asked; `met(peer, now)` hears of each that welcomed us."""

    def __init__(
        self,
        roster: Roster,
        hub: Hub,
        now: float,
        *,
        verify: Callable[[Peer, float], None],
        met: Callable[[Peer, float], None],
        introduced: Callable[[Alive, float], Peer | None],
        keyed: Callable[[], bool],
    ) -> None:
        self._roster = roster
        self._hub = hub
        self._verify = verify
        self._met = met
        self._introduced = introduced
        self._keyed = keyed
        self._seeds: list[Address] = []
        self._tokens: dict[bytes, Address] = {}
        self._timer: Timer | None = None
        self._wait_s = hub.settings.hello_interval_s
        self._since: float | None = None  # the first hello of a host that is not in yet
        self.joined = False
        self._known_at = now  # by when everybody has heard of this node
        self.refusal: str | None = None
        rate = hub.settings.new_members_per_s
        self._strangers = Bucket(rate, rate, now)
        heal = hub.settings.heal_interval_s
        hub.timers.at(now + hub.jitter(heal), self._heal)
        self._courting: Timer | None = None

    # ── joining ─────────────────────────────────────────────────────────────────────────────

    def join(self, seeds: Iterable[Address], now: float) -> None:
        """Where to look for the others, from now on."""
        self._seeds = [seed for seed in dict.fromkeys(seeds) if seed != self._roster.me.address]
        if not self.joined and self._timer is None and self._seeds:
            self._knock(now)

    @property
    def alone(self) -> bool:
        """Whether this node has seeds and none of them has answered yet."""
        return bool(self._seeds) and not self.joined

    def _knock(self, now: float) -> None:
        self._timer = None
        if self.joined:
            return
        if self._since is None:
            self._since = now
        if now - self._since >= self._hub.settings.silence_s and self.refusal is None:
            self._warn(now - self._since)
        for seed in self._hub.random.sample(self._seeds, len(self._seeds)):
            self.hello(seed)
        wait = self._wait_s * (0.75 + self._hub.jitter(0.5))
        self._timer = self._hub.timers.at(now + wait, self._knock)
        self._wait_s = min(self._hub.settings.hello_interval_max_s, self._wait_s * 2)

    def _warn(self, for_s: float) -> None:
        """Who has another key, or another cluster, says nothing to a stranger: only we can."""
        seeds = ", ".join(map(str, self._seeds[:SEEDS_NAMED]))
        more = f" and {len(self._seeds) - SEEDS_NAMED} more" * (len(self._seeds) > SEEDS_NAMED)
        keyed = "has this host's gossip key" if self._keyed() else "has no gossip key either"
        self._hub.alarm(
            AlarmKind.SEEDS_SILENT,
            "seeds",
            f"no seed has answered for {for_s:.0f} s ({seeds}{more}); see whether vxnet runs there"
            f" and UDP passes, and whether it {keyed} and this cluster name"
            f" ({self._roster.identity.cluster})",
        )

    def hello(self, address: Address, *extra: object) -> None:
        """Say who we are to whoever is there."""
        identity = self._roster.identity
        token = self._hub.random.getrandbits(64).to_bytes(8, "big")
        self._tokens[token] = address
        if len(self._tokens) > TOKENS_KEPT:
            del self._tokens[next(iter(self._tokens))]
        self._hub.counters["hellos"] += 1
        self._hub.send(
            address,
            Hello(
                token,
                self._roster.me.alive(),
                identity.low,
                identity.high,
                identity.features,
                HELLO_PAD,
            ),
            *extra,
        )

    # ── answering ───────────────────────────────────────────────────────────────────────────

    def greeted(self, hello: Hello, source: Address, now: float) -> None:
        """Somebody says who it is: let it in, or say why not."""
        if len(hello.pad) < len(HELLO_PAD):
            self._hub.counters["hellos_unpadded"] += 1  # no answer is larger than its question
            return
        refusal = self._refusal(hello)
        if refusal is not None:
            reason, text = refusal
            self._hub.counters["hellos_refused"] += 1
            self._hub.send(source, Refused(hello.token, reason, text[:200]))
            return
        identity = self._roster.identity
        me = self._roster.me.alive()
        extra = self.reminder(hello.alive.id)
        self._hub.send(
            source,
            Welcome(hello.token, me, identity.low, identity.high, identity.features),
            *extra,
        )
        self._introduced(hello.alive, now)
        peer = self._roster.get(hello.alive.id)
        if peer is not None and not peer.verified:
            self._verify(peer, now)

    def _refusal(self, hello: Hello) -> tuple[str, str] | None:
        identity = self._roster.identity
        claim = hello.alive
        if hello.low > identity.high or identity.low > hello.high:
            return (
                AlarmKind.VERSION_MISMATCH,
                f"{identity.name} speaks versions {identity.low} to {identity.high} of the"
                f" protocol, {claim.name} speaks {hello.low} to {hello.high}",
            )
        ip = claim.ip or claim.vtep
        for other in self._roster.named(claim.name):
            if other.id != claim.id and (other.address.ip, other.address.port) != (ip, claim.port):
                return (
                    AlarmKind.DUPLICATE_NAME,
                    f"the name {claim.name} is taken by the member at {other.address}; give this"
                    " host another node.name",
                )
        return None

    def reminder(self, node_id: int) -> tuple[object, ...]:
        """What a member must hear if it is to be believed again: that it was declared dead."""
        peer = self._roster.get(node_id)
        if peer is not None and peer.state is MemberState.DEAD:
            return (Dead(peer.id, peer.epoch, peer.inc, self._roster.me.id),)
        return ()

    def welcomed(self, welcome: Welcome, sender: int, source: Address, now: float) -> None:
        """Somebody answered our hello: a fresh token proves that it is there now."""
        if self._tokens.pop(welcome.token, None) is None or welcome.alive.id != sender:
            self._hub.counters["answers_unasked"] += 1
            return
        identity = self._roster.identity
        if welcome.low > identity.high or identity.low > welcome.high:
            self._refuse(
                AlarmKind.VERSION_MISMATCH,
                f"{welcome.alive.name} at {source} speaks versions {welcome.low} to"
                f" {welcome.high} of the protocol, this host {identity.low} to {identity.high};"
                " upgrade the older one",
            )
            return
        self._introduced(welcome.alive, now)
        peer = self._roster.get(sender)
        if peer is None:
            return
        if peer.forwards and peer.epoch == welcome.alive.epoch:
            self._roster.verify(peer, now)
        elif peer.state is MemberState.DEAD:
            self._verify(peer, now)
        if not self.joined:
            self.joined = True
            self._hub.over(AlarmKind.SEEDS_SILENT, "seeds")
            self._known_at = now + KNOWN_S
        self.refusal = None
        self._met(peer, now)

    def refused(self, answer: Refused, source: Address) -> None:
        """Somebody does not let us in."""
        if self._tokens.pop(answer.token, None) is None:
            self._hub.counters["answers_unasked"] += 1
            return
        kind = (
            AlarmKind.DUPLICATE_NAME
            if answer.reason == AlarmKind.DUPLICATE_NAME
            else AlarmKind.VERSION_MISMATCH
        )
        self._refuse(kind, f"{source} does not let this host in: {answer.text}")

    def _refuse(self, kind: AlarmKind, text: str) -> None:
        self.refusal = text
        self._hub.alarm(kind, text, text)

    # ── hearsay ─────────────────────────────────────────────────────────────────────────────

    def heard_of(self, peer: Peer, now: float) -> None:
        """A member known by hearsay only: ask it, now and again, until it answers."""
        if peer.verified:
            return
        self._verify(peer, now)
        if self._courting is None:
            self._courting = self._hub.timers.at(
                now + self._hub.settings.verify_retry_s, self._court
            )

    def _court(self, now: float) -> None:
        settings = self._hub.settings
        self._courting = None
        budget = settings.verify_per_s * settings.verify_retry_s
        for peer in list(self._roster.unverified.values()):
            if not peer.forwards:
                continue
            if now - peer.since > settings.unverified_s:
                self._hub.counters["hearsay_forgotten"] += 1
                self._roster.change(peer, MemberState.DEAD, now)
                continue
            if budget < 1:
                break
            peer.attempts += 1
            if peer.attempts <= 5 or peer.attempts % 8 == 0:
                self._verify(peer, now)
                budget -= 1
        if self._roster.unverified:
            self._courting = self._hub.timers.at(now + settings.verify_retry_s, self._court)

    # ── healing ─────────────────────────────────────────────────────────────────────────────

    def _heal(self, now: float) -> None:
        hub = self._hub
        hub.timers.at(now + hub.settings.heal_interval_s, self._heal)
        dead, alive = len(self._roster.dead), len(self._roster.live)
        if dead and hub.random.random() * max(1, alive) < 3 * dead:
            for peer in self._roster.dead.draw(hub.random, hub.settings.heal_contacts):
                self.hello(peer.address, *self.reminder(peer.id))
        lost = [seed for seed in self._seeds if not self._held(seed)]
        if lost and self.joined:
            self.hello(hub.random.choice(lost))

    def introduce(self, source: Address, now: float) -> None:
        """Whom we asked does not know us, or is somebody else: say who we are, not too often.

        Just after joining it only has not heard of us yet.
        """
        if now >= self._known_at and self._strangers.take(now):
            self.hello(source)

    def returned(self, now: float) -> None:
        """A member came back from the dead: where it was, there may be more."""
        for peer in self._roster.dead.draw(self._hub.random, self._hub.settings.heal_returns):
            self._verify(peer, now)

    def _held(self, address: Address) -> bool:
        peer = self._roster.at(address)
        return peer is not None and peer.live
