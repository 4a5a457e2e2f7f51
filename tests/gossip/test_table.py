"""All streams of a node: which are admitted, how many rows there are, and roots that are true."""

from dataclasses import replace
from random import Random

import pytest

from tests.gossip.replicas import ENTRY
from tests.gossip.stage import EPOCH, QUIET, identity
from vxnet.errors import StateError
from vxnet.gossip.events import Alarm, AlarmKind, MemberState
from vxnet.gossip.hub import Hub
from vxnet.gossip.member import Peer
from vxnet.gossip.roster import Roster
from vxnet.gossip.rules import ALL_RULES, Rule
from vxnet.gossip.settings import GossipSettings
from vxnet.gossip.stream import Change, Stream
from vxnet.gossip.table import ROW_MAX, Table
from vxnet.wire.gossip import Alive
from vxnet.wire.rows import Head, Row

SCOPE = 8


class Host:
    """A node's table with what it stands on."""

    def __init__(
        self, at: int = 100, settings: GossipSettings = QUIET, rules: Rule = ALL_RULES
    ) -> None:
        self.hub = Hub(settings, Random(1))
        self.roster = Roster(identity(at, f"n{at}"), self.hub, 0.0)
        self.table = Table(self.roster, self.hub, rules)
        self.changes: list[Change] = []
        self.replaced: list[tuple[Stream, Stream | None]] = []
        self.table.changed.append(lambda _, changes: self.changes.extend(changes))
        self.table.replaced.append(lambda old, new: self.replaced.append((old, new)))

    @property
    def me(self) -> Peer:
        return self.roster.me

    def knows(self, other: "Host") -> Peer:
        """It holds another alive, with the networks that one has now."""
        peer = self.roster.adopt(Peer(other.me.alive(), 0.0), 0.0)
        for scope in other.table.scopes:
            if scope:
                self.roster.attached(peer, scope - 1, other.table.own(scope).att)
        return peer

    def has(self, scope: int = SCOPE) -> None:
        """It takes up a network."""
        stream = self.table.want(scope)
        self.roster.attached(self.me, scope - 1, stream.att)

    def set(self, key: bytes, body: bytes | None = b"", scope: int = SCOPE) -> Row | None:
        """It publishes."""
        return self.table.publish(scope, ENTRY, key, body)

    def copy(self, owner: "Host", scope: int = SCOPE, *, upto: int | None = None) -> Stream:
        """It gets all that another has published in a scope, or a part of it."""
        truth = owner.table.own(scope)
        stream = self.table.admit(truth.head())
        assert stream is not None
        rows = truth.since(stream.watermark)[:upto]
        done = upto is None
        self.table.apply(
            stream,
            rows,
            lambda: stream.delta(truth.head(), stream.watermark, truth.watermark, done, rows),
        )
        return stream

    def alarms(self) -> list[AlarmKind]:
        return [event.kind for event in self.hub.events if isinstance(event, Alarm)]


@pytest.fixture
def pair() -> tuple[Host, Host]:
    """An owner and one who follows it; both have the network and know each other."""
    owner, follower = Host(1), Host(2)
    for host in (owner, follower):
        host.has()
    for one, other in ((owner, follower), (follower, owner)):
        one.knows(other)
    return owner, follower


def head(owner: Host, **fields: int) -> Head:
    known = {"epoch": EPOCH, "scope": SCOPE, "att": 1, "ver": 1, "floor": 0, "count": 0, "xor": 0}
    return Head(owner.me.id, **{**known, **fields})


# ── R1: which stream ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("epoch", "att", "admitted"),
    [
        (EPOCH, 2, "the same"),
        (EPOCH, 1, None),
        (EPOCH, 3, "new"),
        (EPOCH - 1, 2, None),
        (EPOCH - 1, 9, None),
        (EPOCH + 1, 1, "new"),
    ],
)
def test_r1_a_lower_life_is_ignored_and_a_higher_one_begins_empty(
    pair: tuple[Host, Host], epoch: int, att: int, admitted: str | None
) -> None:
    owner, follower = pair
    follower.roster.detached(follower.knows(owner), SCOPE - 1)  # its record is not here yet
    old = follower.table.admit(head(owner, att=2))
    assert old is not None
    old.push(head(owner, att=2), [Row(ENTRY, b"k", 1, b"")])
    found = follower.table.admit(head(owner, epoch=epoch, att=att))
    if admitted == "the same":
        assert found is old
    elif admitted is None:
        assert found is None
        assert follower.table.get(owner.me.id, SCOPE) is old
    else:
        assert found is not None
        assert found is not old
        assert (found.watermark, found.count) == (0, 0)
        assert follower.replaced == [(old, found)]


def test_r1_without_it_a_former_life_is_taken_for_the_present_one(
    pair: tuple[Host, Host],
) -> None:
    owner, _ = pair
    follower = Host(3, rules=ALL_RULES & ~Rule.R1)
    follower.has()
    follower.knows(owner)
    follower.table.admit(head(owner, epoch=EPOCH))
    assert follower.table.admit(head(owner, epoch=EPOCH - 1)) is not None


def test_streams_of_members_and_networks_not_known_here_are_not_held(
    pair: tuple[Host, Host],
) -> None:
    owner, follower = pair
    assert follower.table.admit(head(Host(77))) is None
    assert follower.table.admit(head(owner, scope=99)) is None
    assert follower.table.get(owner.me.id, 99) is None


def test_a_network_given_up_is_forgotten_and_taken_up_again_it_is_a_new_stream(
    pair: tuple[Host, Host],
) -> None:
    owner, follower = pair
    owner.set(b"a")
    follower.copy(owner)
    assert follower.table.rows == 1
    follower.table.unwant(SCOPE)
    assert follower.table.rows == 0
    assert follower.table.get(owner.me.id, SCOPE) is None
    assert follower.table.want(SCOPE).att == 2
    follower.table.unwant(99)  # never had it


# ── our own rows ──────────────────────────────────────────────────────────────────────────────


def test_what_does_not_change_anything_takes_no_version() -> None:
    host = Host()
    host.has()
    assert host.set(b"a", b"1") is not None
    assert host.set(b"a", b"1") is None
    assert host.set(b"never", None) is None
    assert host.set(b"a", None) is not None
    assert host.set(b"a", None) is None
    assert host.table.own(SCOPE).ver == 2


def test_a_network_not_had_takes_no_rows() -> None:
    with pytest.raises(StateError, match="no network with VNI 7"):
        Host().set(b"a")


def test_a_row_that_does_not_fit_a_packet_is_refused_and_changes_nothing() -> None:
    host = Host()
    host.has()
    room = ROW_MAX - 24 - 1
    assert host.set(b"a", bytes(room)) is not None
    with pytest.raises(StateError, match=f"{room + 1} octets does not fit"):
        host.set(b"a", bytes(room + 1))
    assert host.table.own(SCOPE).ver == 1


def test_beyond_the_most_rows_an_owner_may_have_new_ones_are_refused_and_old_ones_change() -> None:
    host = Host(settings=replace(QUIET, stream_rows_max=3))
    host.has()
    for at in range(3):
        host.set(bytes([at]))
    with pytest.raises(StateError, match="already announces 3 rows"):
        host.set(b"x")
    assert host.set(b"\0", b"changed") is not None
    assert host.set(b"\0", None) is not None
    assert host.set(b"x") is not None


def test_a_higher_epoch_publishes_every_row_again(pair: tuple[Host, Host]) -> None:
    owner, _ = pair
    for key in (b"a", b"b", b"c"):
        owner.set(key)
    owner.set(b"b", None)
    owner.table.restart(EPOCH + 1)
    stream = owner.table.own(SCOPE)
    assert (stream.epoch, stream.ver, stream.count) == (EPOCH + 1, 2, 2)
    assert [row.key for row in stream.live()] == [b"a", b"c"]
    assert owner.table.rows == 2


# ── bounds on others' rows ────────────────────────────────────────────────────────────────────


def test_rows_beyond_the_most_there_may_be_in_all_are_refused_and_alarmed_once() -> None:
    owner = Host(1)
    follower = Host(2, replace(QUIET, rows_max=10))
    for host in (owner, follower):
        host.has()
    follower.knows(owner)
    for at in range(30):
        owner.set(bytes([at]))
    stream = follower.copy(owner, upto=10)
    assert follower.table.rows == 10
    follower.copy(owner)
    follower.copy(owner)
    assert (follower.table.rows, stream.watermark) == (10, 10)
    assert follower.alarms() == [AlarmKind.BOUND_REACHED]


def test_one_owner_can_not_fill_the_table_of_another() -> None:
    follower = Host(2, replace(QUIET, stream_rows_max=10))
    owner = Host(1)
    for host in (owner, follower):
        host.has()
    follower.knows(owner)
    stream = follower.table.admit(head(owner))
    assert stream is not None
    for at in range(100):
        rows = [Row(ENTRY, bytes([at]), at + 1, b"")]
        follower.table.apply(
            stream, rows, lambda rows=rows: stream.push(head(owner, ver=1000), rows)
        )
    assert len(stream.rows) <= 20
    assert follower.table.rows == len(stream.rows)
    assert follower.alarms() == [AlarmKind.BOUND_REACHED]


# ── R10: what is held is what was said ────────────────────────────────────────────────────────


def test_r10_a_copy_that_is_not_what_its_owner_says_is_dropped_and_pulled_again(
    pair: tuple[Host, Host],
) -> None:
    owner, follower = pair
    owner.set(b"a", b"true")
    truth = owner.table.own(SCOPE)
    stream = follower.table.admit(truth.head())
    assert stream is not None
    false = [Row(ENTRY, b"a", 1, b"false")]
    follower.table.apply(stream, false, lambda: stream.delta(truth.head(), 0, 1, True, false))
    again = follower.table.get(owner.me.id, SCOPE)
    assert again is not None
    assert again is not stream
    assert (again.watermark, again.count, follower.table.rows) == (0, 0, 0)
    assert follower.hub.counters["streams_mismatched"] == 1
    assert follower.alarms() == [AlarmKind.STREAM_MISMATCH]
    follower.copy(owner)
    assert follower.table.root(follower.knows(owner)) == owner.table.root(owner.knows(follower))


@pytest.mark.parametrize("later", [{"att": 2}, {"att": 2**32 - 1}, {"epoch": EPOCH + 9}], ids=str)
def test_nobody_ends_a_stream_by_inventing_a_later_life_of_it(
    pair: tuple[Host, Host], later: dict[str, int]
) -> None:
    owner, follower = pair
    owner.set(b"a")
    stream = follower.copy(owner)
    assert follower.table.admit(head(owner, **later)) is None
    assert follower.table.get(owner.me.id, SCOPE) is stream
    assert follower.table.admit(owner.table.own(SCOPE).head()) is stream


@pytest.mark.parametrize("later", [{"att": 2}, {"att": 2**32 - 1}, {"epoch": EPOCH + 9}], ids=str)
def test_an_invented_life_that_was_here_first_gives_way_to_what_the_owner_says(
    pair: tuple[Host, Host], later: dict[str, int]
) -> None:
    owner, follower = pair
    invented = follower.table.admit(head(owner, **later))
    assert invented is not None
    assert follower.table.strays(invented)
    owner.set(b"a")
    stream = follower.copy(owner)
    assert stream.life == owner.table.own(SCOPE).life
    assert not follower.table.strays(stream)
    assert follower.table.get(owner.me.id, SCOPE) is stream


def test_a_network_taken_up_again_begins_a_stream_once_the_record_says_so(
    pair: tuple[Host, Host],
) -> None:
    owner, follower = pair
    owner.set(b"a")
    old = follower.copy(owner)
    peer = follower.roster.get(owner.me.id)
    assert peer is not None
    follower.roster.attached(peer, SCOPE - 1, 2)
    again = follower.table.admit(head(owner, att=2))
    assert again is not None
    assert follower.replaced == [(old, again)]


def test_r10_the_scrub_finds_damage_where_nothing_changes(pair: tuple[Host, Host]) -> None:
    owner, follower = pair
    owner.set(b"a", b"true")
    stream = follower.copy(owner)
    follower.table.scrub(stream)
    assert follower.table.get(owner.me.id, SCOPE) is stream
    stream.rows[ENTRY, b"a"] = Row(ENTRY, b"a", 1, b"damaged")
    follower.table.scrub(stream)
    assert follower.table.get(owner.me.id, SCOPE) is not stream


def test_the_scrub_drops_what_came_late_of_an_attachment_that_is_over(
    pair: tuple[Host, Host],
) -> None:
    owner, follower = pair
    owner.set(b"a")
    stream = follower.copy(owner)
    peer = follower.roster.get(owner.me.id)
    assert peer is not None
    follower.roster.attached(peer, SCOPE - 1, 2)
    follower.table.scrub(stream)
    assert follower.table.get(owner.me.id, SCOPE) is None


# ── roots ─────────────────────────────────────────────────────────────────────────────────────


def roots(one: Host, other: Host) -> tuple[int, int]:
    to_other, to_one = one.roster.get(other.me.id), other.roster.get(one.me.id)
    assert to_other is not None
    assert to_one is not None
    return one.table.root(to_other), other.table.root(to_one)


def test_roots_are_equal_exactly_where_both_hold_the_same(pair: tuple[Host, Host]) -> None:
    owner, follower = pair
    assert len(set(roots(*pair))) == 1
    owner.set(b"a")
    assert len(set(roots(*pair))) == 2
    follower.copy(owner)
    assert len(set(roots(*pair))) == 1
    assert roots(*pair)[0] != 0


def test_a_network_that_only_one_has_is_no_difference(pair: tuple[Host, Host]) -> None:
    owner, _ = pair
    owner.has(50)
    owner.set(b"a", scope=50)
    assert len(set(roots(*pair))) == 1


def test_the_differing_bucket_is_the_owners(pair: tuple[Host, Host]) -> None:
    owner, follower = pair
    owner.set(b"a")
    mine = owner.table.buckets(owner.knows(follower), contents=False)
    theirs = follower.table.buckets(follower.knows(owner), contents=False)
    assert [at for at in range(64) if mine[at] != theirs[at]] == [owner.me.id % 64]


def test_contents_differ_where_watermarks_do_not(pair: tuple[Host, Host]) -> None:
    owner, follower = pair
    owner.set(b"a", b"1")
    follower.copy(owner)
    to_owner, to_follower = follower.knows(owner), owner.knows(follower)
    assert follower.table.contents(to_owner) == owner.table.contents(to_follower)
    stream = follower.table.get(owner.me.id, SCOPE)
    assert stream is not None
    stream.xor ^= 1
    assert follower.table.root(to_owner) == owner.table.root(to_follower)
    assert follower.table.contents(to_owner) != owner.table.contents(to_follower)
    assert follower.table.buckets(to_owner, contents=True) != owner.table.buckets(
        to_follower, contents=True
    )


def test_streams_of_members_that_are_gone_do_not_count(pair: tuple[Host, Host]) -> None:
    owner, follower = pair
    owner.set(b"a")
    follower.copy(owner)
    peer = follower.roster.get(owner.me.id)
    assert peer is not None
    with_it = follower.table.root(peer)
    follower.roster.change(peer, MemberState.DEAD, 1.0)
    follower.table.recount_owner(owner.me.id)
    assert follower.table.root(peer) != with_it
    follower.roster.change(peer, MemberState.ALIVE, 2.0)
    follower.table.recount_owner(owner.me.id)
    assert follower.table.root(peer) == with_it


def test_roots_kept_up_by_and_by_are_those_made_afresh() -> None:
    random = Random(5)
    owners, follower = [Host(at) for at in range(1, 6)], Host(100)
    for host in (*owners, follower):
        host.has()
    for owner in owners:
        follower.knows(owner)
    for _ in range(300):
        owner = random.choice(owners)
        action = random.random()
        if action < 0.6:
            owner.set(random.randbytes(1), random.choice((b"", b"1", None)))
        elif action < 0.9:
            follower.copy(owner)
        else:
            stream = follower.table.get(owner.me.id, SCOPE)
            if stream is not None:
                follower.table.drop(stream)
        peer = follower.roster.get(owner.me.id)
        assert peer is not None
        afresh = 0
        for stream in follower.table:
            if follower.table.counts(stream):
                afresh ^= stream.digest()
        assert follower.table.root(peer) == afresh
    assert follower.table.rows == sum(len(stream.rows) for stream in follower.table)


def test_an_unknown_members_stream_does_not_count() -> None:
    host = Host()
    assert not host.table.counts(Stream(77, EPOCH, 0, 1))
    claim = Alive(77, EPOCH, 0, "n", b"\x0a\0\0\1", 4789, 7947)
    host.roster.adopt(Peer(claim, 0.0), 0.0)
    assert host.table.counts(Stream(77, EPOCH, 0, 1))
    assert not host.table.counts(Stream(77, EPOCH - 1, 0, 1))
