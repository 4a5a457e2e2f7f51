"""Addresses without a leader: one host's part of every subnet, and how parts are handed on.

Sans-IO: rows in, rows out. Whoever made a network owns its subnets and hands parts to the members
there are; a host without a free address asks the one that owns most. What a host owns it gives to
its own endpoints without asking anybody, so a partition goes on. See `ring` for why no address ever
has two owners.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from vxnet.cnm.claims import RangeRow
from vxnet.cnm.model import IpNetwork, NetworkId
from vxnet.cnm.ring import RECLAIM_STEP, Ring, Segment
from vxnet.errors import StateError

__all__ = ["GRACE_MS", "Hold", "Need", "Pool", "PoolId"]

GRACE_MS: Final = 60_000
"""How long an address that was given back is left alone, so that nobody takes one for the other."""

PoolId = tuple[NetworkId, IpNetwork]


@dataclass(frozen=True, slots=True)
class Hold:
    """An address of this host that is not free: in use, or in grace once `until_ms` is set."""

    holder: str
    since_ms: int
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """No address without somebody else: who may have one, the likeliest first."""

    owners: tuple[int, ...]


@dataclass(slots=True)
class Pool:
    """One subnet, as one host (`me`) has it.

    Addresses are numbers, counted from the subnet's own. `creator` made the network; a map of
    another creator is another map. `first` and `last` bound what stations may have, and `reserved`
    is left out of it.
    """

    me: int
    creator: int
    first: int
    last: int
    reserved: frozenset[int] = frozenset()
    ring: Ring = field(default_factory=Ring)
    holds: dict[int, Hold] = field(default_factory=dict)
    _said: dict[int, dict[int, Segment]] = field(default_factory=dict)
    """What each other host says is its own, by where it starts."""

    def begin(self, members: Iterable[int]) -> None:
        """Own all of a subnet that was just made, and hand parts to the members there are."""
        self.ring.merge(Segment(self.first, self.last, self.me, 1))
        hosts = sorted({self.me, *members})
        size = self.last - self.first + 1
        share = size // len(hosts)
        if share == 0:
            return
        for position, host in enumerate(hosts):
            if host != self.me:
                start = self.first + position * share
                self.ring.hand_on(start, start + share - 1, host)

    def hear(self, row: RangeRow, speaker: int) -> bool:
        """Somebody says whose a part is; returns whether that changed anything."""
        if row.creator != self.creator or not self.first <= row.start <= row.end <= self.last:
            return False
        segment = Segment(row.start, row.end, row.owner, row.version)
        if speaker == row.owner:
            self._said.setdefault(speaker, {})[row.start] = segment
        return self.ring.merge(segment)

    def unhear(self, speaker: int, start: int) -> None:
        """Somebody's row is gone; what it said of an owner remains true."""
        self._said.get(speaker, {}).pop(start, None)

    def rows(self) -> Iterator[RangeRow]:
        """What this host has to say: its own parts, and those it handed on to who is silent yet."""
        for segment in self.ring:
            if segment.owner == self.me or not self._is_confirmed(segment):
                yield RangeRow(
                    segment.start, segment.end, segment.owner, segment.version, self.creator
                )

    def allocate(
        self, holder: str, now_ms: int, *, wanted: int | None = None, start: int = 0
    ) -> int | Need:
        """An address for a holder: the wanted one, or a free one from `start` on.

        Raises StateError where the wanted one is held here.
        """
        self._expire(now_ms)
        if wanted is not None:
            return self._allocate_wanted(wanted, holder, now_ms)
        found = self._find_free(start)
        if found is None:
            found = self._oldest_in_grace()
        if found is None:
            return Need(self._likely_owners())
        self.holds[found] = Hold(holder, now_ms)
        return found

    def candidates(self, first: int, last: int) -> Iterator[int]:
        """What of a part of the subnet nobody here holds: this host's own first."""
        first, last = max(first, self.first), min(last, self.last)
        for own in (True, False):
            for number in range(first, last + 1):
                held = number in self.holds or number in self.reserved
                if not held and (self.ring.owner_of(number) == self.me) is own:
                    yield number

    def resume(self, address: int, holder: str, since_ms: int) -> None:
        """An endpoint from before a restart has this address."""
        self.holds[address] = Hold(holder, since_ms)

    def rest(self, address: int, holder: str, since_ms: int, until_ms: int, now_ms: int) -> None:
        """An address was in grace before a restart; a clock that jumped makes that no longer."""
        if until_ms > now_ms and address not in self.holds:
            self.holds[address] = Hold(holder, since_ms, min(until_ms, now_ms + GRACE_MS))

    def release(self, address: int, now_ms: int) -> None:
        """Nobody uses an address any more; for a while nobody gets it unasked."""
        hold = self.holds.get(address)
        if hold is not None and hold.until_ms is None:
            self.holds[address] = Hold(hold.holder, hold.since_ms, now_ms + GRACE_MS)

    def share(self, asker: int, wanted: int | None, now_ms: int) -> str | None:
        """Hand something to a host that asked; returns why not, or None where it was done."""
        self._expire(now_ms)
        if wanted is not None:
            if self.ring.owner_of(wanted) != self.me:
                return "it is not ours to give"
            hold = self.holds.get(wanted)
            if hold is not None and hold.until_ms is None:
                return f"it is held by {hold.holder}"
            self.holds.pop(wanted, None)
            self.ring.hand_on(wanted, wanted, asker)
            return None
        run = self._longest_free_run()
        if run is None:
            waiting = self._oldest_in_grace()
            if waiting is None:
                return "there is none left"
            del self.holds[waiting]
            run = (waiting, waiting)
        start, end = run
        middle = start if start == end else start + (end - start + 1) // 2
        self.ring.hand_on(middle, end, asker)
        return None

    def reclaim(self, owner: int) -> int:
        """Take over what a host owned that will not come back; returns how many addresses."""
        taken = 0
        for segment in self.ring.of(owner):
            self.ring.hand_on(segment.start, segment.end, self.me, step=RECLAIM_STEP)
            taken += segment.size
        return taken

    def lost(self) -> list[int]:
        """Addresses in use here that are not this host's any more: somebody reclaimed them."""
        return [
            address
            for address, hold in self.holds.items()
            if hold.until_ms is None and self.ring.owner_of(address) not in (self.me, None)
        ]

    def free(self) -> int:
        """How many addresses this host could hand out."""
        owned = sum(segment.size for segment in self.ring.of(self.me))
        blocked = sum(
            self.ring.owner_of(address) == self.me for address in self.reserved | self.holds.keys()
        )
        return owned - blocked

    def _allocate_wanted(self, wanted: int, holder: str, now_ms: int) -> int | Need:
        hold = self.holds.get(wanted)
        if hold is not None and hold.until_ms is None:
            raise StateError(f"it is held by {hold.holder}")
        owner = self.ring.owner_of(wanted)
        if owner != self.me:
            return Need(() if owner is None else (owner,))
        self.holds[wanted] = Hold(holder, now_ms)
        return wanted

    def _find_free(self, start: int) -> int | None:
        """The first free address of ours, going round from `start`."""
        mine = self.ring.of(self.me)
        turned = [s for s in mine if s.end >= start] + [s for s in mine if s.end < start]
        for position, segment in enumerate(turned):
            begin = max(segment.start, start) if position == 0 else segment.start
            for number in range(begin, segment.end + 1):
                if number not in self.holds and number not in self.reserved:
                    return number
        if mine and start > self.first:
            return self._find_free(self.first)
        return None

    def _oldest_in_grace(self) -> int | None:
        waiting = [
            (hold.until_ms, number)
            for number, hold in self.holds.items()
            if hold.until_ms is not None and self.ring.owner_of(number) == self.me
        ]
        return min(waiting)[1] if waiting else None

    def _likely_owners(self) -> tuple[int, ...]:
        sizes: dict[int, int] = {}
        for segment in self.ring:
            if segment.owner != self.me:
                sizes[segment.owner] = sizes.get(segment.owner, 0) + segment.size
        return tuple(sorted(sizes, key=lambda owner: (-sizes[owner], owner)))

    def _longest_free_run(self) -> tuple[int, int] | None:
        blocked = sorted(self.reserved | self.holds.keys())
        best: tuple[int, int] | None = None
        for segment in self.ring.of(self.me):
            at = segment.start
            for number in [*(b for b in blocked if segment.start <= b <= segment.end), None]:
                end = segment.end if number is None else number - 1
                if at <= end and (best is None or end - at > best[1] - best[0]):
                    best = (at, end)
                if number is not None:
                    at = number + 1
        return best

    def _expire(self, now_ms: int) -> None:
        over = [n for n, h in self.holds.items() if h.until_ms is not None and h.until_ms <= now_ms]
        for number in over:
            del self.holds[number]

    def _is_confirmed(self, segment: Segment) -> bool:
        """Whether the owner of a part says so itself, so that nobody else has to."""
        covered = Ring(
            said
            for said in self._said.get(segment.owner, {}).values()
            if said.version >= segment.version
        )
        at = segment.start
        for said in covered:
            if said.start <= at <= said.end:
                at = said.end + 1
        return at > segment.end
