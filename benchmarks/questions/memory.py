"""Memory of the programs that carry the overlay, for each host."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bed import Pair
from benchmarks.questions.base import Metric, Setting

__all__ = ["Memory", "proportional_bytes"]


@dataclass(frozen=True, slots=True)
class Memory:
    """What /proc says; asked after the traffic, when buffers have grown to their size."""

    name: str = "memory"
    title: str = "Memory of the programs"
    underlay_mtu: int = 1500

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """A share of pages that several programs have in common counts for each."""
        return (Metric("memory.mb", self.title, "each host", "MB", False, 1),)

    def ask(self, pair: Pair, setting: Setting) -> Mapping[str, float]:
        """Add up both hosts' programs and halve; an overlay without programs answers nothing."""
        if not pair.pids:
            return {}
        rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pair.pids]
        return {"memory.mb": sum(map(proportional_bytes, rollups)) / 2 / 1e6}


def proportional_bytes(rollup: str) -> int:
    """The Pss of the text of /proc/PID/smaps_rollup."""
    for line in rollup.splitlines():
        name, _, value = line.partition(":")
        if name == "Pss":
            return int(value.split()[0]) * 1024
    raise ValueError(f"no Pss in {rollup!r}")
