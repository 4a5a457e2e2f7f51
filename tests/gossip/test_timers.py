"""Calls are made in their time's order, and never once they were cancelled."""

from hypothesis import given
from hypothesis import strategies as st

from vxnet.gossip.timers import Timers


def test_nothing_is_due_where_nothing_was_asked_for() -> None:
    timers = Timers()
    assert timers.deadline() is None
    timers.run(1e9)


@given(st.lists(st.floats(0, 100), max_size=50), st.floats(0, 100))
def test_what_is_due_is_called_in_order_and_nothing_else(whens: list[float], now: float) -> None:
    timers, called = Timers(), []
    for when in whens:
        timers.at(when, lambda at, when=when: called.append((when, at)))
    timers.run(now)
    assert called == [(when, now) for when in sorted(whens) if when <= now]
    later = [when for when in whens if when > now]
    assert timers.deadline() == (min(later) if later else None)


def test_equal_times_are_called_in_the_order_they_were_asked_for() -> None:
    timers, called = Timers(), []
    for name in "abc":
        timers.at(1.0, lambda _, name=name: called.append(name))
    timers.run(1.0)
    assert called == ["a", "b", "c"]


def test_a_cancelled_call_is_never_made_and_nobody_is_woken_for_it() -> None:
    timers, called = Timers(), []
    timer = timers.at(1.0, called.append)
    timers.at(2.0, called.append)
    timer.cancel()
    timer.cancel()
    assert timers.deadline() == 2.0
    timers.run(3.0)
    assert called == [3.0]


def test_one_of_several_that_are_due_can_cancel_the_next() -> None:
    timers, called = Timers(), []
    timers.at(1.0, lambda _: second.cancel())
    second = timers.at(1.0, called.append)
    timers.run(1.0)
    assert called == []


def test_what_is_asked_for_meanwhile_waits_for_the_next_run() -> None:
    timers, called = Timers(), []
    timers.at(1.0, lambda now: timers.at(now, called.append))
    timers.run(1.0)
    assert called == []
    timers.run(1.0)
    assert called == [1.0]
