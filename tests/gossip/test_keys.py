"""Rotating keys never loses a member, unless the operator insists."""

import pytest

from tests.gossip.stage import Actor, Stage
from vxnet.errors import StateError
from vxnet.gossip.events import MemberState
from vxnet.gossip.security import key_id
from vxnet.wire.gossip import Rows

OLD, NEW = bytes(32), bytes(range(32))
OLD_ID, NEW_ID = key_id(OLD), key_id(NEW)


@pytest.fixture
def stage() -> Stage:
    return Stage(keys=(OLD,))


def accepting(stage: Stage, *keys: bytes) -> Actor:
    actor = stage.actor()
    actor.describe(*keys)
    return actor


def test_installing_a_key_is_told_to_the_others(stage: Stage) -> None:
    member = accepting(stage, OLD_ID)
    stage.wait(3.0)
    member.forget()
    assert stage.node.keys.install(NEW, stage.now) == NEW_ID
    stage.wait(1.0)
    (row, *_) = [row for rows in member.heard(Rows) for row in rows.rows if row.kind == 16]
    assert row.body is not None
    assert OLD_ID in row.body
    assert NEW_ID in row.body


def test_a_key_that_is_not_here_is_not_used_whoever_else_lacks_it(stage: Stage) -> None:
    stage.cast(2)
    with pytest.raises(StateError, match="00000000 is not installed here; install it first"):
        stage.node.keys.use(bytes(4), stage.now)


def test_use_is_refused_while_a_live_member_lacks_the_key_and_names_it(stage: Stage) -> None:
    accepting(stage, OLD_ID, NEW_ID)
    late = accepting(stage, OLD_ID)
    stage.node.keys.install(NEW, stage.now)
    with pytest.raises(StateError, match=f"not installed on {late.name}; install it there first"):
        stage.node.keys.use(NEW_ID, stage.now)
    late.describe(OLD_ID, NEW_ID)
    stage.node.keys.use(NEW_ID, stage.now)
    assert stage.node.keys.ring.primary == NEW_ID


def test_use_is_refused_while_it_is_not_known_what_a_live_member_accepts(stage: Stage) -> None:
    stage.actor("silent")
    stage.node.keys.install(NEW, stage.now)
    with pytest.raises(StateError, match="silent"):
        stage.node.keys.use(NEW_ID, stage.now)


def test_the_dead_do_not_hinder_use_but_removal(stage: Stage) -> None:
    gossip, asleep = accepting(stage, OLD_ID, NEW_ID), accepting(stage, OLD_ID)
    stage.node.keys.install(NEW, stage.now)
    gossip.buries(asleep)
    assert asleep.state is MemberState.DEAD
    stage.node.keys.use(NEW_ID, stage.now)
    with pytest.raises(StateError, match=f"only one of ours that {asleep.name} accepts"):
        stage.node.keys.remove(OLD_ID, stage.now)
    asleep.leaves()
    stage.node.keys.remove(OLD_ID, stage.now)
    assert stage.node.keys.ring.ids == (NEW_ID,)


def test_force_does_it_all_the_same(stage: Stage) -> None:
    accepting(stage, OLD_ID)
    stage.node.keys.install(NEW, stage.now)
    stage.node.keys.use(NEW_ID, stage.now, force=True)
    with pytest.raises(StateError):
        stage.node.keys.remove(OLD_ID, stage.now)
    stage.node.keys.remove(OLD_ID, stage.now, force=True)
    assert stage.node.keys.ring.ids == (NEW_ID,)


def test_members_are_answered_under_a_key_they_have(stage: Stage) -> None:
    old_fashioned = accepting(stage, OLD_ID)
    stage.node.keys.install(NEW, stage.now)
    stage.node.keys.use(NEW_ID, stage.now, force=True)
    old_fashioned.forget()
    stage.wait(3.0)
    assert old_fashioned.inbox  # it could open what it got
    assert old_fashioned.state is MemberState.ALIVE


def test_of_many_members_that_lack_a_key_a_few_are_named_and_the_rest_counted(
    stage: Stage,
) -> None:
    for _ in range(8):
        accepting(stage, OLD_ID)
    stage.node.keys.install(NEW, stage.now)
    with pytest.raises(StateError, match="n1, n2, n3, n4, n5 and 3 more"):
        stage.node.keys.use(NEW_ID, stage.now)


def test_it_is_known_who_accepts_which_key(stage: Stage) -> None:
    both, one = accepting(stage, OLD_ID, NEW_ID), accepting(stage, OLD_ID)
    stage.node.keys.install(NEW, stage.now)
    assert stage.node.keys.holders() == {OLD_ID: [both.id, one.id], NEW_ID: [both.id]}


def test_a_change_can_be_taken_back(stage: Stage) -> None:
    before = stage.node.keys.ring.keys
    stage.node.keys.install(NEW, stage.now)
    stage.node.keys.use(NEW_ID, stage.now)
    stage.node.keys.restore(before, stage.now)
    assert stage.node.keys.ring.keys == before


def test_without_encryption_there_are_no_keys_to_rotate() -> None:
    stage = Stage()
    for command in (
        lambda: stage.node.keys.install(NEW, 0.0),
        lambda: stage.node.keys.use(NEW_ID, 0.0),
        lambda: stage.node.keys.remove(NEW_ID, 0.0),
    ):
        with pytest.raises(StateError, match=r"set gossip\.key_file"):
            command()
