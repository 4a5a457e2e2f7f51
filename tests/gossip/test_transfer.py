"""Over TCP: requests and their answers, snapshots whole or not at all, and bounds on everything."""

from dataclasses import replace
from functools import partial

import pytest

from tests.gossip.stage import BLUE, EPOCH, QUIET, Actor, Stage, mac
from vxnet.gossip.events import MemberState
from vxnet.gossip.hub import StreamId
from vxnet.wire.gossip import (
    Ack,
    Alive,
    Delta,
    Done,
    Fetch,
    Have,
    Message,
    More,
    Ping,
    Snapshot,
    Suspect,
)
from vxnet.wire.rows import Item

TOKEN = b"token678"


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.do("attach", BLUE)
    return stage


def ask(actor: Actor, *items: Item, **fields: object) -> list[Message]:
    """Connect, fetch, and give back the whole answer."""
    stream = actor.dial()
    assert stream is not None
    actor.stream(stream, actor.record(Fetch(TOKEN, list(items), **fields)))  # type: ignore[arg-type]
    return actor.answers_on(stream)


def fetching(stage: Stage, actor: Actor, *items: Item) -> tuple[StreamId, Fetch]:
    """Have the node fetch from a member; its connection and its request."""
    actor.say(More(list(items)))
    connect = stage.connects[-1]
    assert connect.address == actor.address
    stage.node.connected(connect.stream, stage.now)
    stage.collect()
    (request,) = actor.answers_on(connect.stream)
    assert isinstance(request, Fetch)
    return connect.stream, request


def blue(actor: Actor, ver: int = 0) -> Item:
    return Item(actor.id, EPOCH, 8, 1, ver)


# ── answering ─────────────────────────────────────────────────────────────────────────────────


def test_who_joins_gets_members_streams_and_the_end(stage: Stage) -> None:
    one, two = stage.cast(2)
    one.attach()
    one.announce(mac(1))
    two.suspects(one)
    gone = stage.actor()
    gone.leaves()
    answer = ask(stage.actor(), join=True, scopes=[0, 8])
    assert answer[0] == stage.me.alive()
    assert Suspect(one.id, EPOCH, 0, stage.me.id) in answer
    assert gone.id not in [m.id for m in answer if isinstance(m, Alive)]
    scopes = {(m.head.owner, m.head.scope) for m in answer if isinstance(m, Delta)}
    assert {(stage.me.id, 0), (one.id, 0), (one.id, 8)} <= scopes
    assert answer[-1] == Done(TOKEN)


def test_scopes_not_asked_for_are_not_told(stage: Stage) -> None:
    stage.do("announce", BLUE, mac(1))
    answer = ask(stage.actor(), join=True, scopes=[0])
    assert {m.head.scope for m in answer if isinstance(m, Delta)} == {0}


@pytest.mark.parametrize(("held", "expected"), [(0, [1, 2, 3]), (2, [3]), (3, None), (9, None)])
def test_what_came_after_is_told_and_nothing_where_nothing_did(
    stage: Stage, held: int, expected: list[int] | None
) -> None:
    for at in range(3):
        stage.do("announce", BLUE, mac(at))
    *deltas, done = ask(stage.actor(), Item(stage.me.id, EPOCH, 8, 1, held))
    assert done == Done(TOKEN)
    if expected is None:
        assert deltas == []
    else:
        (delta,) = deltas
        assert isinstance(delta, Delta)
        assert (delta.start, delta.to, delta.complete) == (held, 3, True)
        assert [row.ver for row in delta.rows] == expected


def test_another_life_than_ours_gets_everything_and_a_later_one_nothing(stage: Stage) -> None:
    stage.do("announce", BLUE, mac(1))
    member = stage.actor()
    for epoch, told in ((EPOCH - 1, 1), (EPOCH + 1, 0)):
        *deltas, _ = ask(member, Item(stage.me.id, epoch, 8, 1, 1))
        assert len(deltas) == told


def test_a_long_stream_comes_in_parts_that_join_on(stage: Stage) -> None:
    for at in range(3000):
        stage.do("announce", BLUE, mac(at), (b"\x0a\0\0\x01",) * 4)
    *deltas, _ = ask(stage.actor(), Item(stage.me.id, EPOCH, 8, 1, 0))
    assert len(deltas) > 3
    start = 0
    for at, delta in enumerate(deltas):
        assert isinstance(delta, Delta)
        assert delta.start == start
        assert delta.complete is (at == len(deltas) - 1)
        start = delta.rows[-1].ver
    assert start == 3000


def test_below_the_floor_it_is_a_snapshot(stage: Stage) -> None:
    for at in range(3):
        stage.do("announce", BLUE, mac(at))
    stage.do("withdraw", BLUE, mac(0))
    stage.node.table.own(8).collect(4)
    (snapshot, _) = ask(stage.actor(), Item(stage.me.id, EPOCH, 8, 1, 2))
    assert isinstance(snapshot, Snapshot)
    assert [row.key for row in snapshot.rows] == [mac(1), mac(2)]
    assert (snapshot.to, snapshot.last) == (4, True)


def test_a_request_may_be_longer_than_a_record(stage: Stage) -> None:
    stage.do("announce", BLUE, mac(1))
    member = stage.actor()
    stream = member.dial()
    assert stream is not None
    nobody = [Item(9, EPOCH, 8, 1, 0)] * 1000
    for _ in range(5):
        member.stream(stream, member.record(Fetch(TOKEN, nobody, False)))
        assert member.answers_on(stream) == []
    member.stream(stream, member.record(Fetch(TOKEN, [Item(stage.me.id, EPOCH, 8, 1, 0)])))
    assert len(member.answers_on(stream)) == 2


def test_a_ping_over_tcp_is_answered(stage: Stage) -> None:
    member = stage.actor()
    stream = member.dial()
    assert stream is not None
    member.stream(stream, member.record(Ping(7, stage.me.id, 0), Ping(8, 999, 0)))
    (answer,) = member.answers_on(stream)
    assert isinstance(answer, Ack)
    assert answer.seq == 7


def test_octets_may_arrive_one_by_one(stage: Stage) -> None:
    member = stage.actor()
    stream = member.dial()
    assert stream is not None
    for octet in member.record(Fetch(TOKEN, [])):
        member.stream(stream, bytes([octet]))
    assert member.answers_on(stream) == [Done(TOKEN)]


# ── what does not belong on a connection ──────────────────────────────────────────────────────


def test_anything_else_than_a_request_ends_a_connection(stage: Stage) -> None:
    member, victim = stage.cast(2)
    for message in (member.alive(), Suspect(victim.id, EPOCH, 0, member.id), Have([]), Done(TOKEN)):
        stream = member.dial()
        assert stream is not None
        member.stream(stream, member.record(message))
        assert stream in stage.closed
    assert victim.state is MemberState.ALIVE
    assert stage.count("stream_errors") == 4


def test_nonsense_two_senders_and_a_record_sent_twice_end_it(stage: Stage) -> None:
    one, two = stage.cast(2)
    record = one.record(Ping(1, stage.me.id, 0))
    for octets in (
        b"\0\x05nonse",
        b"\xff\xff" + bytes(65_535),
        record + two.record(Ping(1, stage.me.id, 0)),
        record + record,
    ):
        stream = one.dial()
        assert stream is not None
        one.stream(stream, octets)
        assert stream in stage.closed
    assert stage.count("stream_errors") == 4


def test_a_second_request_on_one_connection_ends_it(stage: Stage) -> None:
    for at in range(3000):
        stage.do("announce", BLUE, mac(at))
    member = stage.actor()
    stream = member.dial()
    assert stream is not None
    request = member.record(Fetch(TOKEN, [Item(stage.me.id, EPOCH, 8, 1, 0)]))
    second = member.record(Fetch(TOKEN, []))
    stage.node.stream_received(stream, request + second, stage.now)
    stage.collect()
    assert stream in stage.closed


def test_a_request_for_more_streams_than_there_may_be_ends_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vxnet.gossip.transfer.ITEMS_MAX", 2000)
    member = stage.actor()
    stream = member.dial()
    assert stream is not None
    for _ in range(4):
        member.stream(stream, member.record(Fetch(TOKEN, [blue(member)] * 1000, False)))
    assert stream in stage.closed


def test_sixteen_connections_and_no_more(stage: Stage) -> None:
    member = stage.actor()
    streams = [member.dial() for _ in range(20)]
    assert sum(stream is not None for stream in streams) == 16
    assert stage.count("streams_refused") == 4
    stage.node.stream_closed(streams[0] or 0, stage.now)
    assert member.dial() is not None


def test_ten_seconds_for_a_request_however_slowly_it_drips(stage: Stage) -> None:
    member = stage.actor()
    silent, slow = member.dial(), member.dial()
    assert silent is not None
    assert slow is not None
    record = member.record(Fetch(TOKEN, []))
    for at in range(9):
        member.stream(slow, record[at : at + 1])
        stage.wait(1.0)
    assert stage.closed == []
    stage.wait(1.1)
    assert set(stage.closed) == {silent, slow}


def test_who_does_not_read_its_answer_is_hung_up(stage: Stage) -> None:
    for at in range(3000):
        stage.do("announce", BLUE, mac(at))
    member = stage.actor()
    stream = member.dial()
    assert stream is not None
    request = member.record(Fetch(TOKEN, [Item(stage.me.id, EPOCH, 8, 1, 0)]))
    stage.node.stream_received(stream, request, stage.now)
    stage.collect()
    assert len(stage.streams[stream]) < 60_000  # the rest waits until that is on its way
    stage.wait(QUIET.stream_idle_s + 0.1)
    assert stream in stage.closed


# ── fetching: R8 ──────────────────────────────────────────────────────────────────────────────


def offer(stage: Stage, rows: int = 6) -> Actor:
    """A member with stations that the node has not heard of yet."""
    owner = stage.actor()
    owner.attach()
    for at in range(rows):
        owner.publish(8, 1, mac(at), b"\x93\0\0\x90")
    return owner


def parts_of(owner: Actor, size: int = 2) -> list[Snapshot]:
    stream = owner.streams[8]
    rows = stream.whole()
    return [
        Snapshot(stream.head(), stream.watermark, rows[at : at + size], at + size >= len(rows))
        for at in range(0, len(rows), size)
    ]


def test_r8_a_snapshot_is_applied_at_once_when_its_last_part_is_here(stage: Stage) -> None:
    owner = offer(stage)
    stream, request = fetching(stage, owner, blue(owner))
    *first, last = parts_of(owner)
    for part in first:
        owner.stream(stream, owner.record(part))
        assert stage.entries() == {}
    owner.stream(stream, owner.record(last, Done(request.token)))
    assert len(stage.entries()) == 6
    assert stream in stage.closed


def test_r8_a_snapshot_that_breaks_off_is_forgotten_and_never_resumed(stage: Stage) -> None:
    owner = offer(stage)
    stream, _ = fetching(stage, owner, blue(owner))
    first, *_, last = parts_of(owner)
    owner.stream(stream, owner.record(first))
    stage.node.stream_closed(stream, stage.now)
    assert stage.entries() == {}
    assert stage.count("fetches_cut") == 1
    stream, request = fetching(stage, owner, blue(owner))
    assert [(item.owner, item.ver) for item in request.items] == [(owner.id, 0)]
    owner.stream(stream, owner.record(last))
    assert len(stage.entries()) == 2  # as if only that had been there: the first part is gone
    assert first.rows[0].key not in stage.entries()


def test_r8_snapshots_do_not_mix(stage: Stage) -> None:
    one, two = offer(stage), offer(stage)
    stream, _ = fetching(stage, one, blue(one))
    one.stream(stream, one.record(parts_of(one)[0]))
    one.stream(stream, one.record(parts_of(two)[0]))
    assert stream in stage.closed
    assert stage.entries() == {}


def test_a_snapshot_of_more_rows_than_a_stream_may_have_is_refused() -> None:
    stage = Stage(replace(QUIET, stream_rows_max=4))
    stage.do("attach", BLUE)
    owner = offer(stage)
    stream, _ = fetching(stage, owner, blue(owner))
    for part in parts_of(owner):
        owner.stream(stream, owner.record(part))
    assert stream in stage.closed
    assert stage.node.table.rows < 10
    assert stage.entries() == {}


def test_deltas_are_applied_as_they_come_and_the_rest_is_asked_for_again(stage: Stage) -> None:
    owner = offer(stage)
    stream, _ = fetching(stage, owner, blue(owner))
    own = owner.streams[8]
    owner.stream(stream, owner.record(Delta(own.head(), 0, 6, False, own.since(0)[:4])))
    stage.node.stream_closed(stream, stage.now)
    assert len(stage.entries()) == 4
    held = stage.node.table.get(owner.id, 8)
    assert held is not None
    assert held.watermark == 4


@pytest.mark.parametrize("wrong", ["another end", "another member"])
def test_an_answer_that_is_not_for_this_request_ends_it(stage: Stage, wrong: str) -> None:
    owner, other = offer(stage), stage.actor()
    stream, request = fetching(stage, owner, blue(owner))
    if wrong == "another end":
        owner.stream(stream, owner.record(Done(TOKEN)))
    else:
        other.stream(stream, other.record(Done(request.token)))
    assert stream in stage.closed
    assert stage.count("stream_errors") == 1


def test_one_fetch_a_member_at_a_time_and_four_in_all(stage: Stage) -> None:
    members = stage.cast(8)
    for member in members:
        for _ in range(3):
            member.say(More([blue(member)]))
    assert len(stage.connects) == 4
    stage.node.stream_closed(stage.connects[0].stream, stage.now)
    stage.collect()
    assert len(stage.connects) == 5
    assert len({connect.address for connect in stage.connects}) == 5


def test_who_does_not_answer_a_fetch_is_given_up(stage: Stage) -> None:
    owner = offer(stage)
    stream, _ = fetching(stage, owner, blue(owner))
    stage.wait(QUIET.stream_idle_s + 0.1)
    assert stream in stage.closed
    assert not stage.node._transfers._connections


def test_a_fetch_that_hangs_since_a_split_gives_way_to_the_next(stage: Stage) -> None:
    owner = offer(stage)
    stuck, _ = fetching(stage, owner, blue(owner))
    stage.wait(QUIET.stream_stall_s - 0.1)
    owner.say(More([blue(owner)]))
    assert stuck not in stage.closed
    stage.wait(0.2)
    again, _ = fetching(stage, owner, blue(owner))
    assert stuck in stage.closed
    assert again not in stage.closed


def test_octets_for_a_connection_that_is_over_are_nothing(stage: Stage) -> None:
    member = stage.actor()
    for call in (
        partial(stage.node.stream_received, 99, b"x"),
        partial(stage.node.drained, 99),
        partial(stage.node.connected, 99),
        partial(stage.node.stream_closed, 99),
    ):
        call(now=stage.now)
    assert member.state is MemberState.ALIVE
