"""News on its way: to whom, how soon, how often, in which order, and what gives way."""

from dataclasses import replace

import pytest

from tests.gossip.stage import BLUE, GREEN, QUIET, Actor, Stage, mac
from vxnet.gossip.settings import LAN, WAN
from vxnet.wire.gossip import DATAGRAM_MAX, Alive, Have, Ping, Rows, Suspect
from vxnet.wire.rows import Row

STILL = replace(QUIET, probe_interval_s=1e6)
"""Nobody is probed, so news rides on nothing."""


def scene(
    members: int, settings: object = STILL, *, vni: int | None = BLUE
) -> tuple[Stage, list[Actor]]:
    """A node that has a network, and members that have it too, with nothing left to tell."""
    stage = Stage(settings)  # type: ignore[arg-type]
    cast = stage.cast(members)
    stage.do("attach", BLUE)
    for member in cast:
        if vni is not None:
            member.attach(vni)
    stage.wait(30.0)
    for member in cast:
        member.forget()
    stage.datagrams.clear()
    return stage, cast


def rows_heard(actor: Actor, scope: int = 8) -> list[Row]:
    return [row for rows in actor.heard(Rows) if rows.head.scope == scope for row in rows.rows]


def test_the_numbers_are_those_of_the_protocol() -> None:
    assert (LAN.own_delay_s, LAN.relay_delay_min_s, LAN.relay_delay_max_s) == (0.01, 0.005, 0.025)
    assert (LAN.gossip_interval_s, LAN.fanout) == (0.2, 3)
    assert (LAN.budget_bytes_per_s, LAN.advert_above_rows) == (64_000, 128)
    assert (WAN.probe_interval_s, WAN.probe_timeout_s, WAN.suspicion_factor) == (5, 3, 6)
    assert (WAN.gossip_interval_s, WAN.fanout) == (0.5, 4)


# ── how soon, and to whom ─────────────────────────────────────────────────────────────────────


def test_an_own_row_goes_to_three_members_within_ten_milliseconds() -> None:
    stage, cast = scene(8)
    stage.do("announce", BLUE, mac(1))
    assert stage.datagrams == []
    stage.wait(0.0101)
    assert sum(bool(rows_heard(actor)) for actor in cast) == 3


def test_rows_announced_together_share_a_packet() -> None:
    stage, _ = scene(8)
    for at in range(10):
        stage.do("announce", BLUE, mac(at))
    stage.wait(0.0101)
    assert len(stage.datagrams) == 3


def test_only_members_of_that_network_hear_of_its_rows() -> None:
    stage, cast = scene(6, vni=None)
    cast[0].attach(BLUE)
    cast[1].attach(GREEN)
    stage.wait(30.0)
    stage.do("announce", BLUE, mac(1))
    stage.wait(10.0)
    assert [actor for actor in cast if rows_heard(actor)] == [cast[0]]


def test_everybody_hears_of_the_catalogue() -> None:
    stage, cast = scene(6, vni=None)
    stage.node.publish(2, b"blue", b"body", stage.now)  # type: ignore[arg-type]
    stage.wait(5.0)
    assert all(rows_heard(actor, 0) for actor in cast)


def test_a_row_heard_is_passed_on_after_five_to_25_milliseconds() -> None:
    stage, (teller, *others) = scene(8)
    teller.announce(mac(1))
    stage.wait(0.0049)
    assert not any(rows_heard(actor) for actor in others)
    stage.wait(0.0202)
    assert any(rows_heard(actor) for actor in others)


def test_what_was_known_already_is_not_passed_on() -> None:
    stage, (teller, *others) = scene(6)
    row = teller.announce(mac(1))
    stage.wait(30.0)
    for actor in others:
        actor.forget()
    teller.push(8, row)
    stage.wait(5.0)
    assert not any(rows_heard(actor) for actor in others)


# ── how often ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("members", "sends"), [(3, 17), (9, 19), (29, 20)])
def test_each_row_is_sent_fourteen_times_and_four_more_for_each_tenfold_cluster(
    members: int, sends: int
) -> None:
    stage, cast = scene(members)
    stage.do("announce", BLUE, mac(1))
    stage.wait(60.0)
    told = sum(len(rows_heard(actor)) for actor in cast)
    assert sends <= told < sends + LAN.fanout
    assert not stage.node._outgoing._queue


def test_a_newer_row_takes_the_older_ones_place() -> None:
    stage, cast = scene(6)
    for at in range(10):
        stage.do("announce", BLUE, mac(1), (b"\x0a\0\0" + bytes([at]),))
    stage.do("withdraw", BLUE, mac(1))
    stage.wait(30.0)
    heard = {row.ver for actor in cast for row in rows_heard(actor)}
    assert heard == {11}


def test_rows_of_a_network_given_up_are_not_told_any_more() -> None:
    stage, cast = scene(6)
    stage.do("announce", BLUE, mac(1))
    stage.do("detach", BLUE)
    stage.wait(10.0)
    assert not any(rows_heard(actor) for actor in cast)


# ── in which order, and how much ──────────────────────────────────────────────────────────────


def test_own_rows_go_before_relayed_ones() -> None:
    stage, (teller, *others) = scene(4, replace(STILL, budget_bytes_per_s=4000.0))
    for at in range(100):
        teller.announce(mac(at))
    stage.do("announce", BLUE, mac(999))
    stage.wait(0.0101)
    assert any(row.key == mac(999) for actor in others for row in rows_heard(actor))


def test_a_node_keeps_to_its_budget() -> None:
    stage, cast = scene(5, replace(STILL, budget_bytes_per_s=5000.0))
    for at in range(120):
        stage.do("announce", BLUE, mac(at), (b"\x0a\0\0\1",) * 8)
    stage.datagrams.clear()
    stage.wait(10.0)
    octets = sum(len(datagram.data) for datagram in stage.datagrams)
    assert octets <= 5000 * 11 * 1.2  # without the packets' own headers
    assert stage.count("news_delayed") > 0
    stage.wait(60.0)
    heard = {row.key for actor in cast for row in rows_heard(actor)}
    assert len(heard) == 120  # late, but told


def test_of_too_many_rows_of_a_stream_only_an_advert_is_sent() -> None:
    stage, cast = scene(5)
    for at in range(1000):
        stage.do("announce", BLUE, mac(at))
    stage.wait(0.1)
    adverts = [have for actor in cast for have in actor.heard(Have)]
    assert adverts
    assert not any(rows_heard(actor) for actor in cast)
    (item,) = adverts[-1].items
    assert (item.owner, item.scope, item.ver) == (stage.me.id, 8, 1000)


def test_a_full_queue_sheds_what_was_told_most_and_never_grows() -> None:
    stage, (teller, *_) = scene(4, replace(STILL, queue_max=50))
    for at in range(120):
        teller.announce(mac(at))
    stage.do("announce", BLUE, mac(999))
    queue = stage.node._outgoing._queue
    assert len(queue) == 50
    assert stage.count("news_shed") == 71
    names = {news.row.key for news in queue._news.values() if news.row is not None}
    assert mac(999) in names  # our own stays


def test_no_packet_is_larger_than_a_datagram_may_be() -> None:
    stage, _ = scene(5)
    for at in range(100):
        stage.do("announce", BLUE, mac(at), (bytes(15) + b"\1",) * 8)
    for at in range(5):
        stage.node.publish(2, bytes([at]) * 64, bytes(900), stage.now)  # type: ignore[arg-type]
    stage.wait(10.0)
    assert len(stage.datagrams) > 50
    assert max(len(datagram.data) for datagram in stage.datagrams) <= DATAGRAM_MAX


# ── about members, and on probes ──────────────────────────────────────────────────────────────


def test_what_is_said_of_a_member_is_passed_on_whatever_networks_there_are() -> None:
    stage, (teller, victim, *others) = scene(8, vni=None)
    teller.suspects(victim)
    stage.wait(3.0)
    assert sum(bool(actor.heard(Suspect)) for actor in others) >= 4


def test_the_last_word_on_a_member_takes_the_place_of_what_was_said_before() -> None:
    stage, (teller, victim, *others) = scene(8)
    teller.suspects(victim)
    victim.refutes()
    stage.wait(10.0)
    assert not any(actor.heard(Suspect) for actor in others)
    assert sum(victim.alive() in actor.heard(Alive) for actor in others) >= 4


def test_news_rides_on_probes() -> None:
    settings = replace(QUIET, own_delay_s=1e6, relay_delay_min_s=1e6, relay_delay_max_s=1e6)
    stage = Stage(settings)
    member = stage.actor()
    stage.do("attach", BLUE)
    member.attach()
    stage.wait(30.0)
    member.forget()
    stage.do("announce", BLUE, mac(1))
    while not member.heard(Ping):
        stage.wait(0.1)
    assert [row.key for row in rows_heard(member)] == [mac(1)]


def test_news_rides_to_nobody_who_is_not_a_member() -> None:
    stage, _ = scene(2)
    stage.do("announce", BLUE, mac(1))
    stranger = stage.actor(at=50, joins=False)
    stranger.answers = False
    stranger.say(Ping(1, stage.me.id, 0))
    assert not stranger.heard(Rows)
