"""Datagrams of one size, sent as fast as one sender can: how many arrive, how many are lost."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.bed import Pair
from benchmarks.process import program, run
from benchmarks.questions.base import Metric, Setting, tool, wait_for_line

__all__ = ["Packets"]


@dataclass(frozen=True, slots=True)
class Packets:
    """Our blast tool between the ends; `size` is the UDP payload's."""

    size: int
    underlay_mtu: int = 1500

    @property
    def name(self) -> str:
        """`udp-64` and so on."""
        return f"udp-{self.size}"

    @property
    def title(self) -> str:
        """With the unit people ask for."""
        return f"UDP {self.size} bytes"

    @property
    def metrics(self) -> tuple[Metric, Metric]:
        """Arrived a second; and the share of what was sent that did not arrive.

        A sender that may send faster than the overlay carries is meant to lose: who loses less
        at the same delivered rate merely held the sender back.
        """
        return (
            Metric(f"{self.name}.pps", self.title, "delivered", "/s", True, 0),
            Metric(f"{self.name}.lost", self.title, "lost", "%", False, 1),
        )

    def ask(self, pair: Pair, setting: Setting) -> Mapping[str, float]:
        """Blast for a while."""
        log = setting.directory / "blast.log"
        with program(tool(pair.far, "blast.py", "receive"), log) as receiver:
            wait_for_line(receiver, "ready")
            words = ("send", pair.far.address, "--size", self.size, "--seconds", setting.seconds)
            sent = json.loads(run(tool(pair.near, "blast.py", *words)))
            receiver.wait(30)
            received = json.loads(receiver.said(1))
        lost = 1 - received["received"] / sent["sent"]
        return {
            f"{self.name}.pps": received["received"] / received["seconds"],
            f"{self.name}.lost": 100 * max(lost, 0.0),
        }
