"""What comes in: who may say what, how much of it, and that nonsense changes nothing."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gossip.stage import BLUE, EPOCH, QUIET, Actor, Stage, identity, mac
from tests.wire.gossip_messages import messages
from vxnet.gossip.events import MemberState
from vxnet.gossip.member import Address
from vxnet.gossip.security import Keyring, Security
from vxnet.wire.gossip import (
    Ack,
    Alive,
    Dead,
    Have,
    Mistaken,
    Ping,
    PingReq,
    Pull,
    Suspect,
    Welcome,
    encode,
    pack,
)
from vxnet.wire.rows import Item

KEY = bytes(range(32))


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def sealed() -> Stage:
    return Stage(keys=(KEY,))


def picture(stage: Stage) -> object:
    """Everything that a packet could have changed."""
    roster = stage.node.roster
    return (
        stage.node.epoch,
        stage.me.inc,
        [(p.id, p.state, p.epoch, p.inc, p.verified, p.attached) for p in roster],
        [(s.owner, s.scope, s.life, s.watermark, s.count, s.xor) for s in stage.node.table],
        stage.node.entries(),
    )


# ── nonsense ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["in clear", "sealed"])
def test_no_octet_of_a_packet_can_be_changed_without_it_being_refused(
    keys: tuple[bytes, ...],
) -> None:
    stage = Stage(
        replace(QUIET, stranger_packets_per_s=1e9, strangers_packets_per_s=1e9), keys=keys
    )
    victim, gossip = stage.cast(2)
    packet = gossip.packet(Dead(victim.id, EPOCH, 0, gossip.id))
    before = picture(stage)
    for at in range(len(packet)):
        damaged = packet[:at] + bytes([packet[at] ^ 0x41]) + packet[at + 1 :]
        gossip.send(damaged)
    for size in range(len(packet)):
        gossip.send(packet[:size])
    assert picture(stage) == before
    assert stage.count("dropped_malformed") == 2 * len(packet)
    gossip.send(packet)
    assert victim.state is MemberState.DEAD


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(messages(), max_size=5))
def test_whatever_a_member_says_the_node_stands(said: list[object]) -> None:
    stage = Stage()
    stage.do("attach", BLUE)
    gossip = stage.actor()
    gossip.attach()
    gossip.say(*said)
    stage.wait(30.0)
    assert stage.me.state is MemberState.ALIVE
    for member in stage.node.members():
        assert member.gossip[1] > 0


def test_nothing_of_a_packet_is_acted_upon_unless_all_of_it_is_well_formed(stage: Stage) -> None:
    gossip, victim = stage.cast(2)
    body = pack([encode(Dead(victim.id, EPOCH, 0, gossip.id)), b"\x92\x01\xa1x"])
    gossip.send(gossip.security.seal(body))
    assert victim.state is MemberState.ALIVE
    assert stage.count("dropped_malformed") == 1


def test_what_a_later_version_says_is_skipped(stage: Stage) -> None:
    gossip, victim = stage.cast(2)
    body = pack([b"\x92\x7e\xa3new", encode(Dead(victim.id, EPOCH, 0, gossip.id))])
    gossip.send(gossip.security.seal(body))
    assert victim.state is MemberState.DEAD


# ── who ───────────────────────────────────────────────────────────────────────────────────────


def test_a_packet_that_comes_twice_counts_once(sealed: Stage) -> None:
    gossip = sealed.actor()
    packet = gossip.packet(Ping(5, sealed.me.id, 0))
    gossip.forget()
    for _ in range(3):
        gossip.send(packet)
    assert len(gossip.heard(Ack)) == 1
    assert sealed.count("dropped_replayed") == 2


def test_a_packet_recorded_long_ago_is_too_old(sealed: Stage) -> None:
    gossip = sealed.actor()
    packet = gossip.packet(Ping(5, sealed.me.id, 0))
    gossip.security._counter += 1024
    gossip.say(Ping(6, sealed.me.id, 0))
    gossip.forget()
    gossip.send(packet)
    assert gossip.heard(Ack) == []


def test_ones_own_packets_sent_back_are_nothing(sealed: Stage) -> None:
    gossip = sealed.actor()
    sealed.wait(3.0)
    before = picture(sealed)
    for datagram in list(sealed.datagrams):
        gossip.send(datagram.data)
    assert picture(sealed) == before


def test_without_the_key_nobody_gets_a_word_out_of_a_node(sealed: Stage) -> None:
    stranger = Actor(sealed, identity(50, "stranger"))
    sealed.actors[stranger.address] = stranger
    for ring in (None, Keyring([KEY[::-1]])):
        stranger.security = Security("vxnet", stranger.id, EPOCH, ring)
        stranger.say(stranger.hello())
        stranger.say(Ping(1, sealed.me.id, 0))
    assert sealed.datagrams == []
    assert sealed.count("dropped_malformed") == 4


def test_another_cluster_with_the_same_key_is_another_cluster(sealed: Stage) -> None:
    stranger = Actor(sealed, identity(50, "stranger"))
    stranger.security = Security("other", stranger.id, EPOCH, Keyring([KEY]))
    stranger.say(stranger.hello())
    assert sealed.count("dropped_malformed") == 1


@pytest.mark.parametrize(
    "said",
    [
        lambda victim: Suspect(victim.id, EPOCH, 0, 5),
        lambda victim: Dead(victim.id, EPOCH, 0, 5),
        lambda victim: Have([Item(victim.id, EPOCH, 0, 1, 9)], True),
        lambda victim: Pull([Item(victim.id, EPOCH, 0, 1, 0)]),
        lambda victim: PingReq(1, victim.id, victim.address.ip, 7947),
    ],
    ids=["suspect", "dead", "have", "pull", "ping request"],
)
@pytest.mark.parametrize("known", [True, False])
def test_who_has_not_answered_yet_is_not_believed(stage: Stage, said: object, known: bool) -> None:
    victim = stage.actor()
    hearsay = stage.actor(at=50, joins=False)
    hearsay.answers = False
    if known:
        hearsay.say(hearsay.hello())
    victim.forget()
    stage.datagrams.clear()
    hearsay.say(said(victim))  # type: ignore[operator]
    assert stage.datagrams == []
    assert victim.state is MemberState.ALIVE
    assert stage.count("messages_unverified" if known else "messages_unexpected") == 1


def test_a_ping_meant_for_somebody_else_is_answered_so(stage: Stage) -> None:
    gossip = stage.actor()
    gossip.forget()
    gossip.say(Ping(3, 999, 0))
    assert gossip.heard(Mistaken) == [Mistaken(3, 999)]
    assert gossip.heard(Ack) == []


def test_a_hello_speaks_only_for_its_sender(stage: Stage) -> None:
    gossip, other = stage.actor(), stage.actor(at=50, joins=False)
    gossip.say(other.hello())
    assert stage.node.roster.get(other.id) is None


# ── how much ──────────────────────────────────────────────────────────────────────────────────


def test_a_member_that_says_too_much_is_not_heard_for_the_rest_of_the_second(
    stage: Stage,
) -> None:
    loud, quiet = stage.cast(2)
    stage.wait(2.0)
    loud.forget()
    for at in range(700):
        loud.say(Ping(at, stage.me.id, 0))
    assert len(loud.heard(Ack)) == 500
    assert stage.count("dropped_limited") == 200
    quiet.forget()
    quiet.say(Ping(1, stage.me.id, 0))
    assert len(quiet.heard(Ack)) == 1
    stage.wait(1.0)
    loud.forget()
    loud.say(Ping(1, stage.me.id, 0))
    assert len(loud.heard(Ack)) == 1


def test_a_member_is_one_sender_wherever_it_sends_from(stage: Stage) -> None:
    loud = stage.actor()
    stage.wait(2.0)
    for at in range(700):
        source = Address(identity(200 + at, "").address.ip, 7947)
        loud.say(Ping(at, stage.me.id, 0), source=source)
    assert stage.count("dropped_limited") == 200


def test_strangers_are_not_looked_at_beyond_twenty_a_second_each(sealed: Stage) -> None:
    stranger = Actor(sealed, identity(50, "stranger"))
    for _ in range(100):
        stranger.send(b"nonsense" * 10)
    assert sealed.count("dropped_malformed") == 20
    assert sealed.count("dropped_strangers") == 80
    sealed.wait(1.0)
    stranger.send(b"nonsense" * 10)
    assert sealed.count("dropped_malformed") == 21


def test_forging_a_members_address_does_not_silence_the_member(sealed: Stage) -> None:
    member = sealed.actor()
    for _ in range(1000):
        member.send(b"forged" * 20)
    member.forget()
    member.say(Ping(1, sealed.me.id, 0))
    assert len(member.heard(Ack)) == 1


def test_a_flood_of_strangers_does_not_silence_members(sealed: Stage) -> None:
    member, flood = sealed.actor(), Actor(sealed, identity(50, "flood"))
    for at in range(200, 3200):
        flood.send(b"nonsense" * 10, source=Address(identity(at, "").address.ip, 7947))
    member.forget()
    member.say(Ping(1, sealed.me.id, 0))
    assert len(member.heard(Ack)) == 1
    assert sealed.count("dropped_malformed") <= 512


# ── never a larger answer ─────────────────────────────────────────────────────────────────────


def test_a_hello_gets_no_answer_larger_than_itself(stage: Stage) -> None:
    stage.node.roster.me.name = "n" * 64
    stranger = Actor(stage, identity(50, "s"))
    packet = stranger.packet(stranger.hello())
    stranger.send(packet)
    assert 0 < sum(len(datagram.data) for datagram in stage.datagrams) <= len(packet)


def test_a_hello_without_its_padding_gets_none(stage: Stage) -> None:
    stranger = Actor(stage, identity(50, "s"))
    stranger.say(stranger.hello(pad=b""))
    assert stage.datagrams == []
    assert stage.count("hellos_unpadded") == 1


def test_who_is_refused_gets_no_larger_answer_either(stage: Stage) -> None:
    stage.actor("x" * 64)
    for fields, name in (({}, "x" * 64), ({"low": 9, "high": 9}, "other")):
        stage.datagrams.clear()
        stranger = Actor(stage, identity(50, name))
        packet = stranger.packet(stranger.hello(**fields))
        stranger.send(packet)
        assert 0 < sum(len(datagram.data) for datagram in stage.datagrams) <= len(packet)


def test_a_welcome_nobody_asked_for_is_nothing(stage: Stage) -> None:
    stranger = Actor(stage, identity(50, "s"))
    alive = Alive(stranger.id, EPOCH, 0, "s", stranger.address.ip, 4789, 7947)
    stranger.say(Welcome(b"12345678", alive, 1, 1, 0))
    assert stage.node.roster.get(stranger.id) is None
    assert stage.count("answers_unasked") == 1


# ── memory ────────────────────────────────────────────────────────────────────────────────────


def test_what_is_remembered_of_senders_goes_with_them(stage: Stage) -> None:
    stage = Stage(replace(QUIET, record_s=10.0, suspended_s=30.0))
    member = stage.actor()
    assert len(stage.node._reception._limits._known) <= 1
    member.say(Ping(1, stage.me.id, 0))
    member.leaves()
    stage.wait(20.0)
    assert stage.node.roster.get(member.id) is None
    assert not stage.node._reception._limits._known


def test_a_row_nobody_can_read_is_counted_and_changes_nothing(stage: Stage) -> None:
    member = stage.actor()
    stage.do("attach", BLUE)
    member.attach()
    member.push(8, member.publish(8, 1, mac(1), b"\xc1nonsense"))
    member.announce(mac(2))
    assert stage.entries() == {mac(2): member.id}
    assert stage.count("rows_unreadable") == 1
