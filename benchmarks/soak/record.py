"""What the long run saw, lap by lap, and what it says: leaks, lost counters, wedges."""

from collections.abc import Iterator, Sequence
from statistics import median

import msgspec

__all__ = ["Lap", "Record", "complaints"]

GROWTH_BYTES = 4 << 20
GROWTH_SHARE = 0.05
LAPS_MIN = 10
"""With fewer, there is no telling a slow leak from buffers that find their size."""


class Lap(msgspec.Struct, frozen=True):
    """One round of mischief, and how every daemon was at rest after it."""

    number: int
    at_s: float
    memory_bytes: dict[str, int]  # by host
    descriptors: dict[str, int]
    threads: dict[str, int]
    frames: int  # that had entered anywhere by then
    slowest_s: float  # of what had to be well again
    slowest: str


class Record(msgspec.Struct):
    """The whole run."""

    datapath: str
    started: str
    minutes: float
    laps: list[Lap] = []
    problems: list[str] = []
    idle_s: float = 0.0  # a connection through a service said nothing for so long


def complaints(record: Record) -> Iterator[str]:
    """Everything that should not have been, in sentences; nothing where all is well."""
    yield from record.problems
    if not record.laps:
        yield "not one lap was finished"
        return
    for host in record.laps[0].memory_bytes:
        yield from _leak(host, record.laps)


def _leak(host: str, laps: Sequence[Lap]) -> Iterator[str]:
    """Memory by its thirds, as a lap more or less says little; descriptors must be the same."""
    descriptors = {lap.descriptors[host] for lap in laps}
    if len(descriptors) > 1:
        least, most = min(descriptors), max(descriptors)
        yield f"{host} had {least} descriptors after one lap and {most} after another"
    if len(laps) < LAPS_MIN:
        return
    settled = laps[len(laps) // 10 :]
    third = len(settled) // 3
    first, last = (
        median(lap.memory_bytes[host] for lap in some)
        for some in (settled[:third], settled[-third:])
    )
    if last - first > max(GROWTH_BYTES, GROWTH_SHARE * first):
        yield (
            f"{host} grew from {first / 1e6:.1f} to {last / 1e6:.1f} MB "
            "between the first and the last third of the run"
        )
