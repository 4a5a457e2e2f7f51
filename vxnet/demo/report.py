"""What a demo found: one result a check, and what there was to see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from vxnet.demo.capture import Sighting

__all__ = ["DriverRow", "Finding", "MemberRow", "Report", "Result", "TableRow"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw: a sentence for people, and the numbers behind it."""

    ok: bool
    seen: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """A check that was made."""

    name: str
    title: str
    ok: bool
    seen: str
    seconds: float
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of a host's forwarding table: a station, and the VTEP or local port it is behind."""

    network: str
    mac: str
    ips: tuple[str, ...]
    behind: str
    source: str


@dataclass(slots=True)
class DriverRow:
    """A driver beside the others. What was not measured is None."""

    driver: str
    scope: str
    own_mac: bool
    own_ip: bool
    crosses_hosts: bool
    way_out: str
    rtt_ms: float | None = None
    gigabits_per_second: float | None = None


@dataclass(slots=True)
class MemberRow:
    """A member of the demo's service, and how many requests it answered, by check."""

    member: str
    host: str
    addresses: tuple[str, ...]
    answered: dict[str, int] = field(default_factory=dict)
    fate: str = ""


@dataclass(slots=True)
class Report:
    """A whole run. It is ok when at least one check was made and every one held."""

    prefix: str
    hosts: int
    datapath: str
    results: list[Result] = field(default_factory=list)
    sightings: Sequence[Sighting] = ()
    tables: Mapping[str, Sequence[TableRow]] = field(default_factory=dict)
    drivers: Sequence[DriverRow] = ()
    members: Sequence[MemberRow] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every check held."""
        return bool(self.results) and all(result.ok for result in self.results)

    def to_json(self) -> str:
        """One document, for programs."""
        document = {
            "ok": self.ok,
            "prefix": self.prefix,
            "hosts": self.hosts,
            "datapath": self.datapath,
            "seconds": round(self.seconds, 3),
            "checks": self.results,
            "capture": self.sightings,
            "fdb": self.tables,
            "drivers": self.drivers,
            "members": self.members,
        }
        return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
