"""Very many stations, stations that move, and a host that comes back: what only vxnet knows of."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.clusters.base import Cluster
from benchmarks.clusters.vxnet import VxnetAgent, station
from benchmarks.questions.base import Metric, Setting
from benchmarks.questions.cluster import ClusterQuestion
from benchmarks.stats import quantile

__all__ = ["Burst", "Move", "Return"]

BURST = 10_000
TABLE = 100_000
MOVES = 40
FIRST_MOVED = 1 << 20  # numbers of stations that nothing else uses

MOVE_TIMEOUT_S = 10.0
ROWS_TIMEOUT_S = 300.0
LOSS_TIMEOUT_S = 120.0
QUIET_S = 10.0
AFTERWARDS_S = 2.0  # and whatever else the return gives rise to; probes too, so not for long


@dataclass(frozen=True)
class Burst(ClusterQuestion):
    """A host has ten thousand stations all of a sudden."""

    name: str = "burst"
    title: str = "10,000 stations of one host"
    about_stations = True

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Until the last agent has them all."""
        return (Metric("burst.s", self.title, "until all have all", "s", False),)

    def measure(self, cluster: Cluster, setting: Setting) -> Mapping[str, float]:
        """At the first agent."""
        start = time.monotonic()
        return {"burst.s": _hold(cluster, BURST, start)}


@dataclass(frozen=True)
class Move(ClusterQuestion):
    """A station appears elsewhere, as when a virtual machine migrates."""

    name: str = "move"
    title: str = "A station moves"
    about_stations = True

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Until the last agent, the old host included, sends to the new one."""
        return (
            Metric("move.p50", self.title, "until the last follows, p50", "s", False, 3),
            Metric("move.p99", self.title, "p99", "s", False, 3),
        )

    def measure(self, cluster: Cluster, setting: Setting) -> Mapping[str, float]:
        """Each station once: one that moves often is frozen on purpose."""
        agents = _of_vxnet(cluster)
        took = []
        for number in range(MOVES):
            old, new = agents[number % len(agents)], agents[(number + 1) % len(agents)]
            mac = station(FIRST_MOVED + number)
            start = time.monotonic()
            old.order("announce", mac)
            cluster.wait_until_heard(old.holds(mac), agents, start, MOVE_TIMEOUT_S)
            start = time.monotonic()
            new.order("take", mac)
            took.append(cluster.wait_until_heard(new.holds(mac), agents, start, MOVE_TIMEOUT_S))
        return {"move.p50": median(took), "move.p99": quantile(took, 0.99)}


@dataclass(frozen=True)
class Return(ClusterQuestion):
    """A host with 100,000 stations was cut off and given up; then it is back, nothing changed."""

    name: str = "return"
    title: str = "A host with 100,000 stations comes back"
    about_stations = True

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Bytes from the IP header on, UDP and TCP, between it and one of the others."""
        return (
            Metric("return.bytes", self.title, "exchanged with each", "bytes", False, 0),
            Metric("return.s", self.title, "until all have all again", "s", False),
        )

    def measure(self, cluster: Cluster, setting: Setting) -> Mapping[str, float]:
        """The first agent is it."""
        owner, others = cluster.agents[0], cluster.agents[1:]
        _hold(cluster, TABLE, time.monotonic())
        time.sleep(QUIET_S)
        cluster.wire.cut([owner.number], [agent.number for agent in others])
        try:
            cluster.wait_until_lost([owner], others, LOSS_TIMEOUT_S)
            cluster.wait_until_lost(others, [owner], LOSS_TIMEOUT_S)
        finally:
            cluster.wire.mend()
        mended = time.monotonic()
        took = cluster.wait_until_heard(_rows(TABLE), others, mended, ROWS_TIMEOUT_S)
        cluster.wait_until_met(mended, ROWS_TIMEOUT_S)
        time.sleep(AFTERWARDS_S)
        return {
            "return.bytes": cluster.wire.crossing().bytes / len(others),
            "return.s": took,
        }


def _hold(cluster: Cluster, count: int, since: float) -> float:
    """Give the first agent so many stations; the seconds until all others have them."""
    owner, *others = _of_vxnet(cluster)
    owner.order("hold", count)
    return cluster.wait_until_heard(_rows(count), others, since, ROWS_TIMEOUT_S)


def _rows(count: int) -> str:
    return f"rows {count}"


def _of_vxnet(cluster: Cluster) -> list[VxnetAgent]:
    return [agent for agent in cluster.agents if isinstance(agent, VxnetAgent)]
