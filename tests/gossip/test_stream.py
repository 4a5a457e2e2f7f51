"""The rules R2 to R7 and R10, one by one, and that each of them is needed."""

import pytest

from tests.gossip.replicas import ENTRY, Owner, rows_of
from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.gossip.stream import vni_scope
from vxnet.wire.rows import Head, Row

# ── the owner ─────────────────────────────────────────────────────────────────────────────────


def test_each_change_takes_the_next_version_without_gaps() -> None:
    owner = Owner()
    rows = [owner.set("a"), owner.set("b"), owner.delete("a"), owner.set("a", 5)]
    assert [row.ver for row in rows] == [1, 2, 3, 4]
    assert (owner.ver, owner.watermark, owner.count) == (4, 4, 2)
    assert rows_of(owner) == {"a": 5, "b": 0}


def test_the_owner_describes_its_stream_as_it_is() -> None:
    owner = Owner(epoch=5, att=3)
    owner.set("a")
    owner.delete("b")
    owner.forget()
    count, xor = owner.recount()
    assert owner.head() == Head(7, 5, 9, 3, 2, 2, count, xor)
    assert count == 1


def test_count_and_xor_do_not_depend_on_how_rows_came_about() -> None:
    owner = Owner()
    owner.set("a", 1)
    owner.set("b", 2)
    before = (owner.count, owner.xor)
    owner.set("c", 3)
    owner.delete("c")
    assert (owner.count, owner.xor) == before == owner.recount()


def test_vni_0_has_a_scope_of_its_own() -> None:
    assert [vni_scope(vni) for vni in (0, 1, 2**24 - 1)] == [1, 2, 2**24]


# ── R2: what is at or below the watermark is never taken again ────────────────────────────────


def test_r2_a_deleted_row_does_not_come_back_though_its_tombstone_is_gone() -> None:
    owner = Owner()
    first = owner.set("a")
    replica = owner.copy()
    owner.pull_from(replica)
    owner.delete("a")
    owner.pull_from(replica)
    owner.forget()
    owner.set("b")
    owner.pull_from(replica)
    assert replica.tombstones == 0
    owner.push_to(replica, first)
    replica.delta(owner.head(), 0, 1, True, [first])
    assert rows_of(replica) == {"b": 0}


def test_r2_without_it_the_dead_rise() -> None:
    owner = Owner()
    first = owner.set("a")
    replica = owner.copy(ALL_RULES & ~Rule.R2)
    owner.delete("a")
    owner.pull_from(replica)
    owner.forget()
    owner.set("b")
    owner.pull_from(replica)
    owner.push_to(replica, first)
    assert rows_of(replica) == {"a": 0, "b": 0}


def test_r2_an_older_snapshot_changes_nothing() -> None:
    owner = Owner()
    owner.set("a", 1)
    old_head, old_rows = owner.head(), owner.whole()
    owner.set("a", 2)
    replica = owner.copy()
    owner.pull_from(replica)
    assert replica.snapshot(old_head, 1, old_rows) == []
    assert rows_of(replica) == {"a": 2}


# ── R3: a pushed row ahead is taken, the watermark waits ──────────────────────────────────────


def test_r3_a_row_ahead_is_applied_and_the_watermark_waits_for_those_between() -> None:
    owner = Owner()
    a, b, c = owner.set("a"), owner.set("b"), owner.set("c")
    replica = owner.copy()
    owner.push_to(replica, c)
    assert (rows_of(replica), replica.watermark) == ({"c": 0}, 0)
    owner.push_to(replica, a)
    assert replica.watermark == 1
    assert not replica.complete
    owner.push_to(replica, b)
    assert replica.watermark == 3  # what came ahead counts once everything before it is here
    assert replica.complete
    assert replica.ahead is None


def test_r3_of_two_versions_of_a_row_the_higher_stays_whichever_comes_first() -> None:
    owner = Owner()
    owner.set("x")
    one, two = owner.set("a", 1), owner.set("a", 2)
    for order in ((one, two), (two, one)):
        replica = owner.copy()
        owner.push_to(replica, *order)
        assert rows_of(replica)["a"] == 2


def test_r3_without_it_a_gap_is_never_noticed() -> None:
    owner = Owner()
    owner.set("a")
    replica = owner.copy(ALL_RULES & ~Rule.R3)
    owner.push_to(replica, owner.set("b"))
    assert replica.complete
    assert rows_of(replica) != rows_of(owner)


def test_r3_versions_ahead_are_kept_in_mind_up_to_a_bound_and_pulled_beyond_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vxnet.gossip.stream.AHEAD_MAX", 10)
    owner = Owner()
    first = owner.set("x")
    replica = owner.copy()
    for at in range(100):
        owner.push_to(replica, owner.set("a", at))
    assert replica.ahead is not None
    assert len(replica.ahead) == 10
    owner.push_to(replica, first)
    assert replica.watermark == 11
    assert not replica.complete
    owner.pull_from(replica)
    assert replica.complete
    assert rows_of(replica) == rows_of(owner)


# ── R4: a delta cut short ─────────────────────────────────────────────────────────────────────


def test_r4_a_delta_cut_short_brings_the_watermark_to_its_last_row() -> None:
    owner = Owner()
    for key in "abcd":
        owner.set(key)
    replica = owner.copy()
    owner.pull_from(replica, cut=2)
    assert (rows_of(replica), replica.watermark) == ({"a": 0, "b": 0}, 2)
    owner.pull_from(replica)
    assert rows_of(replica) == rows_of(owner)


def test_r4_a_complete_delta_brings_it_to_the_end_though_rows_in_between_are_superseded() -> None:
    owner = Owner()
    owner.set("a")
    owner.set("b", 1)
    owner.set("b", 2)
    owner.set("a", 3)
    replica = owner.copy()
    rows = owner.since(0)
    assert [row.ver for row in rows] == [3, 4]
    replica.delta(owner.head(), 0, 4, True, rows)
    assert replica.watermark == 4


def test_r4_a_cut_delta_without_rows_moves_nothing() -> None:
    owner = Owner()
    owner.set("a")
    replica = owner.copy()
    replica.delta(owner.head(), 0, 1, False, [])
    assert replica.watermark == 0


def test_r4_without_it_the_rest_is_never_asked_for() -> None:
    owner = Owner()
    for key in "abcd":
        owner.set(key)
    replica = owner.copy(ALL_RULES & ~Rule.R4)
    owner.pull_from(replica, cut=2)
    assert replica.complete
    assert rows_of(replica) != rows_of(owner)


# ── R5: only the owner collects tombstones ────────────────────────────────────────────────────


def test_r5_a_replica_below_the_floor_needs_a_snapshot_and_one_at_it_does_not() -> None:
    owner = Owner()
    owner.set("a")
    owner.delete("a")
    assert not owner.needs_snapshot(0)
    owner.forget()
    assert [owner.needs_snapshot(start) for start in (0, 1, 2)] == [True, True, False]


def test_r5_a_replica_drops_tombstones_when_the_owner_says_so_and_not_before() -> None:
    owner = Owner()
    owner.set("a")
    owner.delete("a")
    replica = owner.copy()
    owner.pull_from(replica)
    assert replica.tombstones == 1
    owner.forget()
    owner.set("b")
    owner.pull_from(replica)
    assert replica.tombstones == 0
    assert replica.floor == 2


def test_r5_a_replica_that_is_behind_the_floor_keeps_its_tombstones_until_it_is_not() -> None:
    owner = Owner()
    owner.set("x")
    owner.set("a")
    dead = owner.delete("a")
    owner.forget()
    replica = owner.copy()
    owner.push_to(replica, dead)
    assert replica.tombstones == 1
    owner.pull_from(replica)
    assert replica.tombstones == 0


def test_r5_without_it_a_replica_keeps_what_its_owner_deleted() -> None:
    owner = Owner()
    owner.rules = (ALL_RULES & ~Rule.R5).value
    owner.set("a")
    replica = owner.copy()
    owner.pull_from(replica)
    owner.delete("a")
    owner.forget()
    owner.set("b")
    owner.pull_from(replica)
    assert replica.complete
    assert rows_of(replica) == {"a": 0, "b": 0}


# ── R6: a snapshot replaces ───────────────────────────────────────────────────────────────────


def test_r6_a_snapshot_takes_away_what_it_does_not_hold() -> None:
    owner = Owner()
    owner.set("a")
    owner.set("b")
    replica = owner.copy()
    owner.pull_from(replica)
    owner.delete("a")
    owner.forget()
    owner.pull_from(replica)
    assert rows_of(replica) == {"b": 0}
    assert replica.watermark == owner.watermark


def test_r6_a_snapshot_leaves_what_is_newer() -> None:
    owner = Owner()
    owner.set("a")
    head, rows = owner.head(), owner.whole()
    newer = owner.set("b")
    replica = owner.copy()
    owner.push_to(replica, newer)
    replica.snapshot(head, 1, rows)
    assert rows_of(replica) == {"a": 0, "b": 0}
    assert replica.watermark == 2


def test_r6_a_snapshot_carries_tombstones_that_others_may_still_need() -> None:
    owner = Owner()
    owner.set("a")
    owner.delete("a")
    owner.forget()
    owner.set("b")
    owner.delete("b")
    replica = owner.copy()
    owner.pull_from(replica, start=0)
    third = owner.copy()
    replica_rows = replica.whole()
    assert [(row.key, row.body) for row in replica_rows] == [(b"b", None)]
    third.snapshot(replica.head(), replica.watermark, replica_rows)
    assert third.tombstones == 1


def test_r6_without_it_a_snapshot_leaves_what_is_gone() -> None:
    owner = Owner()
    owner.set("a")
    replica = owner.copy(ALL_RULES & ~Rule.R6)
    owner.pull_from(replica)
    owner.delete("a")
    owner.forget()
    owner.pull_from(replica)
    assert rows_of(replica) == {"a": 0}


# ── R7: a delta must join on ──────────────────────────────────────────────────────────────────


def test_r7_a_delta_that_begins_above_the_watermark_is_dropped() -> None:
    owner = Owner()
    owner.set("a")
    owner.set("b")
    replica = owner.copy()
    owner.pull_from(replica, start=1)
    assert (rows_of(replica), replica.watermark) == ({}, 0)
    assert replica.ver == 2  # but it is known now that there is more


def test_r7_a_delta_that_overlaps_is_taken() -> None:
    owner = Owner()
    owner.set("a")
    replica = owner.copy()
    owner.pull_from(replica)
    owner.set("b")
    owner.pull_from(replica, start=0)
    assert rows_of(replica) == {"a": 0, "b": 0}


def test_r7_without_it_what_is_missing_is_never_noticed() -> None:
    owner = Owner()
    owner.set("a")
    owner.set("b")
    replica = owner.copy(ALL_RULES & ~Rule.R7)
    owner.pull_from(replica, start=1)
    assert replica.complete
    assert rows_of(replica) == {"b": 0}


# ── R10: count and xor ────────────────────────────────────────────────────────────────────────


def test_r10_a_complete_copy_that_is_not_what_the_owner_says_is_corrupt() -> None:
    owner = Owner()
    owner.set("a", 1)
    replica = owner.copy()
    false = Row(ENTRY, b"a", 1, b"\x02")
    replica.delta(owner.head(), 0, 1, True, [false])
    assert replica.corrupt()


def test_r10_a_copy_that_is_behind_or_equal_is_not() -> None:
    owner = Owner()
    owner.set("a")
    replica = owner.copy()
    assert not replica.corrupt()
    owner.push_to(replica, owner.set("b"))
    assert not replica.corrupt()
    owner.pull_from(replica)
    assert not replica.corrupt()


def test_r10_damage_in_memory_shows_when_rows_are_counted_again() -> None:
    owner = Owner()
    owner.set("a", 1)
    replica = owner.copy()
    owner.pull_from(replica)
    replica.rows[ENTRY, b"a"] = Row(ENTRY, b"a", 1, b"\x02")
    assert replica.recount() != (replica.count, replica.xor)
