"""Round-trip time of a small message, on an idle overlay or beside a TCP stream."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from benchmarks.bed import Pair
from benchmarks.process import program, run
from benchmarks.questions.base import Metric, Setting, tool, wait_for_line
from benchmarks.questions.tcp import iperf_server
from vxnet.errors import HostError

__all__ = ["Latency"]

QUANTILES = ("p50", "p99", "p99.9")


@dataclass(frozen=True, slots=True)
class Latency:
    """Our ping-pong tool between the ends."""

    name: str
    title: str
    loaded: bool = False
    underlay_mtu: int = 1500

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Three quantiles, in microseconds."""
        return tuple(
            Metric(f"{self.name}.{quantile}", self.title, quantile, "µs", False, 0)
            for quantile in QUANTILES
        )

    def ask(self, pair: Pair, setting: Setting) -> Mapping[str, float]:
        """Play until the time is over; a TCP stream runs alongside when asked loaded."""
        log = setting.directory / "pingpong.log"
        with program(tool(pair.far, "pingpong.py", "echo"), log) as echo:
            wait_for_line(echo, "ready")
            with _stream(pair, setting) if self.loaded else nullcontext():
                words = ("ask", pair.far.address, "--seconds", setting.seconds)
                answer = json.loads(run(tool(pair.near, "pingpong.py", *words)))
        if not answer["count"]:
            raise HostError(f"none of {answer['lost']} messages was answered")
        return {f"{self.name}.{quantile}": answer[quantile] for quantile in QUANTILES}


@contextmanager
def _stream(pair: Pair, setting: Setting) -> Iterator[None]:
    words = ["iperf3", "-c", pair.far.address, "-t", "3600"]
    log = setting.directory / "stream.log"
    with iperf_server(pair.far, setting.directory), program(words, log, netns=pair.near.netns):
        yield
