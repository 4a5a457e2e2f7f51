"""What the programs that carry the overlay take of a host when nothing happens."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bed import Pair
from benchmarks.questions.base import Metric, Setting

__all__ = ["Footprint", "proportional_bytes", "run_ns"]

SETTLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Footprint:
    """Asked after the traffic, when buffers have grown to their size."""

    name: str = "footprint"
    title: str = "Programs at rest, each host"
    underlay_mtu: int = 1500

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Memory, pages shared with other programs by share; and the share of one core."""
        return (
            Metric("footprint.mb", self.title, "memory", "MB", False, 1),
            Metric("footprint.cpu", self.title, "CPU", "% of a core", False),
        )

    def ask(self, pair: Pair, setting: Setting) -> Mapping[str, float]:
        """Both hosts' programs, halved; an overlay without programs answers nothing."""
        if not pair.pids:
            return {}
        rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pair.pids]
        time.sleep(SETTLE_S)
        before, start = sum(map(run_ns, pair.pids)), time.monotonic_ns()
        time.sleep(setting.seconds)
        spent, elapsed = sum(map(run_ns, pair.pids)) - before, time.monotonic_ns() - start
        return {
            "footprint.mb": sum(map(proportional_bytes, rollups)) / 2 / 1e6,
            "footprint.cpu": 100 * spent / elapsed / 2,
        }


def proportional_bytes(rollup: str) -> int:
    """The Pss of the text of /proc/PID/smaps_rollup."""
    for line in rollup.splitlines():
        name, _, value = line.partition(":")
        if name == "Pss":
            return int(value.split()[0]) * 1024
    raise ValueError(f"no Pss in {rollup!r}")


def run_ns(pid: int) -> int:
    """How long all threads of a process have run so far."""
    return sum(
        int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )
