"""The flows that go through services: bounded, and the one idle for longest goes first.

Flows that nobody answered yet are kept apart and go before all others, so that a flood of first
packets cannot push out connections that are merely quiet.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from vxnet.switch.actions import PortId
from vxnet.wire.addr import Ip, Mac, Vni
from vxnet.wire.ip import Protocol
from vxnet.wire.rewrite import Edit
from vxnet.wire.transport import TcpFlag

__all__ = ["FLOWS_MAX", "IDLE_S", "Flow", "FlowKey", "FlowState", "Flows"]

FLOWS_MAX: Final = 200_000


class FlowState(IntEnum):
    """How far a flow is."""

    YOUNG = 0  # nobody answered yet
    SETTLED = 1
    CLOSING = 2  # FIN or RST was seen
    DEAD = 3  # its member is gone, and its client is told with whatever it sends


IDLE_S: Final = {
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


class FlowKey(NamedTuple):
    """One direction of a flow, as its sender has it."""

    vni: Vni
    protocol: int
    source: Ip
    source_port: int
    destination: Ip
    destination_port: int


class Flow:
    """A flow. `there` and `back` are what becomes of its packets on the two ways."""

    __slots__ = ("acked", "back", "back_key", "key", "member", "port", "seen", "state", "there")

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
        self.acked = 0  # what the client has, so what a reset must say to be believed

    @property
    def idle_s(self) -> float:
        """How long it may be silent."""
        return IDLE_S[Protocol(self.key.protocol), self.state]

    @property
    def is_relayed(self) -> bool:
        """Whether it is a way back to the relay of a client outside: nothing else is changed."""
        return self.there.destination == self.key.destination


class Flows:
    """All of them, by either direction."""

    def __init__(self, flows_max: int = FLOWS_MAX) -> None:
        self._max = flows_max
        self._there: dict[FlowKey, Flow] = {}
        self._back: dict[FlowKey, Flow] = {}
        self._young: OrderedDict[FlowKey, Flow] = OrderedDict()
        self._old: OrderedDict[FlowKey, Flow] = OrderedDict()
        self._members: dict[Vni, Counter[Mac]] = {}
        self.evicted = 0  # had to go before their time

    def __len__(self) -> int:
        return len(self._there)

    def __iter__(self) -> Iterator[Flow]:
        return iter(list(self._there.values()))

    def members(self, vni: Vni) -> frozenset[bytes]:
        """The members that flows of a network go to."""
        return frozenset(self._members.get(vni, ()))

    def count(self, vni: Vni, vips: tuple[Ip, ...]) -> dict[Mac, int]:
        """How many flows to these addresses each member has."""
        found = (
            flow.member
            for flow in self._there.values()
            if flow.key.vni == vni and flow.key.destination in vips
        )
        return dict(Counter(found))

    def there(self, key: FlowKey, now: float) -> Flow | None:
        """The flow that a client's packet belongs to."""
        return self._live(self._there.get(key), now)

    def back(self, key: FlowKey, now: float) -> Flow | None:
        """The flow that a member's packet belongs to."""
        return self._live(self._back.get(key), now)

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
            self.remove(next(iter((self._young or self._old).values())))
        flow.seen = now
        self._there[flow.key] = self._back[flow.back_key] = flow
        self._young[flow.key] = flow
        self._members.setdefault(flow.key.vni, Counter())[flow.member] += 1

    def touch(self, flow: Flow, now: float, flags: int, *, is_answer: bool) -> None:
        """A packet of a flow was seen."""
        flow.seen = now
        if flow.state is FlowState.YOUNG and is_answer:
            flow.state = FlowState.SETTLED
            del self._young[flow.key]
            self._old[flow.key] = flow
        elif flow.state is not FlowState.YOUNG:
            self._old.move_to_end(flow.key)
        else:
            self._young.move_to_end(flow.key)
        if flags & (TcpFlag.FIN | TcpFlag.RST) and flow.state is FlowState.SETTLED:
            flow.state = FlowState.CLOSING

    def kill(self, flow: Flow) -> None:
        """Its member is gone."""
        if flow.state is FlowState.YOUNG:
            del self._young[flow.key]
            self._old[flow.key] = flow
        flow.state = FlowState.DEAD

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

    def expire(self, now: float, most: int = 1_000) -> None:
        """Let go of those that were silent for too long; looks at some of the oldest only."""
        for kept in (self._young, self._old):
            for _ in range(min(most, len(kept))):
                key, flow = next(iter(kept.items()))
                if now - flow.seen <= flow.idle_s:
                    if now - flow.seen <= IDLE_S[Protocol.UDP, FlowState.YOUNG]:
                        break  # and so are all behind it
                    kept.move_to_end(key)  # patient ones do not hide the others
                    continue
                self.remove(flow)

    def _live(self, flow: Flow | None, now: float) -> Flow | None:
        if flow is not None and now - flow.seen > flow.idle_s:
            self.remove(flow)
            return None
        return flow
