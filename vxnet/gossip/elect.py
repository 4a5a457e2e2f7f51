"""Which owner's word on a station counts, and stations that move too often (RFC 7432 §15).

The winner is a pure function of the claims that are visible now, so nodes that hold the same claims
forward alike: static beats not, then the higher sequence number, then the lower VTEP.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from vxnet.gossip.events import AlarmKind, Entry, EntryFlag, EntryGone, EntrySet
from vxnet.gossip.hub import Hub
from vxnet.wire.addr import Mac, Vni, Vtep, format_ip, format_mac

__all__ = ["Election"]

MOVES_KEPT = 65_536
LINK_LOCAL = b"\xfe\x80"  # made from the MAC by each station itself: never a clash of its own

Station = tuple[int, bytes]  # VNI and MAC


class Election:
    """`lost(vni, mac)` is called when a station of `me` was taken over by somebody else."""

    def __init__(self, me: int, hub: Hub, lost: Callable[[Vni, Mac], None]) -> None:
        self._me = me
        self._hub = hub
        self._lost = lost
        self._claims: dict[int, dict[bytes, tuple[Entry, ...]]] = {}  # the winner first
        self._ips: dict[tuple[int, bytes], dict[bytes, Entry]] = {}  # winners by address, by MAC
        self._moves: OrderedDict[Station, deque[float]] = OrderedDict()
        self._frozen: dict[Station, float] = {}

    # ── claims ──────────────────────────────────────────────────────────────────────────────

    def set(self, entry: Entry, now: float) -> None:
        """An owner claims a station, or says something else of it."""
        claims = self._claims.setdefault(entry.vni, {})
        old = claims.get(entry.mac)
        if old is None:  # by far the most
            claims[entry.mac] = (entry,)
            self._hub.events.append(EntrySet(entry))
            self._list(entry)
            return
        new = sorted((*(e for e in old if e.owner != entry.owner), entry), key=_rank)
        claims[entry.mac] = tuple(new)
        self._settle(entry.vni, entry.mac, old, tuple(new), now)

    def remove(self, vni: int, mac: bytes, owner: int, now: float) -> None:
        """An owner no longer claims a station."""
        claims = self._claims.get(vni)
        old = claims.get(mac, ()) if claims else ()
        new = tuple(entry for entry in old if entry.owner != owner)
        if claims is None or len(new) == len(old):
            return
        if new:
            claims[mac] = new
        else:
            del claims[mac]
            if not claims:
                del self._claims[vni]
        self._settle(vni, mac, old, new, now)

    def winner(self, vni: int, mac: bytes) -> Entry | None:
        """The entry that counts."""
        claims = self._claims.get(vni, {}).get(mac)
        return claims[0] if claims else None

    def winners(self, vni: int | None = None) -> Iterator[Entry]:
        """All entries that count, of one network or of all."""
        if vni is not None:
            return (claims[0] for claims in self._claims.get(vni, {}).values())
        return (claims[0] for held in self._claims.values() for claims in held.values())

    def _settle(
        self, vni: int, mac: bytes, old: tuple[Entry, ...], new: tuple[Entry, ...], now: float
    ) -> None:
        before = old[0] if old else None
        after = new[0] if new else None
        if before == after:
            return
        if before is not None:
            self._unlist(before)
        if after is None:
            self._hub.events.append(EntryGone(Vni(vni), Mac(mac)))
            return
        self._hub.events.append(EntrySet(after))
        self._list(after)
        if before is None or before.owner == after.owner:
            return
        if after.sequence > before.sequence:
            self._moved((vni, mac), after, now)
        mine = next((e for e in new if e.owner == self._me), None)
        if mine is not None and mine is not after and after.sequence > mine.sequence:
            self._lost(mine.vni, mine.mac)
        elif len(new) > 1 and after.sequence == new[1].sequence and not _pinned(after):
            self._hub.alarm(
                AlarmKind.DUPLICATE_ADDRESS,
                (vni, mac),
                f"MAC {format_mac(mac)} is claimed at {new[0].vtep} and at {new[1].vtep} alike;"
                f" the lower counts; give one station of network {vni} another MAC",
            )

    # ── moves ───────────────────────────────────────────────────────────────────────────────

    def sequence(self, vni: int, mac: bytes, now: float, *, moved: bool) -> int | None:
        """Under which number this host may claim a station now; None where it must not."""
        winner = self.winner(vni, mac)
        if winner is None:
            return 0
        if winner.owner == self._me:
            return winner.sequence
        if _pinned(winner):
            self._hub.counters["pinned_refused"] += 1
            return None
        if moved and self.frozen(vni, mac, now):
            self._hub.counters["frozen_refused"] += 1
            return None
        return winner.sequence + 1

    def frozen(self, vni: int, mac: bytes, now: float) -> bool:
        """Whether a station moved too often to be believed."""
        until = self._frozen.get((vni, mac))
        if until is None:
            return False
        if now < until:
            return True
        self.unfreeze(vni, mac)
        return False

    def unfreeze(self, vni: int, mac: bytes) -> None:
        """Believe a station again."""
        self._frozen.pop((vni, mac), None)
        self._moves.pop((vni, mac), None)
        self._hub.over(AlarmKind.MAC_FROZEN, (vni, mac))

    def _moved(self, station: Station, entry: Entry, now: float) -> None:
        settings = self._hub.settings
        times = self._moves.get(station)
        if times is None:
            times = self._moves[station] = deque(maxlen=settings.moves_max)
            if len(self._moves) > MOVES_KEPT:
                self._moves.popitem(last=False)
        times.append(now)
        if len(times) < settings.moves_max or now - times[0] > settings.moves_window_s:
            return
        self._frozen[station] = now + settings.frozen_s
        self._hub.alarm(
            AlarmKind.MAC_FROZEN,
            station,
            f"MAC {format_mac(station[1])} of network {station[0]} moved {len(times)} times within"
            f" {settings.moves_window_s:.0f} s, last to {entry.vtep}; it is frozen there; look for"
            " a loop or a second station with this MAC",
        )

    # ── addresses ───────────────────────────────────────────────────────────────────────────

    def _list(self, entry: Entry) -> None:
        for ip in entry.ips:
            holders = self._ips.setdefault((entry.vni, ip), {})
            other = next(iter(holders.values()), None)
            holders[entry.mac] = entry
            if other is None or other.mac == entry.mac or ip.startswith(LINK_LOCAL):
                continue
            if EntryFlag.GATEWAY in entry.flags & other.flags:
                continue
            self._hub.alarm(
                AlarmKind.DUPLICATE_IP,
                (entry.vni, ip),
                f"{format_ip(ip)} in network {entry.vni} belongs to {format_mac(other.mac)} at"
                f" {other.vtep} and to {format_mac(entry.mac)} at {entry.vtep}; change one",
            )

    def _unlist(self, entry: Entry) -> None:
        for ip in entry.ips:
            holders = self._ips.get((entry.vni, ip), {})
            holders.pop(entry.mac, None)
            if len(holders) < 2:
                self._hub.calm(AlarmKind.DUPLICATE_IP, (entry.vni, ip))
            if not holders:
                self._ips.pop((entry.vni, ip), None)


def _pinned(entry: Entry) -> bool:
    return EntryFlag.STATIC in entry.flags


def _rank(entry: Entry) -> tuple[bool, int, int, Vtep, int]:
    return (not _pinned(entry), -entry.sequence, len(entry.vtep.ip), entry.vtep, entry.owner)
