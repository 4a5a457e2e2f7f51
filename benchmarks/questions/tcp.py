"""TCP throughput: how many bits a second, and what each gigabyte costs in processor time."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bed import End, Pair
from benchmarks.cpu import metered
from benchmarks.process import program, run, wait_until
from benchmarks.questions.base import Metric, Setting
from vxnet.errors import HostError

__all__ = ["Tcp", "iperf_server", "received_bytes"]

PORT = 5201


@dataclass(frozen=True, slots=True)
class Tcp:
    """iperf3 between the ends."""

    name: str
    title: str
    streams: int = 1
    underlay_mtu: int = 1500
    bidirectional: bool = False

    @property
    def metrics(self) -> tuple[Metric, Metric]:
        """Bits that arrived, and the cost of a gigabyte (10^9 bytes) that arrived."""
        return (
            Metric(f"{self.name}.gbps", self.title, "throughput", "Gbit/s", True),
            Metric(f"{self.name}.cpu", self.title, "CPU", "s/GB", False),
        )

    def ask(self, pair: Pair, setting: Setting) -> Mapping[str, float]:
        """Let it run once; count what the receivers got."""
        words = ["iperf3", "-c", pair.far.address, "-t", str(setting.seconds), "-J"]
        words += ["-P", str(self.streams)]
        if self.bidirectional:
            words += ["--bidir"]
        with iperf_server(pair.far, setting.directory), metered() as meter:
            said = run(words, netns=pair.near.netns, timeout_s=setting.seconds + 30)
        size, seconds = received_bytes(said)
        return {
            f"{self.name}.gbps": size * 8 / seconds / 1e9,
            f"{self.name}.cpu": meter.busy_s / (size / 1e9),
        }


@contextmanager
def iperf_server(end: End, directory: Path) -> Iterator[None]:
    """Have an iperf3 server listening at an end."""
    words = ["iperf3", "-s", "-p", str(PORT), "--forceflush"]
    with program(words, directory / "iperf3.log", netns=end.netns) as server:
        wait_until(
            lambda: "Server listening" in server.log.read_text(),
            "iperf3 listening",
            running=server,
        )
        yield


def received_bytes(document: str) -> tuple[int, float]:
    """What arrived, in both directions if there were two, and in how long."""
    end = json.loads(document)["end"]
    sums = [end["sum_received"]]
    if "sum_received_bidir_reverse" in end:
        sums.append(end["sum_received_bidir_reverse"])
    size = sum(one["bytes"] for one in sums)
    if not size:
        raise HostError("iperf3 connected, but not one byte arrived")
    return size, max(one["seconds"] for one in sums)
