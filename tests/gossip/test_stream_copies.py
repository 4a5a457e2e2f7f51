"""What a copy of a stream gives on, and copies that heard everything late, twice or cut."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gossip.replicas import Owner, rows_of
from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.gossip.stream import Stream, parts
from vxnet.wire.gossip import encode
from vxnet.wire.rows import Head, Row

# ── what a replica gives on ───────────────────────────────────────────────────────────────────


def test_what_came_since_a_version_is_given_in_order_up_to_the_watermark() -> None:
    owner = Owner()
    rows = {key: owner.set(key) for key in "abcdef"}
    replica = owner.copy()
    owner.push_to(replica, rows["e"], rows["b"], rows["a"], rows["c"])
    assert [row.key for row in replica.since(0)] == [b"a", b"b", b"c"]
    assert [row.key for row in replica.since(2)] == [b"c"]
    assert replica.since(3) == []


def test_a_change_says_what_was_and_what_is() -> None:
    owner = Owner()
    replica = owner.copy()
    one = owner.set("a", 1)
    assert replica.push(owner.head(), [one]) == [(None, one)]
    two = owner.set("a", 2)
    assert replica.push(owner.head(), [two]) == [(one, two)]
    dead = owner.delete("a")
    assert replica.push(owner.head(), [dead]) == [(two, dead)]
    again = owner.set("a", 3)
    assert replica.push(owner.head(), [again]) == [(None, again)]
    assert replica.push(owner.head(), [again]) == []


def test_a_tombstone_of_what_was_never_here_is_no_change() -> None:
    owner = Owner()
    owner.set("a")
    replica = owner.copy()
    assert replica.push(owner.head(), [owner.delete("a")]) == []


def test_an_empty_copy_has_the_same_digest_as_none_at_all() -> None:
    owner = Owner()
    assert owner.copy().digest() == 0
    owner.set("a")
    assert owner.digest() != 0


def test_digests_differ_in_every_part_of_a_streams_name_and_with_contents_in_its_rows() -> None:
    seen = set()
    for epoch, att, versions in ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)):
        owner = Owner(epoch, att)
        for at in range(versions):
            owner.set("a", at)
        seen |= {owner.digest(), owner.digest(contents=True)}
    other = Owner()
    other.set("a", 9)
    assert other.digest() in seen  # the watermark is the same
    assert other.digest(contents=True) not in seen
    assert len(seen) == 8


def test_an_item_tells_contents_only_where_the_copy_is_complete() -> None:
    owner = Owner()
    a, _ = owner.set("a"), owner.set("b")
    replica = owner.copy()
    owner.push_to(replica, a)
    assert replica.item(contents=True).count == 0
    owner.pull_from(replica)
    assert replica.item(contents=True).count == 2
    assert replica.item().count == 0


def test_a_replica_is_all_that_it_was_made_from_and_parts_from_it_with_the_next_change() -> None:
    owner = Owner()
    owner.set("a"), owner.set("b"), owner.delete("a")
    owner.contribution = 5  # to the roots of the table that holds it
    replica = owner.replica()
    differ = {slot for slot in Stream.__slots__ if getattr(replica, slot) != getattr(owner, slot)}
    assert differ == {"contribution"}
    owner.set("b", 2)
    assert rows_of(replica) == {"b": 0}
    owner.pull_from(replica)
    assert rows_of(replica) == {"b": 2}


@given(st.lists(st.integers(0, 200), max_size=30), st.integers(10, 300))
def test_parts_keep_the_order_fit_their_room_and_the_last_says_so(
    sizes: list[int], room: int
) -> None:
    rows = [Row(1, b"k", at, bytes(size)) for at, size in enumerate(sizes)]
    cut = list(parts(rows, room))
    assert [row for part, _ in cut for row in part] == rows
    assert [last for _, last in cut] == [False] * (len(cut) - 1) + [True]
    for part, _ in cut:
        assert len(part) <= 1 or sum(len(encode(row)) for row in part) <= room


# ── everything at once ────────────────────────────────────────────────────────────────────────


def churn(seed: int, rules: Rule = ALL_RULES) -> tuple[Owner, list[dict[str, int]]]:
    """An owner that sets, deletes and collects; copies that hear it late, twice, or cut short."""
    random = Random(seed)
    owner = Owner()
    owner.rules = rules.value
    replicas = [owner.copy(rules) for _ in range(3)]
    flying: list[tuple[Head, Row]] = []
    for _ in range(80):
        key = random.choice("abcdef")
        row = owner.set(key, random.randrange(9)) if random.random() < 0.6 else owner.delete(key)
        flying.append((owner.head(), row))
        if random.random() < 0.1:
            owner.collect(random.randrange(owner.ver + 1))
        for replica in replicas:
            if random.random() < 0.5:
                head, late = random.choice(flying)
                replica.push(head, [late])
            if random.random() < 0.2:
                start = max(0, replica.watermark - random.choice((0, 0, 3, -3)))
                owner.pull_from(replica, start=start, cut=random.choice((None, 1, 2)))
            source = random.choice(replicas)
            if source is not replica and random.random() < 0.1 and source.watermark:
                replica.snapshot(source.head(), source.watermark, source.whole())
    for replica in replicas:
        for _ in range(3):
            if not replica.complete or replica.watermark < owner.watermark:
                owner.pull_from(replica)
    return owner, [rows_of(replica) for replica in replicas]


@pytest.mark.parametrize("seed", range(60))
def test_copies_that_heard_everything_late_twice_or_cut_equal_the_owner(seed: int) -> None:
    owner, copies = churn(seed)
    assert copies == [rows_of(owner)] * 3


@pytest.mark.parametrize("rule", [Rule.R2, Rule.R3, Rule.R4, Rule.R5, Rule.R6, Rule.R7])
def test_without_any_one_of_the_rules_they_do_not(rule: Rule) -> None:
    wrong = 0
    for seed in range(60):
        owner, copies = churn(seed, ALL_RULES & ~rule)
        wrong += copies != [rows_of(owner)] * 3
    assert wrong
