"""What a daemon takes of its host, and whether its counters add up."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vxnet.api.model import CountersView, StatsView

__all__ = ["Vitals", "look", "unaccounted", "went_back"]


LOOKS: Final = 10
LOOK_EVERY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Vitals:
    """A process at one moment."""

    memory_bytes: int  # its own: what would be free again if it ended
    descriptors: int
    threads: int


def look(pid: int) -> Vitals:
    """As /proc has it."""
    place = Path(f"/proc/{pid}")
    return Vitals(
        memory_bytes=_own_bytes((place / "smaps_rollup").read_text()),
        descriptors=_descriptors(place / "fd"),
        threads=len(list((place / "task").iterdir())),
    )


def _descriptors(folder: Path) -> int:
    """The least of several looks: somebody may be asking at any moment."""
    found = []
    for _ in range(LOOKS):
        found.append(len(list(folder.iterdir())))
        time.sleep(LOOK_EVERY_S)
    return min(found)


def _own_bytes(rollup: str) -> int:
    fields = dict(line.split(":", 1) for line in rollup.splitlines() if ":" in line)
    return sum(int(fields[f"Private_{kind}"].split()[0]) * 1024 for kind in ("Clean", "Dirty"))


def unaccounted(stats: StatsView) -> Iterator[str]:
    """Places where frames entered of which it is not known what became of them.

    While frames are under way there may be such; at rest there is none.
    """
    for place in stats.places:
        received, fates = place.counters.received, _fates(place.counters)
        if received != fates:
            yield f"{place.kind} {place.name}: {received} frames entered, {fates} are accounted for"


def went_back(before: StatsView, after: StatsView) -> Iterator[str]:
    """Places whose counters are lower than they were. Those of a peer that left begin anew."""
    earlier = {
        (place.kind, place.name): place.counters for place in before.places if place.kind != "peer"
    }
    for place in after.places:
        was = earlier.get((place.kind, place.name))
        now = place.counters.received
        if was is not None and now < was.received:
            yield f"{place.kind} {place.name}: {was.received} frames had entered, now {now}"


def _fates(counters: CountersView) -> int:
    settled = counters.delivered + counters.sent + counters.flooded + counters.replied
    return settled + sum(counters.drops.values())
