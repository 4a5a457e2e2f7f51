"""TCP connections a second, each with one byte there and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.bed import Pair
from benchmarks.process import program, run
from benchmarks.questions.base import Metric, Setting, tool, wait_for_line
from vxnet.errors import HostError

__all__ = ["Connections"]


@dataclass(frozen=True, slots=True)
class Connections:
    """Our connect tool between the ends, sixteen connections under way at any time."""

    name: str = "connections"
    title: str = "TCP connections"
    underlay_mtu: int = 1500

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Completed a second."""
        return (Metric("connections.rate", self.title, "completed", "/s", True, 0),)

    def ask(self, pair: Pair, setting: Setting) -> Mapping[str, float]:
        """Open and close for a while."""
        log = setting.directory / "connect.log"
        with program(tool(pair.far, "connect.py", "accept"), log) as acceptor:
            wait_for_line(acceptor, "ready")
            words = ("open", pair.far.address, "--seconds", setting.seconds)
            answer = json.loads(run(tool(pair.near, "connect.py", *words)))
        if not answer["done"]:
            raise HostError(f"no connection was completed, {answer['failed']} failed")
        return {"connections.rate": answer["done"] / answer["seconds"]}
