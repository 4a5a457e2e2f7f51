"""What is believed of members: SWIM's rules as a table, and what a node does about itself."""

from dataclasses import replace

import pytest

from tests.gossip.stage import BLUE, EPOCH, QUIET, Actor, Stage, mac
from vxnet.gossip.events import AlarmKind, MemberChanged, MemberState
from vxnet.gossip.member import Peer, newer
from vxnet.wire.gossip import Alive, Dead, Have, Left, Suspect
from vxnet.wire.rows import Item

ALIVE, SUSPECT, DEAD, LEFT = MemberState
YEAR_MS = 366 * 86_400_000


@pytest.fixture
def stage() -> Stage:
    return Stage()


# ── the order of claims ───────────────────────────────────────────────────────────────────────

# (believed state, inc) and (claimed state, inc), within one epoch: whether it is news.
ORDER = [
    ((ALIVE, 1), (ALIVE, 1), False),
    ((ALIVE, 1), (ALIVE, 2), True),
    ((ALIVE, 1), (SUSPECT, 1), True),
    ((ALIVE, 1), (SUSPECT, 0), False),
    ((ALIVE, 1), (DEAD, 1), True),
    ((ALIVE, 1), (LEFT, 1), True),
    ((ALIVE, 1), (LEFT, 0), False),
    ((SUSPECT, 1), (ALIVE, 1), False),
    ((SUSPECT, 1), (ALIVE, 2), True),
    ((SUSPECT, 1), (SUSPECT, 2), True),
    ((SUSPECT, 1), (DEAD, 1), True),
    ((SUSPECT, 1), (DEAD, 0), False),
    ((DEAD, 1), (ALIVE, 1), False),
    ((DEAD, 1), (SUSPECT, 1), False),
    ((DEAD, 1), (ALIVE, 2), True),
    ((DEAD, 1), (LEFT, 1), True),
    ((LEFT, 1), (ALIVE, 9), False),
    ((LEFT, 1), (DEAD, 9), False),
    ((LEFT, 1), (LEFT, 9), False),
]


@pytest.mark.parametrize(("believed", "claimed", "news"), ORDER)
def test_a_claim_is_news_if_it_ranks_higher(
    believed: tuple[MemberState, int], claimed: tuple[MemberState, int], news: bool
) -> None:
    state, inc = believed
    peer = Peer(Alive(1, EPOCH, inc, "n", b"\x0a\0\0\1", 4789, 7947), 0.0)
    peer.state = state
    assert newer(peer, EPOCH, claimed[1], claimed[0]) is news
    assert newer(peer, EPOCH + 1, 0, claimed[0])
    assert not newer(peer, EPOCH - 1, 99, claimed[0])


@pytest.mark.parametrize(("believed", "claimed", "news"), ORDER)
def test_the_same_table_over_the_wire(
    stage: Stage,
    believed: tuple[MemberState, int],
    claimed: tuple[MemberState, int],
    news: bool,
) -> None:
    gossip, member = stage.cast(2)
    member.answers = False
    for at, (state, inc) in enumerate((believed, claimed)):
        before = (member.peer.state, member.peer.inc)
        member.inc = inc
        gossip.say(claim(state, member, gossip))
        if at:
            after = (state, inc) if news else before
            assert (member.peer.state, member.peer.inc) == after


def claim(state: MemberState, whom: Actor, by: Actor) -> object:
    if state is ALIVE:
        return whom.alive()
    if state is LEFT:
        return Left(whom.id, whom.epoch, whom.inc)
    return (Suspect if state is SUSPECT else Dead)(whom.id, whom.epoch, whom.inc, by.id)


# ── epochs ────────────────────────────────────────────────────────────────────────────────────


def test_a_higher_epoch_is_another_life_even_after_a_farewell(stage: Stage) -> None:
    member = stage.actor()
    member.leaves()
    assert member.state is LEFT
    member.say(member.alive())
    assert member.state is LEFT
    member.reborn()
    assert member.state is ALIVE


def test_a_life_not_heard_of_is_neither_doubted_nor_buried(stage: Stage) -> None:
    gossip, member = stage.cast(2)
    member.epoch += 1
    gossip.suspects(member)
    gossip.buries(member)
    assert member.state is ALIVE
    assert member.peer.epoch == EPOCH


@pytest.mark.parametrize(
    ("ahead_ms", "believed"),
    [(1, True), (YEAR_MS - 60_000, True), (YEAR_MS + 60_000, False), (2**47, False)],
)
def test_an_epoch_more_than_366_days_ahead_is_refused_whoever_says_it_and_however(
    stage: Stage, ahead_ms: int, believed: bool
) -> None:
    gossip = stage.actor()
    epoch = EPOCH + ahead_ms
    for at, say in enumerate((lambda m: m.alive(), lambda m: Left(m.id, m.epoch, m.inc))):
        member = stage.actor(at=10 + at)
        member.epoch = epoch
        gossip.say(say(member))
        assert (member.peer.epoch == epoch) is believed
    unknown = stage.actor(at=20, joins=False)
    unknown.epoch = epoch
    gossip.say(unknown.alive())
    assert (stage.node.roster.get(20) is not None) is believed


def test_a_stream_of_an_epoch_too_far_ahead_is_refused(stage: Stage) -> None:
    member = stage.actor()
    member.attach()
    stage.do("attach", BLUE)
    own = member.streams[8]
    own.epoch = EPOCH + YEAR_MS + 60_000
    member.announce(mac(1))
    own.epoch = EPOCH
    member.announce(mac(2))
    assert stage.entries() == {mac(2): member.id}


def test_what_may_be_true_moves_on_with_time(stage: Stage) -> None:
    stage.node.hub.settings = replace(QUIET, epoch_ahead_max_s=10.0)
    gossip, member = stage.cast(2)
    member.epoch += 12_000
    gossip.say(member.alive())
    assert member.peer.epoch == EPOCH
    stage.wait(3.0)
    gossip.say(member.alive())
    assert member.peer.epoch == EPOCH + 12_000


# ── doubts ────────────────────────────────────────────────────────────────────────────────────


def test_a_member_refutes_a_suspicion_with_a_higher_incarnation(stage: Stage) -> None:
    gossip, member = stage.cast(2)
    gossip.suspects(member)
    assert member.state is SUSPECT
    member.say(member.alive())
    assert member.state is SUSPECT
    member.refutes()
    assert member.state is ALIVE


def test_changes_are_told_once_with_what_was_before(stage: Stage) -> None:
    gossip, member = stage.cast(2)
    stage.events.clear()
    gossip.suspects(member)
    gossip.suspects(member)
    gossip.buries(member)
    member.inc = 1
    gossip.say(member.alive())
    changes = [(e.previous, e.member.state) for e in stage.told(MemberChanged)]
    assert changes == [(ALIVE, SUSPECT), (SUSPECT, DEAD), (DEAD, ALIVE)]


def test_claims_about_nobody_change_nothing(stage: Stage) -> None:
    gossip = stage.actor()
    gossip.say(Suspect(55, EPOCH, 0, gossip.id), Dead(55, EPOCH, 0, gossip.id), Left(55, EPOCH, 0))
    assert stage.node.roster.get(55) is None


# ── about this node ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("doubt", ["suspects", "buries"])
def test_a_node_that_is_doubted_refutes_and_answers_whoever_doubts_it(
    stage: Stage, doubt: str
) -> None:
    gossip = stage.actor()
    gossip.forget()
    getattr(gossip, doubt)(stage)
    (answer, *_) = gossip.heard(Alive)
    assert (answer.id, answer.inc) == (stage.me.id, 1)
    assert stage.me.state is ALIVE
    assert stage.count("refutations") == 1
    assert stage.node.health == 1  # perhaps with reason


def test_a_doubt_about_a_former_incarnation_or_life_is_nothing(stage: Stage) -> None:
    gossip = stage.actor()
    gossip.suspects(stage)
    gossip.say(Suspect(stage.me.id, EPOCH, 0, gossip.id))
    gossip.say(Dead(stage.me.id, EPOCH - 1, 50, gossip.id))
    assert stage.me.inc == 1
    assert stage.count("refutations") == 1


@pytest.mark.parametrize(
    "said",
    [
        lambda me, by: Alive(me.id, EPOCH + 5, 0, "me", me.vtep.ip, 4789, 7947),
        lambda me, by: Suspect(me.id, EPOCH + 5, 3, by),
        lambda me, by: Dead(me.id, EPOCH + 5, 3, by),
        lambda me, by: Left(me.id, EPOCH + 5, 3),
        lambda me, by: Have([Item(me.id, EPOCH + 5, 0, 1, 1)]),
    ],
    ids=["alive", "suspect", "dead", "left", "have"],
)
def test_a_node_told_of_a_higher_epoch_of_itself_jumps_past_it_and_publishes_again(
    stage: Stage, said: object
) -> None:
    gossip = stage.actor()
    stage.do("attach", BLUE)
    stage.do("announce", BLUE, mac(1))
    gossip.say(said(stage.me, gossip.id))  # type: ignore[operator]
    assert stage.node.epoch == EPOCH + 6
    own = stage.node.table.own(8)
    assert (own.epoch, own.count) == (EPOCH + 6, 1)
    assert stage.entries() == {mac(1): stage.me.id}


@pytest.mark.parametrize("ahead", ["ver", "att"])
def test_a_foreign_copy_ahead_of_my_stream_under_my_epoch_raises_the_epoch(
    stage: Stage, ahead: str
) -> None:
    gossip = stage.actor()
    stage.do("attach", BLUE)
    stage.do("announce", BLUE, mac(1))
    own = stage.node.table.own(8)
    item = Item(stage.me.id, EPOCH, 8, own.att + (ahead == "att"), own.ver + (ahead == "ver"))
    gossip.say(Have([item]))
    assert stage.node.epoch == EPOCH + 1
    assert stage.count("own_stream_ahead") == 1
    assert stage.node.table.own(8).count == 1


def test_a_copy_of_my_stream_that_is_behind_is_nothing(stage: Stage) -> None:
    gossip = stage.actor()
    stage.do("attach", BLUE)
    stage.do("announce", BLUE, mac(1))
    gossip.say(Have([Item(stage.me.id, EPOCH, 8, 1, 0), Item(stage.me.id, EPOCH - 1, 8, 9, 9)]))
    assert stage.node.epoch == EPOCH


def test_an_incarnation_at_its_end_begins_another_life(stage: Stage) -> None:
    gossip = stage.actor()
    gossip.say(Suspect(stage.me.id, EPOCH, 2**32 - 1, gossip.id))
    assert (stage.node.epoch, stage.me.inc) == (EPOCH + 1, 0)


def test_an_epoch_of_mine_too_far_ahead_is_not_jumped_past(stage: Stage) -> None:
    gossip = stage.actor()
    gossip.say(Left(stage.me.id, EPOCH + 2 * YEAR_MS, 0))
    assert stage.node.epoch == EPOCH
    assert stage.count("epoch_refused") == 1


def test_two_hosts_with_one_identity_are_an_alarm_not_a_race(stage: Stage) -> None:
    gossip = stage.actor()
    for _ in range(20):
        gossip.say(Alive(stage.me.id, stage.node.epoch + 1, 0, "me", b"\x0a\0\0\x63", 4789, 7947))
    assert stage.count("lives") == 3
    (alarm,) = stage.alarms(AlarmKind.DUPLICATE_ID)
    assert "remove the state file" in alarm
    stage.wait(61.0)
    gossip.say(Alive(stage.me.id, stage.node.epoch + 1, 0, "me", b"\x0a\0\0\x63", 4789, 7947))
    assert stage.count("lives") == 4


# ── leaving ───────────────────────────────────────────────────────────────────────────────────


def test_a_node_that_leaves_says_so_and_goes_on_answering(stage: Stage) -> None:
    members = stage.cast(3)
    for member in members:
        member.forget()
    stage.do("leave")
    stage.wait(0.5)
    assert all(Left(stage.me.id, EPOCH, 0) in member.heard(Left) for member in members)
    assert stage.node.members()[0].state is LEFT


def test_a_node_that_left_refutes_nothing(stage: Stage) -> None:
    gossip = stage.actor()
    stage.do("leave")
    gossip.forget()
    gossip.suspects(stage)
    gossip.buries(stage)
    gossip.say(Alive(stage.me.id, EPOCH + 1, 0, "me", b"\x0a\0\0\1", 4789, 7947))
    assert gossip.heard(Alive) == []
    assert stage.node.epoch == EPOCH


def test_leaving_twice_is_leaving_once(stage: Stage) -> None:
    gossip = stage.actor()
    gossip.forget()
    stage.do("leave")
    said = len(gossip.heard(Left))
    stage.do("leave")
    assert len(gossip.heard(Left)) == said


# ── taking another's place ────────────────────────────────────────────────────────────────────


def test_who_comes_with_a_members_address_and_a_higher_epoch_has_replaced_it(
    stage: Stage,
) -> None:
    old = stage.actor("host", at=5)
    new = stage.actor("host", at=6, joins=False)
    del stage.actors[new.address]
    stage.actors[old.address] = new
    new.who = replace(new.who, vtep=old.who.vtep, address=old.address)
    new.address = old.address
    new.epoch = EPOCH + 1
    new.join()
    assert old.state is DEAD
    assert new.state is ALIVE
    assert stage.alarms(AlarmKind.DUPLICATE_NAME) == []
