"""What a large forwarding table costs: to be programmed, to be held, and to be replaced."""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.bed import Pair
from benchmarks.process import program, run
from benchmarks.questions.base import Metric, Setting, tool, wait_for_line

__all__ = ["Growth", "Upheaval"]


@dataclass(frozen=True, slots=True)
class Growth:
    """What the peer reported of itself when it started."""

    name: str = "table"
    title: str = "Forwarding table"
    underlay_mtu: int = 1500

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Time for a hundred thousand entries; memory of the whole process for each."""
        return (
            Metric("table.programming", self.title, "programming 100,000", "s", False),
            Metric("table.bytes", self.title, "memory an entry", "bytes", False, 0),
        )

    def ask(self, pair: Pair, setting: Setting) -> Mapping[str, float]:
        """Nothing is measured here: the carrier has."""
        if not pair.facts:
            return {}
        return {
            "table.programming": pair.facts["programming_s"],
            "table.bytes": pair.facts["entry_bytes"],
        }


@dataclass(frozen=True, slots=True)
class Upheaval:
    """Round trips while the near host's whole table is replaced."""

    name: str = "upheaval"
    title: str = "RTT while all entries change"
    underlay_mtu: int = 1500

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The median, and the longest wait of all: how long traffic stood still."""
        return (
            Metric("upheaval.p50", self.title, "p50", "µs", False, 0),
            Metric("upheaval.longest", self.title, "longest", "µs", False, 0),
        )

    def ask(self, pair: Pair, setting: Setting) -> Mapping[str, float]:
        """Have the table replaced, and watch."""
        if not pair.facts:
            return {}
        log = setting.directory / "pingpong.log"
        with program(tool(pair.far, "pingpong.py", "echo"), log) as echo:
            wait_for_line(echo, "ready")
            os.kill(pair.pids[0], signal.SIGUSR1)
            words = ("ask", pair.far.address, "--seconds", setting.seconds)
            answer = json.loads(run(tool(pair.near, "pingpong.py", *words)))
        return {"upheaval.p50": answer["p50"], "upheaval.longest": answer["max"]}
