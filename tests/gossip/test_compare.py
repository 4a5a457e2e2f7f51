"""Finding out who lacks what: roots, buckets, watermarks, pulls; and that equal costs nothing."""

from dataclasses import replace

import pytest

from tests.gossip.stage import BLUE, EPOCH, QUIET, Actor, Stage, mac
from vxnet.gossip.events import MemberState
from vxnet.wire.gossip import (
    BUCKETS,
    DATAGRAM_MAX,
    Ack,
    Alive,
    Buckets,
    Compare,
    Delta,
    Have,
    Left,
    More,
    Ping,
    Pull,
    Snapshot,
)
from vxnet.wire.rows import Item

OTHER_ROOT = 12345


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.do("attach", BLUE)
    return stage


@pytest.fixture
def peer(stage: Stage) -> Actor:
    peer = stage.actor()
    peer.attach()
    stage.wait(5.0)  # what was news is told
    peer.forget()
    return peer


def root(stage: Stage, peer: Actor) -> int:
    return stage.node.table.root(peer.peer)


def mine(stage: Stage, ver: int, *, epoch: int = EPOCH, att: int = 1) -> Item:
    return Item(stage.me.id, epoch, 8, att, ver)


# ── roots ─────────────────────────────────────────────────────────────────────────────────────


def test_equal_roots_are_the_end_of_it(stage: Stage, peer: Actor) -> None:
    peer.say(Ping(1, stage.me.id, root(stage, peer)))
    assert not peer.heard(Buckets)


def test_different_roots_on_a_ping_have_the_parts_compared_not_too_often(
    stage: Stage, peer: Actor
) -> None:
    for at in range(5):
        peer.say(Ping(at, stage.me.id, OTHER_ROOT))
    assert len(peer.heard(Buckets)) == 1
    stage.wait(QUIET.descent_interval_s)
    peer.say(Ping(9, stage.me.id, OTHER_ROOT))
    assert len(peer.heard(Buckets)) == 2


def test_different_roots_on_an_ack_do_so_too(stage: Stage, peer: Actor) -> None:
    peer.answers = False
    while not peer.heard(Ping):
        stage.wait(0.1)
    peer.say(Ack(peer.heard(Ping)[-1].seq, OTHER_ROOT))
    assert peer.heard(Buckets)


def test_now_and_then_everything_is_compared_whatever_the_roots_say() -> None:
    stage = Stage(replace(QUIET, compare_interval_s=10.0))
    peer = stage.actor()
    stage.wait(35.0)
    assert 3 <= len(peer.heard(Compare)) <= 4


def test_contents_that_differ_are_looked_into(stage: Stage, peer: Actor) -> None:
    contents = stage.node.table.contents(peer.peer)
    peer.say(Compare(contents))
    assert not peer.heard(Buckets)
    peer.say(Compare(contents ^ 1))
    assert [buckets.contents for buckets in peer.heard(Buckets)] == [True]


# ── buckets ───────────────────────────────────────────────────────────────────────────────────


def hashes(stage: Stage, peer: Actor, *changed: int) -> bytes:
    parts = stage.node.table.buckets(peer.peer, contents=False)
    for at in changed:
        parts[at] ^= 1
    return b"".join(part.to_bytes(8, "big") for part in parts)


def test_of_the_parts_that_differ_the_watermarks_are_told(stage: Stage, peer: Actor) -> None:
    stage.do("announce", BLUE, mac(1))
    at = stage.me.id % BUCKETS
    peer.say(Buckets(hashes(stage, peer, at)))
    (have,) = peer.heard(Have)[-1:]
    assert have.answer
    assert {(item.owner, item.scope, item.ver) for item in have.items} >= {(stage.me.id, 8, 1)}
    assert all(item.owner % BUCKETS == at for item in have.items)


def test_where_no_part_differs_nothing_is_said(stage: Stage, peer: Actor) -> None:
    peer.say(Buckets(hashes(stage, peer)))
    assert not peer.heard(Have)


def test_too_many_watermarks_go_over_tcp() -> None:
    stage = Stage(replace(QUIET, answer_datagrams=1, new_members_burst=1000.0))
    members = stage.cast(40)
    for member in members:
        member.describe()
    members[0].forget()
    members[0].say(Buckets(bytes(8 * BUCKETS)))
    assert members[0].heard(More) == [More([])]
    assert not [have for have in members[0].heard(Have) if have.answer]


# ── watermarks ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("epoch", "att", "ver", "reply"),
    [
        (EPOCH, 1, 3, None),
        (EPOCH, 1, 5, ("pull", 1, 3)),
        (EPOCH, 1, 2, ("have", 1, 3)),
        (EPOCH, 2, 1, ("pull", 2, 0)),
        (EPOCH + 1, 1, 1, ("pull", 1, 0)),
        (EPOCH - 1, 9, 9, ("have", 1, 3)),
    ],
)
def test_where_another_is_ahead_it_is_pulled_and_where_it_is_behind_it_is_told(
    stage: Stage, peer: Actor, epoch: int, att: int, ver: int, reply: tuple[str, int, int] | None
) -> None:
    owner = stage.actor()
    owner.attach()
    for at in range(3):
        owner.announce(mac(at))
    peer.forget()
    peer.say(Have([Item(owner.id, epoch, 8, att, ver)], answer=True))
    said = [
        (name, item.att, item.ver)
        for name, kind in (("pull", Pull), ("have", Have))
        for message in peer.heard(kind)
        for item in message.items
        if item.owner == owner.id and item.scope == 8
    ]
    assert said == ([reply] if reply else [])


def test_where_no_answer_is_wanted_only_pulls_are_sent(stage: Stage, peer: Actor) -> None:
    stage.do("announce", BLUE, mac(1))
    peer.say(Have([mine(stage, 0)]))
    assert not peer.heard(Have)


def test_who_is_behind_in_our_own_stream_is_told_too(stage: Stage, peer: Actor) -> None:
    stage.do("announce", BLUE, mac(1))
    peer.say(Have([mine(stage, 0)], answer=True))
    (have,) = peer.heard(Have)[-1:]
    assert [(item.scope, item.ver) for item in have.items] == [(8, 1)]


def test_networks_not_had_and_members_not_known_are_not_pulled(stage: Stage, peer: Actor) -> None:
    peer.say(Have([Item(peer.id, EPOCH, 99, 1, 5), Item(777, EPOCH, 8, 1, 5)]))
    assert not peer.heard(Pull)


def test_the_record_of_a_member_not_known_is_pulled(stage: Stage, peer: Actor) -> None:
    peer.say(Have([Item(777, EPOCH, 0, 1, 5)]))
    assert [item.owner for pull in peer.heard(Pull) for item in pull.items] == [777]


def test_dead_by_comparing_is_asked_and_left_is_told(stage: Stage, peer: Actor) -> None:
    dead, gone = stage.cast(2)
    dead.answers = False
    peer.buries(dead)
    gone.leaves()
    dead.forget()
    stage.wait(1.0)
    peer.forget()
    dead.forget()
    peer.say(Have([Item(who.id, EPOCH, 0, 1, 5) for who in (dead, gone)]))
    assert dead.heard(Ping)
    assert Left(gone.id, EPOCH, 0) in peer.heard(Left)
    assert not peer.heard(Pull)
    assert dead.state is MemberState.DEAD


def test_r10_the_same_version_with_other_contents_is_looked_into(stage: Stage, peer: Actor) -> None:
    owner = stage.actor()
    owner.attach()
    owner.announce(mac(1))
    held = stage.node.table.get(owner.id, 8)
    assert held is not None
    truth = Item(owner.id, EPOCH, 8, 1, 1, held.count, held.xor)
    held.rows.clear()  # damage
    peer.say(Have([truth]))
    assert stage.node.table.get(owner.id, 8) is held  # equal as far as anyone counted
    peer.say(Have([Item(owner.id, EPOCH, 8, 1, 1, 7, 7)]))
    assert stage.count("streams_mismatched") == 1
    assert stage.node.table.get(owner.id, 8) is not held


# ── pulls ─────────────────────────────────────────────────────────────────────────────────────


def fill(stage: Stage, count: int) -> None:
    for at in range(count):
        stage.do("announce", BLUE, mac(at), (b"\x0a\0\0\x01",) * 4)
    stage.wait(5.0)


def test_a_pull_is_answered_with_what_came_after_in_as_many_datagrams_as_it_takes(
    stage: Stage, peer: Actor
) -> None:
    fill(stage, 60)
    peer.forget()
    stage.datagrams.clear()
    peer.say(Pull([mine(stage, 10)]))
    deltas = peer.heard(Delta)
    assert len(deltas) >= 2
    assert deltas[0].start == 10
    assert [row.ver for delta in deltas for row in delta.rows] == list(range(11, 61))
    assert [delta.complete for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    assert max(len(datagram.data) for datagram in stage.datagrams) <= DATAGRAM_MAX


def test_too_much_for_eight_datagrams_goes_over_tcp(stage: Stage, peer: Actor) -> None:
    fill(stage, 400)
    peer.forget()
    peer.say(Pull([mine(stage, 0), mine(stage, 395)]))
    assert peer.heard(More) == [More([mine(stage, 0)])]
    assert [row.ver for delta in peer.heard(Delta) for row in delta.rows] == [*range(396, 401)]


def test_below_the_floor_a_pull_is_answered_with_a_snapshot(stage: Stage, peer: Actor) -> None:
    fill(stage, 3)
    stage.do("withdraw", BLUE, mac(0))
    stage.node.table.own(8).collect(4)
    peer.forget()
    peer.say(Pull([mine(stage, 1)]))
    (snapshot,) = peer.heard(Snapshot)
    assert [row.key for row in snapshot.rows] == [mac(1), mac(2)]
    assert not peer.heard(Delta)


def test_what_is_not_ahead_is_no_answer(stage: Stage, peer: Actor) -> None:
    fill(stage, 3)
    peer.forget()
    peer.say(
        Pull(
            [
                mine(stage, 3),
                mine(stage, 9),
                mine(stage, 0, epoch=EPOCH + 1),
                mine(stage, 0, att=2),
                Item(777, EPOCH, 8, 1, 0),
                Item(stage.me.id, EPOCH, 99, 1, 0),
            ]
        )
    )
    assert not peer.heard(Delta)
    assert not peer.heard(More)


def test_with_a_record_goes_who_it_is(stage: Stage, peer: Actor) -> None:
    other = stage.actor()
    other.describe()
    peer.forget()
    peer.say(Pull([Item(other.id, EPOCH, 0, 1, 0)]))
    assert other.alive() in peer.heard(Alive)
    assert peer.heard(Delta)


def test_a_gap_is_pulled_after_a_moment_from_whom_it_came(stage: Stage, peer: Actor) -> None:
    peer.publish(8, 1, mac(1), b"\x93\0\0\x90")
    peer.announce(mac(2))
    assert set(stage.entries()) == {mac(2)}
    assert not peer.heard(Pull)
    stage.wait(0.4)
    assert [(item.scope, item.ver) for pull in peer.heard(Pull) for item in pull.items] == [(8, 0)]


def test_a_gap_that_closes_meanwhile_is_not_pulled(stage: Stage, peer: Actor) -> None:
    late = peer.publish(8, 1, mac(1), b"\x93\0\0\x90")
    peer.announce(mac(2))
    peer.push(8, late)
    stage.wait(0.4)
    assert not peer.heard(Pull)


def test_taking_up_a_network_pulls_it_from_those_who_have_it() -> None:
    stage = Stage()
    members = stage.cast(3)
    for member in members[:2]:
        member.attach()
    stage.do("attach", BLUE)
    wanted = {
        (item.owner, item.scope)
        for member in members
        for pull in member.heard(Pull)
        for item in pull.items
    }
    assert wanted == {(members[0].id, 8), (members[1].id, 8)}
    assert not members[2].heard(Pull)
