"""Flows whose packets somebody else carries: who does is told of them, and asked what it saw."""

from collections.abc import Sequence

from tests.switch.test_services import flow
from vxnet.switch.flows import IDLE_S, Flow, Flows, FlowState, Seen
from vxnet.wire.ip import Protocol

SETTLED_S = IDLE_S[Protocol.TCP, FlowState.SETTLED]
CLOSING_S = IDLE_S[Protocol.TCP, FlowState.CLOSING]


class Carrier:
    """Carries flows, and says of them what a test has it see."""

    def __init__(self, flows: Flows) -> None:
        self.flows = flows
        self.seen: dict[int, Seen] = {}
        self.asked = 0
        flows.watch(self.ask)

    def ask(self, numbers: Sequence[int]) -> list[Seen | None]:
        self.asked += 1
        return [self.seen.get(number) for number in numbers]


def settled(flows: Flows, number: int, now: float = 0.0) -> Flow:
    made = flow(number)
    flows.add(made, now)
    flows.touch(made, now, 0x12, is_answer=True)
    return made


def test_every_change_is_told_once_and_numbers_are_used_again() -> None:
    flows = Flows()
    Carrier(flows)
    first, second = settled(flows, 1), settled(flows, 2)
    assert flows.changes() == {0: first, 1: second}
    assert flows.changes() == {}
    flows.remove(first)
    assert flows.changes() == {0: None}
    third = settled(flows, 3)
    flows.kill(second)
    assert flows.changes() == {0: third, 1: second}


def test_a_flow_seen_elsewhere_is_not_idle() -> None:
    flows = Flows()
    carrier = Carrier(flows)
    kept, silent = settled(flows, 1), settled(flows, 2)
    carrier.seen[kept.number] = Seen(SETTLED_S)
    flows.expire(SETTLED_S + 10)
    assert list(flows) == [kept]
    assert flows.there(kept.key, 2 * SETTLED_S) is kept
    assert flows.there(silent.key, SETTLED_S) is None
    assert flows.there(kept.key, 2 * SETTLED_S + 1) is None


def test_nobody_is_asked_of_what_was_seen_here_lately() -> None:
    flows = Flows()
    carrier = Carrier(flows)
    kept = settled(flows, 1)
    for second in range(50):
        flows.expire(float(second))
        assert flows.there(kept.key, float(second)) is kept
    assert carrier.asked == 0


def test_an_end_seen_elsewhere_shortens_what_a_flow_may_be_silent() -> None:
    flows = Flows()
    carrier = Carrier(flows)
    closing = settled(flows, 1)
    carrier.seen[closing.number] = Seen(10.0, is_answered=True, is_closing=True)
    assert flows.there(closing.key, CLOSING_S) is closing
    assert closing.state is FlowState.CLOSING
    assert flows.there(closing.key, CLOSING_S + 11) is None


def test_a_flow_answered_elsewhere_outlives_those_that_nobody_answered() -> None:
    flows = Flows(flows_max=3)
    carrier = Carrier(flows)
    answered, mute, other = flow(1), flow(2), flow(3)
    for made in (answered, mute, other):
        flows.add(made, 0.0)
    carrier.seen[answered.number] = Seen(0.0, is_answered=True)
    flows.add(flow(4), 1.0)
    assert set(flows) >= {answered, other}
    assert mute not in set(flows)
    flows.expire(100.0)
    assert list(flows) == [answered]
    assert answered.state is FlowState.SETTLED


def test_of_the_oldest_the_one_goes_that_nobody_saw_for_longest() -> None:
    flows = Flows(flows_max=3)
    carrier = Carrier(flows)
    kept = [settled(flows, number) for number in (1, 2, 3)]
    for one, at in zip(kept, (30.0, 10.0, 20.0), strict=True):
        carrier.seen[one.number] = Seen(at)
    flows.add(flow(4), 40.0)
    assert kept[1] not in set(flows)
    flows.remove(next(one for one in flows if one.key.source_port == 4))
    last = settled(flows, 5, 50.0)
    flows.add(flow(6), 60.0)
    assert set(flows) >= {kept[0], last}
    assert kept[2] not in set(flows)


def test_the_later_of_two_acknowledgements_counts_over_the_end_of_their_numbers() -> None:
    made = flow(1)
    for acked, wanted in ((0xFFFF_FFF0, 0xFFFF_FFF0), (5, 5), (0xFFFF_FFFF, 5), (None, 5)):
        made.learn(Seen(0.0, acked))
        assert made.acked == wanted
