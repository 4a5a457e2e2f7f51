"""The flows that go through services: bounded, and the one idle for longest goes first.

Flows that nobody answered yet are kept apart and go before all others, so that a flood of first
packets cannot push out connections that are merely quiet.

Who carries packets of settled flows without showing them to the switch is told what changes, and is
asked what it saw where that matters.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from itertools import islice, takewhile
from typing import Final, NamedTuple

from vxnet.switch.actions import PortId
from vxnet.wire.addr import Ip, Mac, Vni
from vxnet.wire.ip import Protocol
from vxnet.wire.rewrite import Edit
from vxnet.wire.transport import TcpFlag

__all__ = ["FLOWS_MAX", "IDLE_S", "Flow", "FlowKey", "FlowState", "Flows", "Seen", "Tally"]

FLOWS_MAX: Final = 200_000

_BEGUN_MAX = 10_000  # members whose flows are counted since they began
_EVICTION_LOOKS = 16  # at so many of the oldest, to find the one that was silent for longest
_HALF = 1 << 31  # of all sequence numbers
_LAST = int(TcpFlag.FIN | TcpFlag.RST)


class FlowState(IntEnum):
    """How far a flow is."""

    YOUNG = 0  # nobody answered yet
    SETTLED = 1
    CLOSING = 2  # FIN or RST was seen
    DEAD = 3  # its member is gone, and its client is told with whatever it sends


IDLE_S: Final[dict[tuple[int, FlowState], float]] = {
    (Protocol.TCP, FlowState.YOUNG): 60.0,
    # RFC 5382 REQ-5: not less than 2 hours and 4 minutes; Linux's first keepalive is after 2 hours.
    (Protocol.TCP, FlowState.SETTLED): 8_000.0,
    (Protocol.TCP, FlowState.CLOSING): 120.0,
    (Protocol.TCP, FlowState.DEAD): 60.0,
    (Protocol.UDP, FlowState.YOUNG): 60.0,
    (Protocol.UDP, FlowState.SETTLED): 300.0,  # RFC 4787 REQ-5
    (Protocol.UDP, FlowState.CLOSING): 60.0,
    (Protocol.UDP, FlowState.DEAD): 60.0,
}
_SHORTEST_S = min(IDLE_S.values())


class FlowKey(NamedTuple):
    """One direction of a flow, as its sender has it."""

    vni: Vni
    protocol: int
    source: Ip
    source_port: int
    destination: Ip
    destination_port: int


class Tally(NamedTuple):
    """A member's flows: those there are, and how many began since the start."""

    now: int
    begun: int


class Seen(NamedTuple):
    """What was seen of a flow elsewhere."""

    at: float
    acked: int | None = None
    is_answered: bool = False
    is_closing: bool = False


class Flow:
    """A flow. `there` and `back` are what becomes of its packets on the two ways."""

    __slots__ = (
        "acked",
        "back",
        "back_key",
        "is_tried",
        "key",
        "member",
        "number",
        "port",
        "seen",
        "state",
        "there",
    )

    def __init__(
        self, key: FlowKey, back_key: FlowKey, member: Mac, port: PortId, there: Edit, back: Edit
    ) -> None:
        self.key = key
        self.back_key = back_key
        self.member = member
        self.port = port  # the client's
        self.there = there
        self.back = back
        self.state = FlowState.YOUNG
        self.seen = 0.0
        # What the client has, so what a reset must say to be believed; None before it says so.
        self.acked: int | None = None
        self.is_tried = False  # it was refused before, elsewhere, and its answer is waited for
        self.number = -1  # less than the most there can be, and its own while it is one of them

    @property
    def idle_s(self) -> float:
        """How long it may be silent."""
        return IDLE_S[self.key.protocol, self.state]

    @property
    def is_relayed(self) -> bool:
        """Whether it is a way back to the relay of a client outside: nothing else is changed."""
        return self.there.destination == self.key.destination

    @property
    def is_settled(self) -> bool:
        """Whether most of its packets need no decision any more."""
        return self.state in (FlowState.SETTLED, FlowState.CLOSING)

    def learn(self, seen: Seen) -> None:
        """Somebody else saw it."""
        self.seen = max(self.seen, seen.at)
        if seen.is_closing and self.state is FlowState.SETTLED:
            self.state = FlowState.CLOSING
        if seen.acked is None:
            return
        # RFC 9293 §3.4: which of two sequence numbers is later.
        if self.acked is None or (seen.acked - self.acked) % (2 * _HALF) < _HALF:
            self.acked = seen.acked


class Flows:
    """All of them, by either direction."""

    def __init__(self, flows_max: int = FLOWS_MAX) -> None:
        self._max = flows_max
        self._there: dict[FlowKey, Flow] = {}
        self._back: dict[FlowKey, Flow] = {}
        self._young: OrderedDict[FlowKey, Flow] = OrderedDict()
        self._old: OrderedDict[FlowKey, Flow] = OrderedDict()
        self._members: dict[Vni, Counter[Mac]] = {}
        self._begun: dict[tuple[Vni, Ip, Mac], int] = {}
        self._numbers: list[int] = []  # that were given back
        self._changed: dict[int, Flow | None] | None = None
        self._ask: Callable[[Sequence[int]], Sequence[Seen | None]] | None = None
        self.evicted = 0  # had to go before their time

    def __len__(self) -> int:
        return len(self._there)

    def __iter__(self) -> Iterator[Flow]:
        return iter(list(self._there.values()))

    def members(self, vni: Vni) -> frozenset[bytes]:
        """The members that flows of a network go to."""
        return frozenset(self._members.get(vni, ()))

    def count(self, vni: Vni, vips: tuple[Ip, ...]) -> dict[Mac, Tally]:
        """The flows to these addresses, by member."""
        now = Counter(
            flow.member
            for flow in self._there.values()
            if flow.key.vni == vni and flow.key.destination in vips
        )
        begun: Counter[Mac] = Counter()
        for (network, vip, member), count in self._begun.items():
            if network == vni and vip in vips:
                begun[member] += count
        return {member: Tally(now[member], begun[member]) for member in now | begun}

    def there(self, key: FlowKey, now: float) -> Flow | None:
        """The flow that a client's packet belongs to."""
        return self._live(self._there.get(key), now)

    def back(self, key: FlowKey, now: float) -> Flow | None:
        """The flow that a member's packet belongs to."""
        return self._live(self._back.get(key), now)

    def is_young(self, flow: Flow) -> bool:
        """Whether nobody answered it yet."""
        self.catch_up((flow,))
        return flow.state is FlowState.YOUNG

    def has_back(self, key: FlowKey) -> bool:
        """Whether a member's packets of this kind belong to a flow already."""
        return key in self._back

    def add(self, flow: Flow, now: float) -> None:
        """Take a flow in; one that would get the same answers goes."""
        other = self._back.get(flow.back_key)
        if other is not None:
            self.remove(other)
        while len(self._there) >= self._max:
            self.evicted += 1
            self.remove(self._oldest())
        flow.number = self._numbers.pop() if self._numbers else len(self._there)
        flow.seen = now
        self._there[flow.key] = self._back[flow.back_key] = flow
        self._young[flow.key] = flow
        self._members.setdefault(flow.key.vni, Counter())[flow.member] += 1
        if not flow.is_relayed:
            self._count(flow.key.vni, flow.key.destination, flow.member)
        self._note(flow)

    def touch(self, flow: Flow, now: float, flags: int, *, is_answer: bool) -> None:
        """A packet of a flow was seen."""
        flow.seen = now
        if flow.state is FlowState.YOUNG and is_answer:
            self._settle(flow)
        elif flow.state is not FlowState.YOUNG:
            self._old.move_to_end(flow.key)
        else:
            self._young.move_to_end(flow.key)
        if flags & _LAST and flow.state is FlowState.SETTLED:
            flow.state = FlowState.CLOSING
        if flow.is_settled:
            self._note(flow)  # whoever carries it has not seen this packet

    def kill(self, flow: Flow) -> None:
        """Its member is gone."""
        if flow.state is FlowState.YOUNG:
            del self._young[flow.key]
            self._old[flow.key] = flow
        flow.state = FlowState.DEAD
        self._note(flow)

    def forget(self, port: PortId) -> None:
        """A port is gone, and with it the clients behind it."""
        for flow in self:
            if flow.port == port:
                self.remove(flow)

    def remove(self, flow: Flow) -> None:
        """Know nothing of it any more."""
        del self._there[flow.key]
        del self._back[flow.back_key]
        self._young.pop(flow.key, None)
        self._old.pop(flow.key, None)
        members = self._members[flow.key.vni]
        members[flow.member] -= 1
        if not members[flow.member]:
            del members[flow.member]
        self._numbers.append(flow.number)
        if self._changed is not None:
            self._changed[flow.number] = None

    def expire(self, now: float, most: int = 1_000) -> None:
        """Let go of those that were silent for too long; looks at some of the oldest only."""
        for kept in (self._young, self._old):
            # Those behind the first that was seen lately were seen later still.
            silent = takewhile(lambda flow: now - flow.seen > _SHORTEST_S, kept.values())
            oldest = list(islice(silent, most))
            self.catch_up(oldest)
            for flow in oldest:
                if now - flow.seen > flow.idle_s:
                    self.remove(flow)
                else:
                    # Patient ones do not hide the others.
                    young = flow.state is FlowState.YOUNG
                    (self._young if young else self._old).move_to_end(flow.key)

    def _live(self, flow: Flow | None, now: float) -> Flow | None:
        if flow is not None and now - flow.seen > _SHORTEST_S:
            self.catch_up((flow,))
            if now - flow.seen > flow.idle_s:
                self.remove(flow)
                return None
        return flow

    def _count(self, *name: *tuple[Vni, Ip, Mac]) -> None:
        """One more began; of too many members, the one that was there first is forgotten."""
        if name not in self._begun and len(self._begun) >= _BEGUN_MAX:
            del self._begun[next(iter(self._begun))]
        self._begun[name] = self._begun.get(name, 0) + 1

    def _oldest(self) -> Flow:
        """The one to go when there is no room."""
        while self._young:
            looked_at = list(islice(self._young.values(), _EVICTION_LOOKS))
            self.catch_up(looked_at)
            for flow in looked_at:
                if flow.state is FlowState.YOUNG:
                    return flow
        looked_at = list(islice(self._old.values(), _EVICTION_LOOKS))
        self.catch_up(looked_at)
        looked_at.sort(key=lambda flow: flow.seen)
        # The next time, others are looked at.
        for flow in looked_at[1:] if self._ask is not None else ():
            self._old.move_to_end(flow.key)
        return looked_at[0]

    # For a datapath that carries settled flows by itself

    def watch(self, ask: Callable[[Sequence[int]], Sequence[Seen | None]]) -> None:
        """Note which flows change from now on, for `changes`; ask what was seen of those there are.

        `ask` takes numbers of flows, and gives None for those it does not carry.
        """
        self._changed = {}
        self._ask = ask

    def changes(self) -> dict[int, Flow | None]:
        """The flows that changed since the last call, by number; None where there is none now."""
        changed, self._changed = self._changed, {}
        return changed or {}

    def catch_up(self, flows: Sequence[Flow]) -> None:
        """Know of these flows what was seen of them elsewhere."""
        living = [flow for flow in flows if flow.state is not FlowState.DEAD]
        if self._ask is None or not living:
            return
        answers = self._ask([flow.number for flow in living])
        for flow, seen in zip(living, answers, strict=True):
            if seen is not None:
                if seen.is_answered and flow.state is FlowState.YOUNG:
                    self._settle(flow)
                flow.learn(seen)

    def _settle(self, flow: Flow) -> None:
        flow.state = FlowState.SETTLED
        del self._young[flow.key]
        self._old[flow.key] = flow

    def _note(self, flow: Flow) -> None:
        if self._changed is not None:
            self._changed[flow.number] = flow
