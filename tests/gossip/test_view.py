"""What rows mean: who has a network, what is hidden while its owner is away, and what stands in."""

from dataclasses import replace

import pytest

from tests.gossip.stage import BLUE, GREEN, QUIET, Actor, Stage, mac
from vxnet.errors import StateError
from vxnet.gossip.events import (
    EntryFlag,
    EntryGone,
    EntrySet,
    Feature,
    NetworkPeer,
    Record,
    RecordGone,
    RecordKind,
    RecordSet,
)
from vxnet.wire.addr import Vtep, parse_ip
from vxnet.wire.gossip import Delta, encode
from vxnet.wire.rows import EntryBody


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.do("attach", BLUE)
    return stage


@pytest.fixture
def owner(stage: Stage) -> Actor:
    """A member with two stations, and another so that somebody is left when it goes."""
    stage.actor("bystander")
    owner = stage.actor("owner")
    owner.attach()
    for at in (1, 2):
        owner.announce(mac(at))
    assert set(stage.entries()) == {mac(1), mac(2)}
    stage.events.clear()
    return owner


def bystander(stage: Stage) -> Actor:
    return next(actor for actor in stage.actors.values() if actor.name == "bystander")


def present(stage: Stage, owner: Actor) -> list[bool]:
    """How the owner's share in flooding changed."""
    return [e.present for e in stage.told(NetworkPeer) if e.owner == owner.id]


# ── entries ───────────────────────────────────────────────────────────────────────────────────


def test_an_entry_says_where_its_owner_is_or_for_whom_it_speaks(stage: Stage) -> None:
    owner = stage.actor()
    owner.attach()
    owner.announce(mac(1), parse_ip("10.0.0.1"), sequence=3, flags=EntryFlag.ROUTER)
    owner.announce(mac(2), vtep=parse_ip("2001:db8::1"), port=4790)
    one, two = sorted(stage.node.entries(BLUE), key=lambda entry: entry.mac)
    assert (one.vtep, one.ips) == (owner.who.vtep, (parse_ip("10.0.0.1"),))
    assert (one.sequence, one.flags, one.version) == (3, EntryFlag.ROUTER, 1)
    assert two.vtep == Vtep(parse_ip("2001:db8::1"), 4790)


def test_rows_of_a_life_that_is_not_known_yet_wait_for_it(stage: Stage) -> None:
    owner = stage.actor()
    owner.attach()
    owner.streams[8].epoch += 1
    owner.announce(mac(1))
    assert stage.entries() == {}
    owner.epoch += 1
    owner.say(owner.alive())
    assert set(stage.entries()) == {mac(1)}


def test_rows_of_a_network_whose_attachment_is_not_known_yet_wait_for_it(stage: Stage) -> None:
    owner = stage.actor()
    owner.attach()
    owner.detach()
    stage.events.clear()
    owner.streams[8].att = 2
    owner.announce(mac(1))
    assert stage.entries() == {}
    row = owner.publish(0, 17, BLUE.to_bytes(3, "big"), b"\x91\x02")
    owner.push(0, row)
    assert stage.entries() == {mac(1): owner.id}


def test_nothing_is_told_of_networks_that_this_host_does_not_have(stage: Stage) -> None:
    owner = stage.actor()
    owner.attach(GREEN)
    owner.announce(mac(1), vni=GREEN)
    assert stage.told(NetworkPeer) == []
    assert stage.node.entries() == []
    assert stage.node.table.get(owner.id, 9) is None


def test_what_a_host_can_do_is_told_with_its_networks_and_again_when_it_changes(
    stage: Stage, owner: Actor
) -> None:
    owner.describe(features=1)
    owner.describe(features=1)
    owner.describe(features=0)
    told = [(e.present, e.features) for e in stage.told(NetworkPeer) if e.owner == owner.id]
    assert told == [(True, Feature.COMPLETES_CHECKSUMS), (True, Feature.NONE)]


def test_a_network_given_up_takes_its_entries_and_peers_with_it(stage: Stage, owner: Actor) -> None:
    stage.do("announce", BLUE, mac(9))
    stage.do("detach", BLUE)
    assert stage.entries() == {}
    assert {e.mac for e in stage.told(EntryGone)} == {mac(1), mac(2), mac(9)}
    assert present(stage, owner) == [False]
    stage.do("attach", BLUE)
    assert present(stage, owner) == [False, True]


def test_an_owner_that_gives_up_a_network_takes_its_entries_with_it(
    stage: Stage, owner: Actor
) -> None:
    owner.detach()
    assert stage.entries() == {}
    assert present(stage, owner) == [False]
    owner.attach(att=2)
    assert stage.entries() == {}  # the new attachment has announced nothing
    owner.announce(mac(3))
    assert stage.entries() == {mac(3): owner.id}


def test_more_networks_than_an_owner_may_have_are_not_noted() -> None:
    stage = Stage(replace(QUIET, vnis_max=3))
    owner = stage.actor()
    for vni in range(10, 20):
        owner.attach(vni)
    assert sorted(owner.peer.attached) == [10, 11, 12]


# ── suspend and restore ───────────────────────────────────────────────────────────────────────


def test_a_suspect_is_forwarded_to(stage: Stage, owner: Actor) -> None:
    bystander(stage).suspects(owner)
    assert len(stage.entries()) == 2
    assert present(stage, owner) == []


def test_the_dead_are_hidden_and_their_streams_kept(stage: Stage, owner: Actor) -> None:
    owner.answers = False
    bystander(stage).buries(owner)
    assert stage.entries() == {}
    assert {e.mac for e in stage.told(EntryGone)} == {mac(1), mac(2)}
    assert present(stage, owner) == [False]
    held = stage.node.table.get(owner.id, 8)
    assert held is not None
    assert held.count == 2


def test_back_with_the_same_epoch_everything_counts_at_once(stage: Stage, owner: Actor) -> None:
    owner.answers = False
    bystander(stage).buries(owner)
    stage.wait(60.0)
    owner.refutes()
    assert set(stage.entries()) == {mac(1), mac(2)}
    assert present(stage, owner) == [False, True]


def test_what_the_dead_had_is_kept_for_half_an_hour_and_that_they_were_for_a_day() -> None:
    stage = Stage()
    stage.do("attach", BLUE)
    owner, other = stage.actor(), stage.actor()
    owner.attach()
    owner.announce(mac(1))
    owner.answers = False
    other.buries(owner)
    stage.wait(QUIET.suspended_s - 1.0)
    assert stage.node.table.get(owner.id, 8) is not None
    stage.wait(QUIET.suspended_s / 30 + 2.0)
    assert stage.node.table.get(owner.id, 8) is None
    assert stage.node.roster.get(owner.id) is not None
    assert (QUIET.suspended_s, QUIET.record_s) == (1800.0, 86_400.0)


def test_after_that_nothing_is_left_of_them() -> None:
    stage = Stage(replace(QUIET, suspended_s=30.0, record_s=60.0))
    stage.do("attach", BLUE)
    owner, other = stage.actor(), stage.actor()
    owner.attach()
    owner.announce(mac(1))
    owner.answers = False
    other.buries(owner)
    stage.wait(62.0)
    assert stage.node.roster.get(owner.id) is None
    assert stage.node.table.of(owner.id) == []
    assert stage.node.table.rows == sum(len(stream.rows) for stream in stage.node.table)


def test_who_left_is_dropped_at_once(stage: Stage, owner: Actor) -> None:
    owner.leaves()
    assert stage.entries() == {}
    assert stage.node.table.of(owner.id) == []
    assert present(stage, owner) == [False]


# ── make before break ─────────────────────────────────────────────────────────────────────────


def begin_again(owner: Actor) -> None:
    """Another life, with the network taken up."""
    owner.reborn()
    owner.attach()


def test_rows_of_the_former_life_stand_in_until_the_new_one_is_complete(
    stage: Stage, owner: Actor
) -> None:
    begin_again(owner)
    assert set(stage.entries()) == {mac(1), mac(2)}
    assert stage.told(EntryGone) == []
    stream = owner.streams[8]
    rows = [owner.publish(8, 1, mac(at), encode(EntryBody(0, 0, ()))) for at in (1, 3)]
    owner.push(8, rows[1])  # a gap: not complete
    stage.wait(1.5)
    assert set(stage.entries()) == {mac(1), mac(2), mac(3)}
    owner.say(Delta(stream.head(), 0, 2, True, rows))
    stage.wait(1.0)
    assert set(stage.entries()) == {mac(1), mac(3)}
    assert [e.mac for e in stage.told(EntryGone)] == [mac(2)]


def test_a_new_life_that_never_completes_has_five_seconds(stage: Stage, owner: Actor) -> None:
    begin_again(owner)
    owner.publish(8, 1, mac(3), encode(EntryBody(0, 0, ())))
    owner.announce(mac(4))
    stage.wait(QUIET.stale_s - 0.1)
    assert set(stage.entries()) == {mac(1), mac(2), mac(4)}
    stage.wait(0.2)
    assert set(stage.entries()) == {mac(4)}


def test_a_new_life_without_the_network_lets_the_old_rows_go(stage: Stage, owner: Actor) -> None:
    owner.reborn()
    stage.wait(QUIET.stale_s + 0.1)
    assert stage.entries() == {}


def test_who_dies_meanwhile_takes_the_stand_ins_along(stage: Stage, owner: Actor) -> None:
    begin_again(owner)
    assert len(stage.entries()) == 2
    owner.answers = False
    bystander(stage).buries(owner)
    assert stage.entries() == {}
    owner.refutes()
    assert stage.entries() == {}


def test_a_stand_in_that_its_owner_deletes_is_gone(stage: Stage, owner: Actor) -> None:
    begin_again(owner)
    owner.announce(mac(1))
    owner.withdraw(mac(1))
    assert set(stage.entries()) == {mac(2)}


# ── moving between hosts ──────────────────────────────────────────────────────────────────────


def test_a_station_taken_over_by_another_is_withdrawn_here(stage: Stage, owner: Actor) -> None:
    stage.do("announce", BLUE, mac(9))
    owner.announce(mac(9), sequence=1)
    assert stage.entries()[mac(9)] == owner.id
    own = stage.node.table.own(8)
    assert own.count == 0
    assert own.tombstones == 1


def test_a_station_learned_here_outbids_where_it_was(stage: Stage, owner: Actor) -> None:
    stage.do("announce", BLUE, mac(1), moved=True)
    (entry,) = [entry for entry in stage.node.entries(BLUE) if entry.mac == mac(1)]
    assert (entry.owner, entry.sequence) == (stage.me.id, 1)
    assert EntrySet(entry) in stage.told(EntrySet)
    owner.withdraw(mac(1))
    assert stage.entries()[mac(1)] == stage.me.id


# ── the catalogue ─────────────────────────────────────────────────────────────────────────────


def record(owner: Actor, body: bytes | None, key: bytes = b"blue") -> None:
    owner.push(0, owner.publish(0, RecordKind.NETWORK, key, body))


def test_records_are_told_as_they_come_change_and_go(stage: Stage) -> None:
    owner = stage.actor()
    record(owner, b"one")
    record(owner, b"two")
    assert [e.record.body for e in stage.told(RecordSet)] == [b"one", b"two"]
    (held,) = stage.node.records(RecordKind.NETWORK)
    assert held == Record(RecordKind.NETWORK, b"blue", b"two", owner.id, 2)
    record(owner, None)
    assert stage.told(RecordGone) == [RecordGone(RecordKind.NETWORK, b"blue", owner.id)]
    assert stage.node.records(RecordKind.NETWORK) == []


def test_two_owners_records_of_one_key_both_stand(stage: Stage) -> None:
    one, two = stage.cast(2)
    record(one, b"1")
    record(two, b"2")
    assert {held.body for held in stage.node.records(RecordKind.NETWORK)} == {b"1", b"2"}
    one.leaves()
    assert {held.body for held in stage.node.records(RecordKind.NETWORK)} == {b"2"}


def test_records_of_the_dead_stand(stage: Stage) -> None:
    owner, other = stage.cast(2)
    record(owner, b"1")
    owner.answers = False
    other.buries(owner)
    assert stage.node.records(RecordKind.NETWORK)
    assert stage.told(RecordGone) == []


def test_kinds_that_are_not_known_here_are_held_and_not_told(stage: Stage) -> None:
    owner = stage.actor()
    owner.push(0, owner.publish(0, 200, b"later", b"\xc0"))
    assert stage.told(RecordSet) == []
    held = stage.node.table.get(owner.id, 0)
    assert held is not None
    assert held.count == 1


# ── many rows ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def wide() -> tuple[Stage, Actor]:
    """An owner of forty stations, where at most five are dealt with in one piece."""
    stage = Stage(replace(QUIET, slice_rows=5))
    stage.do("attach", BLUE)
    stage.actor("bystander")
    owner = stage.actor("owner")
    owner.attach()
    for at in range(40):
        owner.announce(mac(at))
    assert len(stage.entries()) == 40
    stage.events.clear()
    return stage, owner


def test_many_rows_are_hidden_and_shown_in_slices(wide: tuple[Stage, Actor]) -> None:
    stage, owner = wide
    bystander(stage).buries(owner)
    assert len(stage.entries()) == 35
    stage.wait(0.1)
    assert stage.entries() == {}
    owner.refutes()
    assert len(stage.entries()) == 5
    stage.wait(0.1)
    assert len(stage.entries()) == 40
    assert len(stage.told(EntryGone)) == len(stage.told(EntrySet)) == 40


def test_rows_that_change_while_they_wait_are_shown_as_they_are_then(
    wide: tuple[Stage, Actor],
) -> None:
    stage, owner = wide
    bystander(stage).buries(owner)
    stage.wait(0.1)
    owner.refutes()
    for at in range(20):
        owner.withdraw(mac(at))
    owner.announce(mac(30), parse_ip("10.0.0.30"))
    stage.wait(0.1)
    assert set(stage.entries()) == {mac(at) for at in range(20, 40)}
    ips = {entry.mac: entry.ips for entry in stage.node.entries(BLUE)}
    assert ips[mac(30)] == (parse_ip("10.0.0.30"),)


def test_an_owner_that_comes_back_while_its_rows_are_being_hidden_is_shown_whole(
    wide: tuple[Stage, Actor],
) -> None:
    stage, owner = wide
    for _ in range(3):
        bystander(stage).buries(owner)
        owner.refutes()
    stage.wait(0.1)
    assert len(stage.entries()) == 40
    bystander(stage).buries(owner)
    owner.refutes()
    bystander(stage).buries(owner)
    stage.wait(0.1)
    assert stage.entries() == {}
    assert len(stage.node.view.backlog) == 0


def test_a_network_taken_up_again_at_once_is_told_of_everything(
    wide: tuple[Stage, Actor],
) -> None:
    stage, owner = wide
    stage.do("detach", BLUE)
    assert stage.entries() == {}
    stage.do("attach", BLUE)
    stage.events.clear()
    rows = list(owner.streams[BLUE + 1].live())
    for at in range(0, len(rows), 10):
        owner.push(BLUE + 1, *rows[at : at + 10])
    stage.wait(0.1)
    assert len(stage.told(EntrySet)) == 40


# ── what is refused here ──────────────────────────────────────────────────────────────────────


def test_what_does_not_fit_is_refused_with_a_sentence(stage: Stage) -> None:
    for key, body in ((bytes(65), b""), (b"k", bytes(901))):
        with pytest.raises(StateError, match="64 and 900 fit a gossip packet"):
            stage.do("publish", RecordKind.NAME, key, body)
    with pytest.raises(StateError, match="9 addresses; gossip carries 8"):
        stage.do("announce", BLUE, mac(1), (parse_ip("10.0.0.1"),) * 9)
    with pytest.raises(StateError, match="no network with VNI 8"):
        stage.do("announce", GREEN, mac(1))
    stage.do("withdraw", GREEN, mac(1))
    stage.do("detach", GREEN)
    assert stage.node.table.own(8).ver == 0


def test_more_networks_than_there_may_be_are_refused() -> None:
    stage = Stage(replace(QUIET, vnis_max=3))
    for vni in range(3):
        stage.do("attach", vni)
    with pytest.raises(StateError, match="this host has 3 networks, the most there may be"):
        stage.do("attach", 3)
    stage.do("attach", 2)  # it has that
    stage.do("detach", 2)
    stage.do("attach", 3)


def test_the_largest_rows_that_are_let_in_go_out_and_are_read(stage: Stage) -> None:
    owner = stage.actor()
    owner.push(0, owner.publish(0, RecordKind.NETWORK, bytes(64), bytes(900)))
    (held,) = stage.node.records(RecordKind.NETWORK)
    assert len(held.body) == 900
    stage.do("publish", RecordKind.NETWORK, bytes(64), bytes(900))
    stage.wait(1.0)
    assert max(len(datagram.data) for datagram in stage.datagrams) <= 1200
