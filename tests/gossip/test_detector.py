"""Who still answers: probes, those who ask for us, suspicion and its time, and our own health."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.gossip.stage import EPOCH, QUIET, Actor, Stage
from vxnet.gossip.events import MemberChanged, MemberState
from vxnet.gossip.member import Address
from vxnet.wire.addr import Ip
from vxnet.wire.gossip import Ack, Nack, Ping, PingReq, Relayed, Suspect

ALIVE, SUSPECT, DEAD, LEFT = MemberState


@pytest.fixture
def stage() -> Stage:
    return Stage()


def when(stage: Stage, whom: Actor, state: MemberState, limit_s: float = 60.0) -> float:
    """How long until the node believes that of a member."""
    start = stage.now
    while whom.state is not state:
        stage.wait(0.05)
        assert stage.now - start < limit_s
    return stage.now - start


# ── probes ────────────────────────────────────────────────────────────────────────────────────


def test_everybody_is_asked_in_turn_and_the_next_in_the_ring_every_time(stage: Stage) -> None:
    members = stage.cast(6)
    for member in members:
        member.forget()
    stage.wait(30.0)
    asked = Counter({member.name: len(member.heard(Ping)) for member in members})
    successor = stage.node.roster.successor()
    assert successor is not None
    assert asked[successor.name] >= 14
    assert min(asked.values()) >= 1


def test_a_node_alone_asks_nobody(stage: Stage) -> None:
    stage.wait(10.0)
    assert stage.datagrams == []


def test_a_ping_is_answered_with_its_number(stage: Stage) -> None:
    member = stage.actor()
    member.forget()
    member.say(Ping(77, stage.me.id, 0))
    assert [ack.seq for ack in member.heard(Ack)] == [77]


def test_the_round_trip_is_measured(stage: Stage) -> None:
    member = stage.actor()
    assert member.peer.rtt_s == 0.0
    member.answers = False
    member.forget()
    stage.wait(1.6)
    (ping, *_) = member.heard(Ping)
    before = stage.now
    stage.wait(0.1)
    member.say(Ack(ping.seq, ping.root))
    assert member.peer.rtt_s is not None
    assert 0 < member.peer.rtt_s <= 0.2 * (stage.now - before + 1.6)


@pytest.mark.parametrize("liar", ["another member", "another number"])
def test_an_answer_counts_only_from_whom_was_asked_and_with_the_number_asked(
    stage: Stage, liar: str
) -> None:
    silent, other = stage.cast(2)
    silent.answers = False
    silent.forget()
    while not silent.heard(Ping):
        stage.wait(0.1)
    seq = silent.heard(Ping)[-1].seq
    if liar == "another member":
        other.say(Ack(seq, 0))
    else:
        silent.say(Ack(seq + 1, 0))
    when(stage, silent, SUSPECT, 10.0)


# ── asking others ─────────────────────────────────────────────────────────────────────────────


def unanswered(stage: Stage, silent: Actor, others: list[Actor]) -> list[tuple[Actor, PingReq]]:
    """Have a probe of a member go unanswered; who was asked to ask for us."""
    silent.answers = False
    for other in others:
        other.forget()
    while not any(other.heard(PingReq) for other in others):
        stage.wait(0.05)
    return [(other, request) for other in others for request in other.heard(PingReq)]


def test_without_an_answer_three_others_are_asked_to_ask_and_tcp_is_tried(stage: Stage) -> None:
    silent, *others = stage.cast(6)
    asked = unanswered(stage, silent, others)
    assert len({other.id for other, _ in asked}) == 3
    assert all(
        (request.target, request.ip, request.port)
        == (silent.id, silent.address.ip, silent.address.port)
        for _, request in asked
    )
    assert [connect.address for connect in stage.connects] == [silent.address]
    assert silent.state is ALIVE


def test_an_answer_through_another_saves_it(stage: Stage) -> None:
    silent, *others = stage.cast(4)
    (relay, request), *_ = unanswered(stage, silent, others)
    relay.say(Relayed(request.seq))
    assert stage.count("probes_saved_by_relay") == 1
    stage.wait(0.7)
    assert stage.count("probes_failed") == 0


def test_an_answer_through_somebody_not_asked_saves_nobody(stage: Stage) -> None:
    silent, *others = stage.cast(6)
    asked = unanswered(stage, silent, others)
    (idle, *_) = [o for o in others if o not in [who for who, _ in asked]]
    idle.say(Relayed(asked[0][1].seq))
    assert stage.count("probes_saved_by_relay") == 0


def test_an_answer_over_tcp_saves_it(stage: Stage) -> None:
    silent, *others = stage.cast(4)
    unanswered(stage, silent, others)
    stream = stage.connects[-1].stream
    stage.node.connected(stream, stage.now)
    stage.collect()
    (ping,) = silent.answers_on(stream)
    assert isinstance(ping, Ping)
    silent.stream(stream, silent.record(Ack(ping.seq, 0)))
    stage.wait(0.9)
    assert stage.count("probes_failed") == 0
    assert stream in stage.closed


def test_no_answer_by_the_end_of_the_interval_is_a_suspicion(stage: Stage) -> None:
    silent, *others = stage.cast(4)
    unanswered(stage, silent, others)
    when(stage, silent, SUSPECT, 2.0)
    assert stage.count("probes_failed") == 1


def test_when_every_way_is_known_to_be_closed_nobody_waits_for_the_rest(stage: Stage) -> None:
    silent, *others = stage.cast(4)
    for relay, request in unanswered(stage, silent, others):
        relay.say(Nack(request.seq))
    assert silent.state is ALIVE
    stage.node.stream_closed(stage.connects[-1].stream, stage.now)
    stage.collect()
    assert silent.state is SUSPECT


def test_one_nack_missing_is_reason_to_wait(stage: Stage) -> None:
    silent, *others = stage.cast(4)
    _, *asked = unanswered(stage, silent, others)
    for relay, request in asked:
        relay.say(Nack(request.seq), Nack(request.seq))
    stage.node.stream_closed(stage.connects[-1].stream, stage.now)
    stage.collect()
    assert silent.state is ALIVE


# ── asking for others ─────────────────────────────────────────────────────────────────────────


def test_a_node_asks_for_others_and_passes_the_answer_on(stage: Stage) -> None:
    asker, target = stage.cast(2)
    asker.forget()
    asker.say(PingReq(9, target.id, target.address.ip, target.address.port))
    stage.collect()
    assert [answer.seq for answer in asker.heard(Relayed)] == [9]
    stage.wait(2.0)
    assert asker.heard(Nack) == []


def test_a_packet_full_of_requests_does_not_make_it_a_cannon(stage: Stage) -> None:
    asker = stage.cast(1)[0]
    victim = Address(Ip(bytes((203, 0, 113, 9))), 53)
    stage.datagrams.clear()
    for _ in range(20):
        asker.say(*(PingReq(seq, 999, victim.ip, victim.port) for seq in range(30)))
    assert stage.count("relays_refused") == 600 - 60
    sent = [datagram for datagram in stage.datagrams if datagram.address == victim]
    assert 1 <= len(sent) <= 60


def test_without_an_answer_it_says_so_before_its_asker_gives_up(stage: Stage) -> None:
    asker, target = stage.cast(2)
    target.answers = False
    asker.forget()
    asker.say(PingReq(9, target.id, target.address.ip, target.address.port))
    stage.wait(QUIET.probe_timeout_s * 0.9)
    assert [answer.seq for answer in asker.heard(Nack)] == [9]


def test_a_late_answer_is_passed_on_too(stage: Stage) -> None:
    asker, target = stage.cast(2)
    target.answers = False
    target.forget()
    asker.say(PingReq(9, target.id, target.address.ip, target.address.port))
    (ping, *_) = target.heard(Ping)
    stage.wait(QUIET.probe_timeout_s)
    asker.forget()
    target.say(Ack(ping.seq, 0))
    assert [answer.seq for answer in asker.heard(Relayed)] == [9]


# ── suspicion ─────────────────────────────────────────────────────────────────────────────────


def confirm(stage: Stage, whom: Actor, by: list[Actor]) -> None:
    for one in by:
        one.suspects(whom)
    assert whom.state is SUSPECT


@pytest.mark.parametrize(("confirmations", "least_s", "most_s"), [(0, 22.0, 24.1), (3, 3.8, 4.1)])
def test_a_suspicion_runs_from_six_times_the_shortest_down_to_it(
    stage: Stage, confirmations: int, least_s: float, most_s: float
) -> None:
    silent, *others = stage.cast(6)
    confirm(stage, silent, others[: 1 + confirmations])
    silent.answers = True  # it answers probes, and yet has not refuted
    waited = when(stage, silent, DEAD)
    assert least_s <= waited <= most_s


def test_two_hosts_alone_do_not_wait_for_confirmations_that_nobody_could_give(
    stage: Stage,
) -> None:
    silent = stage.actor()
    silent.answers = False
    when(stage, silent, SUSPECT, 10.0)
    assert 3.8 <= when(stage, silent, DEAD) <= 4.2


def test_a_refutation_ends_the_suspicion_for_good(stage: Stage) -> None:
    silent, *others = stage.cast(6)
    confirm(stage, silent, others[:4])
    stage.wait(3.9)
    silent.refutes()
    stage.wait(30.0)
    assert silent.state is ALIVE


def test_the_dead_are_told_with_what_they_were(stage: Stage) -> None:
    silent, *others = stage.cast(6)
    confirm(stage, silent, others[:4])
    when(stage, silent, DEAD)
    last = stage.told(MemberChanged)[-1]
    assert (last.member.name, last.previous, last.member.state) == (silent.name, SUSPECT, DEAD)
    assert stage.count("deaths") == 1


def test_a_ping_to_a_suspect_carries_the_suspicion(stage: Stage) -> None:
    suspect, other = stage.cast(2)
    other.suspects(suspect)
    suspect.forget()
    while not suspect.heard(Ping):
        stage.wait(0.1)
    assert Suspect(suspect.id, EPOCH, 0, stage.me.id) in suspect.heard(Suspect)


# ── Lifeguard ─────────────────────────────────────────────────────────────────────────────────


def test_probes_that_fail_with_nobody_to_ask_worsen_our_own_health(stage: Stage) -> None:
    silent = stage.actor()
    silent.answers = False
    stage.wait(3.5)
    assert stage.node.health >= 1


def test_relays_that_said_nothing_worsen_our_own_health_and_those_with_nacks_do_not() -> None:
    for answering, health in ((False, 3), (True, 0)):
        stage = Stage()
        silent, *others = stage.cast(4)
        for relay, request in unanswered(stage, silent, others):
            if answering:
                relay.say(Nack(request.seq))
        stage.wait(0.6)
        assert stage.count("probes_failed") == 1
        assert stage.node.health == health


def test_health_has_bounds_and_answers_mend_it(stage: Stage) -> None:
    gossip = stage.actor()
    for _ in range(20):
        gossip.suspects(stage)
        stage.wait(0.01)
    assert stage.node.health == 8
    stage.wait(80.0)
    assert stage.node.health == 0


def test_ill_health_stretches_probes_and_their_patience(stage: Stage) -> None:
    gossip = stage.actor()
    for _ in range(20):
        gossip.suspects(stage)
        stage.wait(0.01)
    gossip.forget()
    gossip.answers = False
    stage.wait(4.4)
    assert len(gossip.heard(Ping)) <= 1  # the interval is nine times as long
    assert stage.connects == []  # and the timeout too


def test_without_lifeguard_health_is_never_in_doubt() -> None:
    stage = Stage(replace(QUIET, lifeguard=False))
    silent, other = stage.cast(2)
    silent.answers = other.answers = False
    other.suspects(stage)
    stage.wait(10.0)
    assert stage.node.health == 0


def test_a_process_that_stood_still_does_not_take_it_out_on_others(stage: Stage) -> None:
    silent, *others = stage.cast(6)
    confirm(stage, silent, others[:4])
    stage.wait(2.0)
    for member in (silent, *others):
        member.answers = False
    stage.sleep(10.0)
    assert silent.state is SUSPECT
    assert stage.count("sleeps") == 1
    assert stage.node.health >= 1
    assert 0.9 <= when(stage, silent, DEAD) <= 2.1  # what was left, not at once


def test_a_host_that_is_late_again_and_again_finds_out_who_is_gone(stage: Stage) -> None:
    silent = stage.actor()
    silent.answers = False
    for _ in range(100):
        stage.sleep(0.7)
        stage.wait(0.4)
    assert stage.count("sleeps") > 10
    assert silent.state is DEAD


# ── bounds ────────────────────────────────────────────────────────────────────────────────────


def test_questions_that_are_over_are_forgotten(stage: Stage) -> None:
    members = stage.cast(4)
    members[0].answers = False
    for at in range(50):
        members[1].say(PingReq(at, members[0].id, members[0].address.ip, 7947))
    stage.wait(40.0)
    assert len(stage.node._detector._probes) < 10
    assert len(stage.node._detector._suspicions) <= 1
