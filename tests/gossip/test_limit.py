"""Nobody gets more than its share, and strangers share one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxnet.gossip.limit import STRANGERS_KEPT, Bucket, Limits
from vxnet.gossip.settings import LAN


def taken(limits: Limits, sender: str, size: int, now: float, tries: int = 2000) -> int:
    return sum(limits.known(sender, size, now) for _ in range(tries))


@given(
    st.floats(0.1, 1000),
    st.floats(1, 100),
    st.lists(st.floats(0, 5), min_size=1, max_size=50),
)
def test_a_bucket_never_gives_more_than_burst_and_rate_allow(
    rate: float, burst: float, pauses: list[float]
) -> None:
    bucket, now, given_out = Bucket(rate, burst, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        while bucket.holds(now):
            assert bucket.take(now)
            given_out += 1
        assert not bucket.take(now)
        assert given_out <= burst + rate * now + 1e-6 * given_out


def test_a_refused_amount_costs_nothing() -> None:
    bucket = Bucket(1.0, 10.0, 0.0)
    assert not bucket.take(0.0, 11.0)
    assert bucket.take(0.0, 10.0)
    assert not bucket.take(0.0)
    assert bucket.take(1.0)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(100, 500), (512, 500), (1024, 250), (64_000, 4)],
)
def test_a_member_is_held_to_packets_and_octets_a_second(size: int, expected: int) -> None:
    limits = Limits(LAN, 0.0)
    assert taken(limits, "a", size, 0.0) == expected
    assert taken(limits, "a", size, 0.5) == expected // 2
    assert taken(limits, "a", size, 100.0) == expected  # idling saves nothing up


def test_one_member_using_up_its_share_takes_nothing_from_another() -> None:
    limits = Limits(LAN, 0.0)
    taken(limits, "a", 100, 0.0)
    assert taken(limits, "b", 100, 0.0) == 500


def test_a_forgotten_member_begins_anew() -> None:
    limits = Limits(LAN, 0.0)
    taken(limits, "a", 100, 0.0)
    limits.forget("a")
    assert taken(limits, "a", 100, 0.0) == 500


def test_a_stranger_is_not_looked_at_once_it_sent_twenty() -> None:
    limits = Limits(LAN, 0.0)
    for _ in range(20):
        assert not limits.blocked("x", 0.0)
        limits.charge("x", 0.0)
    assert limits.blocked("x", 0.0)
    assert not limits.blocked("y", 0.0)
    assert not limits.blocked("x", 0.05)


def test_many_strangers_together_get_no_more_than_all_of_them_may() -> None:
    limits = Limits(LAN, 0.0)
    looked_at = 0
    for at in range(2000):
        if not limits.blocked(at, 0.0):
            looked_at += 1
            limits.charge(at, 0.0)
    assert looked_at == LAN.strangers_packets_per_s


def test_the_list_of_strangers_does_not_grow_without_end() -> None:
    limits = Limits(replace(LAN, strangers_packets_per_s=1e9), 0.0)
    for at in range(3 * STRANGERS_KEPT):
        limits.charge(at, 0.0)
    assert len(limits._strangers) == STRANGERS_KEPT


def test_a_member_has_others_asked_only_so_often() -> None:
    limits = Limits(LAN, 0.0)

    def granted(sender: str, now: float) -> int:
        return sum(limits.relay(sender, now) for _ in range(1000))

    assert granted("a", 0.0) == 60
    assert granted("a", 1.0) == 20
    assert granted("b", 1.0) == 60
    limits.forget("a")
    assert granted("a", 1.0) == 60
