"""Meeting: joining through seeds, who is let in, and looking for those who were lost."""

from dataclasses import replace

import pytest

from tests.gossip.stage import EPOCH, QUIET, Actor, Stage
from vxnet.gossip.events import AlarmKind, AlarmOver, MemberState
from vxnet.gossip.hub import Datagram
from vxnet.wire.gossip import Dead, Hello, Mistaken, Ping, Refused, Unknown, Welcome


@pytest.fixture
def stage() -> Stage:
    return Stage()


def seed(stage: Stage, at: int = 50) -> Actor:
    """Somebody at a seed's address who has not been met."""
    return stage.actor(f"seed{at}", at=at, joins=False)


def welcome(actor: Actor, hello: Hello, **fields: object) -> None:
    given = {"low": 1, "high": 1, "features": 0, "token": hello.token}
    actor.say(Welcome(alive=actor.alive(), **{**given, **fields}))  # type: ignore[arg-type]


# ── joining ───────────────────────────────────────────────────────────────────────────────────


def test_every_seed_is_greeted_at_once_and_each_with_a_token_of_its_own(stage: Stage) -> None:
    seeds = [seed(stage, at) for at in range(50, 55)]
    stage.do("join", [actor.address for actor in seeds])
    tokens = {actor.heard(Hello)[0].token for actor in seeds}
    assert len(tokens) == 5


def test_a_welcome_is_enough_to_join_and_to_fetch_what_the_seed_holds(stage: Stage) -> None:
    one = seed(stage)
    stage.do("join", [one.address])
    welcome(one, one.heard(Hello)[0])
    assert one.peer.live
    assert [connect.address for connect in stage.connects] == [one.address]
    one.forget()
    stage.wait(10.0)
    assert one.heard(Hello) == []


def test_hellos_are_said_ever_more_rarely_until_somebody_answers(stage: Stage) -> None:
    one = seed(stage)
    stage.do("join", [one.address])
    stage.wait(5.0)
    early = len(one.heard(Hello))
    assert 4 <= early <= 8
    one.forget()
    stage.wait(60.0)
    assert 24 <= len(one.heard(Hello)) <= 41  # every two seconds, for ever


def test_seeds_that_say_nothing_are_an_alarm_that_names_them_and_what_to_look_at(
    stage: Stage,
) -> None:
    seeds = [seed(stage, at) for at in range(50, 55)]
    stage.do("join", [actor.address for actor in seeds])
    stage.wait(4.0)
    assert stage.alarms(AlarmKind.SEEDS_SILENT) == []
    stage.wait(60.0)
    (text,) = stage.alarms(AlarmKind.SEEDS_SILENT)
    for part in ("10.0.0.50:7947", " and 2 more", "gossip key", "cluster name (vxnet)"):
        assert part in text
    assert stage.told(AlarmOver) == []
    welcome(seeds[0], seeds[0].heard(Hello)[-1])
    assert stage.told(AlarmOver) == [AlarmOver(text)]


def test_a_seed_that_answers_late_is_no_alarm(stage: Stage) -> None:
    one = seed(stage)
    stage.do("join", [one.address])
    stage.wait(4.0)
    welcome(one, one.heard(Hello)[-1])
    stage.wait(30.0)
    assert stage.alarms(AlarmKind.SEEDS_SILENT) == []


def test_ones_own_address_is_no_seed(stage: Stage) -> None:
    stage.do("join", [stage.address])
    stage.wait(5.0)
    assert stage.datagrams == []
    assert not stage.node._greeter.alone


def test_seeds_that_resolve_to_something_else_are_greeted_there(stage: Stage) -> None:
    old, new = seed(stage, 50), seed(stage, 51)
    stage.do("join", [old.address])
    stage.do("join", [new.address])
    stage.wait(3.0)
    assert new.heard(Hello)


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": b"87654321"},
        {"alive": "another"},
    ],
    ids=["another token", "another member"],
)
def test_a_welcome_that_does_not_answer_our_hello_lets_nobody_in(
    stage: Stage, wrong: dict[str, object]
) -> None:
    one = seed(stage)
    stage.do("join", [one.address])
    hello = one.heard(Hello)[0]
    fields = {"token": hello.token, "alive": one.alive(), **wrong}
    if wrong.get("alive"):
        fields["alive"] = seed(stage, 60).alive()
    one.say(Welcome(low=1, high=1, features=0, **fields))  # type: ignore[arg-type]
    assert stage.node.roster.size == 1
    assert stage.count("answers_unasked") == 1


def test_a_welcome_counts_once(stage: Stage) -> None:
    one = seed(stage)
    stage.do("join", [one.address])
    for _ in range(2):
        welcome(one, one.heard(Hello)[0])
    assert stage.count("answers_unasked") == 1


# ── versions and names ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("low", "high"), [(0, 0), (2, 3)])
def test_ranges_of_versions_that_do_not_meet_are_refused_with_a_sentence(
    stage: Stage, low: int, high: int
) -> None:
    one = seed(stage)
    one.say(one.hello(low=low, high=high))
    (answer,) = one.heard(Refused)
    assert answer.reason == AlarmKind.VERSION_MISMATCH
    assert f"{one.name} speaks {low} to {high}" in answer.text
    assert stage.node.roster.get(one.id) is None


def test_a_later_version_that_still_speaks_ours_is_welcome(stage: Stage) -> None:
    one = seed(stage)
    one.say(one.hello(low=1, high=9, features=255))
    assert one.heard(Welcome)
    assert one.peer.live


def test_a_seed_that_speaks_another_version_is_not_joined(stage: Stage) -> None:
    one = seed(stage)
    stage.do("join", [one.address])
    welcome(one, one.heard(Hello)[0], low=2, high=3)
    assert stage.node.roster.size == 1
    assert stage.node.refusal is not None
    assert "upgrade the older one" in stage.node.refusal


def test_a_name_that_is_taken_is_refused_until_it_is_free(stage: Stage) -> None:
    first, second = stage.actor("web"), stage.actor("web", at=50, joins=False)
    second.say(second.hello())
    (answer,) = second.heard(Refused)
    assert answer.reason == AlarmKind.DUPLICATE_NAME
    assert str(first.address) in answer.text
    first.leaves()
    second.join()
    assert second.state is MemberState.ALIVE


def test_whoever_is_refused_says_why_and_goes_on_asking(stage: Stage) -> None:
    one = seed(stage)
    stage.do("join", [one.address])
    hello = one.heard(Hello)[0]
    one.say(Refused(hello.token, AlarmKind.DUPLICATE_NAME, "the name me is taken"))
    assert stage.node.refusal == f"{one.address} does not let this host in: the name me is taken"
    assert len(stage.alarms(AlarmKind.DUPLICATE_NAME)) == 1
    one.forget()
    stage.wait(5.0)
    welcome(one, one.heard(Hello)[-1])
    assert stage.node.refusal is None


def test_a_refusal_nobody_asked_for_is_nothing(stage: Stage) -> None:
    stage.actor().say(Refused(b"12345678", "duplicate_name", "go away"))
    assert stage.node.refusal is None
    assert stage.count("answers_unasked") == 1


# ── strangers ─────────────────────────────────────────────────────────────────────────────────


def test_somebody_who_knows_us_and_whom_we_do_not_know_is_told_so_in_fewer_octets(
    stage: Stage,
) -> None:
    stranger = seed(stage)
    stranger.answers = False
    stranger.say(Ping(1, stage.me.id, 0))
    assert stranger.heard(Unknown)
    assert not stranger.heard(Hello)


def test_who_is_unknown_to_a_member_says_hello_to_it(stage: Stage) -> None:
    member = stage.actor()
    member.answers = False
    stage.wait(2.0)
    ping = member.heard(Ping)[-1]
    member.say(Unknown(ping.seq))
    assert member.heard(Hello)


@pytest.mark.parametrize("answer", [Mistaken(999_999, 2), Unknown(999_999)])
def test_nobody_makes_us_say_hello_by_answering_what_we_did_not_ask(
    stage: Stage, answer: Mistaken | Unknown
) -> None:
    one = seed(stage)
    one.say(answer)
    assert not one.heard(Hello)


# ── healing ───────────────────────────────────────────────────────────────────────────────────

HEALING = replace(QUIET, heal_interval_s=10.0)


def greeted(datagrams: list[Datagram], actor: Actor) -> int:
    return sum(d.address == actor.address for d in datagrams)


def test_the_dead_are_looked_for_and_told_that_they_were_declared_dead() -> None:
    stage = Stage(HEALING)
    gossip, lost = stage.cast(2)
    lost.answers = False
    gossip.buries(lost)
    lost.forget()
    stage.wait(25.0)
    assert lost.heard(Hello)
    assert Dead(lost.id, EPOCH, 0, stage.me.id) in lost.heard(Dead)


def test_those_who_left_are_not() -> None:
    stage = Stage(HEALING)
    _, gone = stage.cast(2)
    gone.leaves()
    gone.forget()
    stage.wait(60.0)
    assert gone.heard(Hello) == []


def test_a_dead_member_that_answers_a_hello_is_back_once_it_has_refuted() -> None:
    stage = Stage(HEALING)
    gossip, lost = stage.cast(2)
    lost.answers = False
    gossip.buries(lost)
    lost.forget()
    while not lost.heard(Hello):
        stage.wait(1.0)
    lost.answers = True
    welcome(lost, lost.heard(Hello)[-1])
    assert lost.state is MemberState.DEAD  # it has yet to hear that it was declared dead
    lost.refutes()
    assert lost.state is MemberState.ALIVE
    assert lost.peer.live


def test_seeds_that_belong_to_nobody_alive_are_greeted_for_ever() -> None:
    stage = Stage(HEALING)
    one, absent = seed(stage, 50), seed(stage, 51)
    stage.do("join", [one.address, absent.address])
    welcome(one, one.heard(Hello)[0])
    absent.forget()
    one.forget()
    stage.wait(100.0)
    assert 8 <= len(absent.heard(Hello)) <= 11
    assert one.heard(Hello) == []


def test_tokens_of_hellos_that_nobody_answers_do_not_gather() -> None:
    stage = Stage(replace(QUIET, hello_interval_max_s=0.25))
    absent = seed(stage)
    stage.do("join", [absent.address])
    stage.wait(400.0)
    assert len(absent.heard(Hello)) > 1024
    assert len(stage.node._greeter._tokens) <= 1024
