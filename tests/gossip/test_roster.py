"""Who is there: hearsay is a hint, bounds hold, clashes are told, indexes are true."""

from dataclasses import replace

import pytest

from tests.gossip.stage import EPOCH, QUIET, Actor, Stage, identity
from vxnet.gossip.events import AlarmKind, MemberChanged, MemberState
from vxnet.gossip.member import Peer
from vxnet.wire.gossip import Alive, Dead, Ping, Suspect


@pytest.fixture
def stage() -> Stage:
    return Stage()


def hearsay(at: int, name: str = "", *, epoch: int = EPOCH) -> Alive:
    who = identity(at, name or f"h{at}")
    return Alive(who.id, epoch, 0, who.name, who.vtep.ip, 4789, 7947)


# ── hearsay ───────────────────────────────────────────────────────────────────────────────────


def test_a_member_learnt_second_hand_counts_for_nothing_until_it_answered(stage: Stage) -> None:
    gossip = stage.actor()
    silent = stage.actor("silent", at=50, joins=False)
    silent.answers = False
    gossip.say(silent.alive())
    roster = stage.node.roster
    assert not silent.peer.verified
    assert roster.size == 2  # the node and the gossip
    assert silent.peer not in roster.live
    assert silent.member is None
    assert [e.member.name for e in stage.told(MemberChanged)] == [gossip.name]
    assert silent.heard(Ping)  # but it is asked


def test_an_answer_of_its_own_makes_it_a_member(stage: Stage) -> None:
    gossip = stage.actor()
    member = stage.actor(at=50, joins=False)
    gossip.say(member.alive())
    assert member.peer.live
    assert stage.node.roster.size == 3
    assert stage.told(MemberChanged)[-1].previous is None


def test_hearsay_is_asked_again_and_again_then_rarely_then_forgotten(stage: Stage) -> None:
    gossip = stage.actor()
    silent = stage.actor("silent", at=50, joins=False)
    silent.answers = False
    gossip.say(silent.alive())
    stage.wait(3.0)
    early = len(silent.heard(Ping))
    assert 5 <= early <= 9
    stage.wait(60.0)
    assert len(silent.heard(Ping)) < early + 40
    stage.wait(QUIET.unverified_s)
    assert stage.count("hearsay_forgotten") == 1
    assert not stage.node.roster.unverified


def test_hearsay_that_is_said_to_be_dead_is_never_told_of(stage: Stage) -> None:
    gossip = stage.actor()
    stage.events.clear()
    gossip.say(hearsay(50), Suspect(50, EPOCH, 0, gossip.id), Dead(50, EPOCH, 0, gossip.id))
    assert stage.told(MemberChanged) == []
    assert len(stage.node.roster.dead) == 0


def test_at_most_64_new_members_are_asked_in_a_second(stage: Stage) -> None:
    settings = stage.settings
    assert settings.verify_per_s == settings.new_members_per_s == 64.0
    assert settings.members_max == 8192
    gossip = stage.actor()
    for at in range(200, 400):
        gossip.say(hearsay(at))
    stage.datagrams.clear()
    stage.wait(1.0)
    asked = [d for d in stage.datagrams if d.address not in stage.actors]
    assert 30 <= len(asked) <= 90


# ── bounds ────────────────────────────────────────────────────────────────────────────────────


def test_more_new_members_than_may_be_admitted_wait(stage: Stage) -> None:
    stage.node.hub.settings = replace(QUIET, unverified_max=10)
    gossip = stage.actor()
    for at in range(200, 300):
        gossip.say(hearsay(at))
    assert len(stage.node.roster.unverified) == 10
    assert len(stage.node.roster.peers) == 11
    assert stage.count("members_deferred") == 90


def test_members_are_admitted_at_a_rate(stage: Stage) -> None:
    stage = Stage(replace(QUIET, new_members_burst=20.0, new_members_per_s=5.0))
    gossip = stage.actor()
    for at in range(200, 300):
        gossip.say(hearsay(at))
    assert len(stage.node.roster.peers) == 20
    stage.wait(2.0)
    for at in range(200, 300):
        gossip.say(hearsay(at))
    assert len(stage.node.roster.peers) == 30


def test_beyond_the_most_members_there_may_be_none_is_admitted_and_an_alarm_says_so() -> None:
    stage = Stage(replace(QUIET, members_max=3))
    members = stage.cast(3)
    members[0].say(hearsay(200), hearsay(201))
    assert len(stage.node.roster.peers) == 3
    (alarm,) = stage.alarms(AlarmKind.BOUND_REACHED)
    assert "3 members are known; h200 is not admitted" in alarm


def test_who_is_gone_longest_makes_room() -> None:
    stage = Stage(replace(QUIET, members_max=3))
    one, two, three = stage.cast(3)
    two.leaves()
    stage.wait(0.1)
    three.leaves()
    new = stage.actor()
    assert stage.node.roster.get(two.id) is None
    assert stage.node.roster.get(three.id) is not None
    assert new.state is MemberState.ALIVE
    assert one.state is MemberState.ALIVE


def test_nobody_has_the_id_0(stage: Stage) -> None:
    gossip = stage.actor()
    gossip.say(replace_id(hearsay(50), 0))
    assert len(stage.node.roster.peers) == 1
    assert stage.count("epoch_refused") == 1


def replace_id(claim: Alive, node_id: int) -> Alive:
    return Alive(node_id, claim.epoch, 0, claim.name, claim.vtep, 4789, 7947)


# ── clashes ───────────────────────────────────────────────────────────────────────────────────


def at_gossip_address(actor: Actor, claim: Alive, **fields: object) -> Alive:
    known = {name: getattr(claim, name) for name in claim.__struct_fields__}
    return Alive(**{**known, "ip": actor.address.ip, **fields})  # type: ignore[arg-type]


def test_two_members_with_one_name_are_an_alarm_once(stage: Stage) -> None:
    gossip = stage.actor()
    for at in (50, 51):
        twin = stage.actor("twin", at=at, joins=False)
        gossip.say(twin.alive())
        assert twin.peer.live
    (alarm,) = stage.alarms(AlarmKind.DUPLICATE_NAME)
    assert "two members are called twin" in alarm
    assert "rename one" in alarm
    gossip.say(at_gossip_address(twin, twin.alive(), inc=1))
    assert len(stage.alarms(AlarmKind.DUPLICATE_NAME)) == 1


def test_a_member_with_this_hosts_name_is_an_alarm(stage: Stage) -> None:
    gossip, twin = stage.actor(), stage.actor("me", at=50, joins=False)
    gossip.say(twin.alive())
    assert len(stage.alarms(AlarmKind.DUPLICATE_NAME)) == 1


@pytest.mark.parametrize("mine", [True, False])
def test_one_vtep_at_two_members_is_an_alarm(stage: Stage, mine: bool) -> None:
    gossip, thief = stage.actor(), stage.actor("thief", at=50, joins=False)
    vtep = stage.identity.vtep if mine else gossip.who.vtep
    gossip.say(at_gossip_address(thief, thief.alive(), vtep=vtep.ip))
    (alarm,) = stage.alarms(AlarmKind.DUPLICATE_ADDRESS)
    assert str(vtep) in alarm


def test_a_name_of_somebody_gone_is_free(stage: Stage) -> None:
    gossip, old = stage.actor(), stage.actor("web")
    gossip.buries(old)
    gossip.say(stage.actor("web", at=50, joins=False).alive())
    assert stage.alarms(AlarmKind.DUPLICATE_NAME) == []


# ── indexes ───────────────────────────────────────────────────────────────────────────────────


def test_the_successor_is_the_next_higher_id_around_the_ring(stage: Stage) -> None:
    roster = stage.node.roster
    assert roster.successor() is None
    low, high = stage.actor(at=5), stage.actor(at=150)
    assert roster.successor() is high.peer
    nearer = stage.actor(at=120)
    assert roster.successor() is nearer.peer
    for gone in (nearer, high):
        gone.leaves()
    assert roster.successor() is low.peer


def test_members_are_found_by_address_and_networks_by_who_has_them(stage: Stage) -> None:
    one, two = stage.cast(2)
    one.attach()
    two.attach()
    roster = stage.node.roster
    assert roster.at(one.address) is one.peer
    assert set(roster.by_vni[7]) == {one.peer, two.peer}
    two.detach()
    one.buries(two)
    assert set(roster.by_vni[7]) == {one.peer}
    one.detach()
    assert 7 not in roster.by_vni


def test_a_member_at_another_address_is_found_there(stage: Stage) -> None:
    gossip, mover = stage.cast(2)
    old = mover.peer.address
    there = identity(77, "").address
    gossip.say(at_gossip_address(mover, mover.alive(), ip=there.ip, inc=1))
    assert stage.node.roster.at(there) is mover.peer
    assert stage.node.roster.at(old) is None


def test_a_copy_of_a_member_is_the_same_member_known_from_then_on(stage: Stage) -> None:
    member = stage.actor()
    member.attach()
    peer = member.peer
    peer.rtt_s, peer.pinged, peer.answers_missed, peer.attempts, peer.asked = 0.1, 2, 3, 4, 5.0
    again = peer.copy(99.0)
    differ = {slot for slot in Peer.__slots__ if getattr(again, slot) != getattr(peer, slot)}
    asking = {"rtt_s", "pinged", "answers_missed", "attempts", "asked"}
    assert differ == {"since", *asking}
    assert again.since == 99.0
    assert {getattr(again, slot) for slot in asking} == {None, 0}


def test_what_is_forgotten_is_in_no_index(stage: Stage) -> None:
    members = stage.cast(4)
    for member in members:
        member.attach()
    members[0].buries(members[1])
    members[2].leaves()
    roster = stage.node.roster
    for member in members:
        roster.forget(member.peer)
    assert not roster.peers
    assert not roster.unverified
    assert not roster.by_vni
    assert len(roster.live) == len(roster.dead) == 0
    assert roster.successor() is None
    assert not roster._names
    assert not roster._addresses
    assert not roster._vteps
