"""Addresses without a leader: no two owners, whatever happens; at rest everything accounted for."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vxnet.cnm.claims import RangeRow
from vxnet.cnm.ipam import GRACE_MS, Need, Pool
from vxnet.cnm.ring import Ring, Segment
from vxnet.errors import StateError

FIRST, LAST = 1, 62
segments = st.builds(
    lambda start, size, owner, version: Segment(start, min(LAST, start + size), owner, version),
    st.integers(FIRST, LAST),
    st.integers(0, 30),
    st.integers(1, 4),
    st.integers(1, 6),
)


def owners(ring: Ring) -> dict[int, tuple[int, int]]:
    """Every address with its owner and version."""
    return {n: (s.owner, s.version) for s in ring for n in range(s.start, s.end + 1)}


@settings(deadline=None)
@given(st.lists(segments, max_size=12), st.randoms(use_true_random=False))
def test_a_map_is_the_same_in_whatever_order_it_was_heard(
    heard: list[Segment], random: Random
) -> None:
    one = Ring(heard)
    random.shuffle(heard)
    other = Ring([*heard, *heard])
    assert list(one) == list(other)
    expected: dict[int, tuple[int, int]] = {}
    for segment in heard:
        for number in range(segment.start, segment.end + 1):
            known = expected.get(number)
            if known is None or segment.rank > (known[1], -known[0]):
                expected[number] = (segment.owner, segment.version)
    assert owners(one) == expected


@settings(deadline=None)
@given(st.lists(segments, min_size=1, max_size=8))
def test_parts_never_overlap_and_neighbours_are_joined(heard: list[Segment]) -> None:
    parts = list(Ring(heard))
    for one, other in pairwise(parts):
        assert one.end < other.start
        assert one.end + 1 < other.start or one.rank != other.rank


@dataclass
class Host:
    """A host of the storm: what is on its disk, and what it hears of others."""

    id: int
    pool: Pool
    names: dict[int, str] = field(default_factory=dict)
    disk: list[Segment] = field(default_factory=list)
    up: bool = True


class Storm:
    """Hosts that attach, detach, ask, crash, part and meet again, in a random order."""

    def __init__(self, seed: int, hosts: int) -> None:
        self.random = Random(seed)
        self.hosts = [Host(n, self.pool(n)) for n in range(1, hosts + 1)]
        self.now_ms = 0
        self.cut: set[int] = set()
        self.told: dict[int, dict[int, RangeRow]] = {host.id: {} for host in self.hosts}
        self.counter = 0
        self.hosts[0].pool.begin([h.id for h in self.hosts])
        self.save(self.hosts[0])

    def pool(self, me: int) -> Pool:
        return Pool(me, creator=1, first=FIRST, last=LAST, reserved=frozenset({FIRST}))

    def save(self, host: Host) -> None:
        """What a host owns is on disk before others hear of it."""
        host.disk = list(host.pool.ring)
        rows = {row.start: row for row in host.pool.rows()}
        for start in self.told[host.id].keys() - rows.keys():
            for other in self.reachable(host):
                other.pool.unhear(host.id, start)
        self.told[host.id] = rows

    def reachable(self, host: Host) -> Iterator[Host]:
        for other in self.hosts:
            if other is not host and other.up and (other.id in self.cut) == (host.id in self.cut):
                yield other

    def gossip(self, host: Host) -> None:
        for other in self.reachable(host):
            changed = [other.pool.hear(row, host.id) for row in self.told[host.id].values()]
            if any(changed):
                self.save(other)

    def attach(self, host: Host) -> None:
        self.counter += 1
        wanted = self.random.randint(FIRST + 1, LAST) if self.random.random() < 0.3 else None
        name = f"e{self.counter}"
        for _ in range(len(self.hosts)):
            try:
                got = host.pool.allocate(name, self.now_ms, wanted=wanted)
            except StateError:
                return
            if not isinstance(got, Need):
                assert got not in host.names, "handed out twice by one host"
                host.names[got] = name
                return
            donors = [d for d in self.reachable(host) if d.id in got.owners]
            if not donors:
                return
            donor = self.random.choice(donors)
            if donor.pool.share(host.id, wanted, self.now_ms) is None:
                self.save(donor)
                if self.random.random() < 0.9:  # or the row is late
                    self.gossip(donor)

    def detach(self, host: Host) -> None:
        if host.names:
            number = self.random.choice(sorted(host.names))
            del host.names[number]
            host.pool.release(number, self.now_ms)

    def crash(self, host: Host) -> None:
        """Everything in memory is lost; the disk and the endpoints stay."""
        host.pool = self.pool(host.id)
        for segment in host.disk:
            host.pool.ring.merge(segment)
        for number, name in host.names.items():
            host.pool.resume(number, name, self.now_ms)

    def step(self) -> None:
        host = self.random.choice(self.hosts)
        self.now_ms += self.random.randrange(GRACE_MS // 4)
        match self.random.randrange(10):
            case 0:
                self.crash(host)
            case 1:
                self.cut = {h.id for h in self.hosts if self.random.random() < 0.5}
            case 2:
                self.cut = set()
            case 3 | 4:
                self.detach(host)
            case 5 | 6:
                self.gossip(host)
            case _:
                self.attach(host)
        self.check()

    def check(self) -> None:
        """No address is in use twice, or owned twice."""
        used = [number for host in self.hosts for number in host.names]
        assert len(used) == len(set(used)), "one address for two endpoints"
        owned = [
            n for h in self.hosts for s in h.pool.ring.of(h.id) for n in range(s.start, s.end + 1)
        ]
        assert len(owned) == len(set(owned)), "one address with two owners"

    def rest(self) -> None:
        """Everybody hears everybody, and grace is over."""
        self.cut = set()
        for _ in range(len(self.hosts) + 1):
            for host in self.hosts:
                self.save(host)
                self.gossip(host)
        self.now_ms += GRACE_MS + 1


@pytest.mark.parametrize("hosts", [2, 3, 5])
@pytest.mark.parametrize("seed", range(60))
def test_no_address_is_ever_handed_out_twice(seed: int, hosts: int) -> None:
    storm = Storm(seed, hosts)
    for _ in range(250):
        storm.step()
    storm.rest()
    first = list(storm.hosts[0].pool.ring)
    for host in storm.hosts:
        assert list(host.pool.ring) == first
        host.pool.allocate("last", storm.now_ms, wanted=None)
        held = {n for n, hold in host.pool.holds.items() if hold.holder != "last"}
        assert held == set(host.names)
    owned = sum(s.size for s in first)
    assert owned == LAST - FIRST + 1, "an address was lost"


def test_a_row_that_nobody_has_to_say_any_more_is_not_said() -> None:
    giver, taker = Pool(1, 1, FIRST, LAST), Pool(2, 1, FIRST, LAST)
    giver.begin([2])
    assert {row.owner for row in giver.rows()} == {1, 2}
    for row in giver.rows():
        taker.hear(row, 1)
    for row in taker.rows():
        giver.hear(row, 2)
    assert {row.owner for row in giver.rows()} == {1}
    assert {row.owner for row in taker.rows()} == {2}


def test_what_a_dead_host_owned_is_reclaimed_and_it_hears_of_it_when_it_is_back() -> None:
    dead, other = Pool(1, 1, FIRST, LAST), Pool(2, 1, FIRST, LAST)
    dead.begin([2])
    for row in dead.rows():
        other.hear(row, 1)
    number = dead.allocate("web", 0)
    assert isinstance(number, int)
    assert other.reclaim(1) == 31
    assert other.free() == LAST - FIRST + 1
    for row in other.rows():
        dead.hear(row, 2)
    assert dead.lost() == [number]
    assert dead.free() == 0


def test_two_hosts_that_reclaim_at_once_agree() -> None:
    pools = [Pool(me, 1, FIRST, LAST) for me in (1, 2, 3)]
    pools[0].begin([2, 3])
    for pool in pools[1:]:
        for row in pools[0].rows():
            pool.hear(row, 1)
    pools[1].reclaim(1)
    pools[2].reclaim(1)
    for _ in range(2):
        for row in list(pools[1].rows()):
            pools[2].hear(row, 2)
        for row in list(pools[2].rows()):
            pools[1].hear(row, 3)
    assert list(pools[1].ring) == list(pools[2].ring)


def test_an_address_that_was_given_back_rests_unless_it_is_asked_for() -> None:
    pool = Pool(1, 1, 1, 2)
    pool.begin([])
    assert pool.allocate("a", 0) == 1
    pool.release(1, 0)
    assert pool.allocate("b", 1) == 2
    assert pool.allocate("c", 2, wanted=1) == 1
    pool.release(2, 3)
    assert pool.allocate("d", 4) == 2  # better a tired one than none
    assert isinstance(pool.allocate("e", 5), Need)
    with pytest.raises(StateError, match="it is held by c"):
        pool.allocate("f", 6, wanted=1)


def test_grace_ends() -> None:
    pool = Pool(1, 1, 1, 2)
    pool.begin([])
    pool.allocate("a", 0)
    pool.release(1, 0)
    pool.allocate("b", GRACE_MS)
    assert pool.holds[1].holder == "b"


def test_a_held_address_is_not_shared() -> None:
    pool = Pool(1, 1, 1, 4)
    pool.begin([])
    number = pool.allocate("web", 0)
    assert pool.share(2, number if isinstance(number, int) else None, 1) == "it is held by web"
    assert pool.share(2, 3, 1) is None
    assert pool.share(3, 3, 1) == "it is not ours to give"
    assert pool.ring.owner_of(3) == 2


def test_rows_of_another_map_or_out_of_bounds_change_nothing() -> None:
    pool = Pool(2, 1, FIRST, LAST)
    assert not pool.hear(RangeRow(1, 5, 9, 1, creator=7), 9)
    assert not pool.hear(RangeRow(0, 5, 9, 1, creator=1), 9)
    assert not pool.hear(RangeRow(5, LAST + 1, 9, 1, creator=1), 9)
    assert not pool.hear(RangeRow(6, 5, 9, 1, creator=1), 9)
    assert list(pool.ring) == []
