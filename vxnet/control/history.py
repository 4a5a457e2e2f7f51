"""What the control plane told and when it was applied here, for as long as there is room."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vxnet.gossip.events import (
    EntryGone,
    EntrySet,
    Event,
    Member,
    MemberChanged,
    MemberState,
    NodeId,
)
from vxnet.wire.addr import Ip, Mac, Vni

__all__ = ["History", "Line"]

LINES_MAX: Final = 65_536
"""About 20 MB at the most; the oldest go first."""

MEMBER_WORDS: Final = {
    MemberState.ALIVE: "alive",
    MemberState.SUSPECT: "in doubt",
    MemberState.DEAD: "dead",
    MemberState.LEFT: "left",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One change. Of a member, or of the station (`vni`, `mac`) that `owner` announced.

    `applied_ms` and `announced_ms` are Unix times, of this host's clock and of the owner's.
    """

    applied_ms: int
    what: str
    owner: NodeId
    name: str = ""
    vni: Vni | None = None
    mac: Mac | None = None
    ips: tuple[Ip, ...] = ()
    announced_ms: int | None = None
    version: int | None = None
    sequence: int | None = None


class History:
    """Hears the control plane. What it is asked, it answers oldest first."""

    def __init__(self, now_ms: Callable[[], int], lines_max: int = LINES_MAX) -> None:
        self._now_ms = now_ms
        self._lines: deque[Line] = deque(maxlen=lines_max)
        self._last: dict[tuple[Vni, Mac], Line] = {}

    def hear(self, events: Sequence[Event]) -> None:
        """Take note of what happened."""
        now_ms = self._now_ms()
        for event in events:
            match event:
                case MemberChanged(member):
                    self._lines.append(_member(member, now_ms))
                case EntrySet(entry):
                    before = self._last.get((entry.vni, entry.mac))
                    moved = before is not None and before.owner != entry.owner
                    line = Line(
                        now_ms,
                        "announced" if before is None else "moved" if moved else "changed",
                        entry.owner,
                        vni=entry.vni,
                        mac=entry.mac,
                        ips=entry.ips,
                        announced_ms=entry.announced_ms or None,
                        version=entry.version,
                        sequence=entry.sequence,
                    )
                    self._last[entry.vni, entry.mac] = line
                    self._lines.append(line)
                case EntryGone(vni, mac):
                    last = self._last.pop((vni, mac), None)
                    if last is not None:
                        self._lines.append(
                            Line(now_ms, "gone", last.owner, vni=vni, mac=mac, ips=last.ips)
                        )
                case _:
                    continue

    def of_mac(self, mac: Mac) -> Iterator[Line]:
        """What happened to a station, in every network."""
        return (line for line in self._lines if line.mac == mac)

    def of_ip(self, ip: Ip) -> Iterator[Line]:
        """What happened to the stations that have, or had, an address."""
        return (line for line in self._lines if ip in line.ips)

    def of_peer(self, owners: frozenset[NodeId], name: str) -> Iterator[Line]:
        """What became of a host, and what it announced."""
        return (
            line for line in self._lines if line.owner in owners or (name and line.name == name)
        )


def _member(member: Member, now_ms: int) -> Line:
    return Line(now_ms, MEMBER_WORDS[member.state], member.id, name=member.name)
