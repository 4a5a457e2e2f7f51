"""What gossip brings about and what it takes: how soon an update is everywhere, bytes, memory."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

from benchmarks.clusters.base import Cluster
from benchmarks.questions.base import Metric, Setting
from benchmarks.questions.cluster import ClusterQuestion
from benchmarks.stats import quantile
from vxnet.errors import HostError

__all__ = ["Cost", "Updates"]

HEARD_TIMEOUT_S = 5.0  # what is not everywhere by then was lost on the way
QUIET_S = 6.0  # until the rumours of what was before have died down
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Updates(ClusterQuestion):
    """One small thing told at one agent: a station with vxnet, a user event with Serf."""

    count: int = 50
    name: str = "update"
    title: str = "One update to the last agent"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """From the command to the last agent that says it heard."""
        return (
            Metric("update.p50", self.title, "p50", "s", False, 3),
            Metric("update.p99", self.title, "p99", "s", False, 3),
            Metric("update.lost", self.title, "not everywhere after 5 s", "%", False, 1),
        )

    def measure(self, cluster: Cluster, setting: Setting) -> Mapping[str, float]:
        """At one agent after the other, at no particular moment of anybody's clock."""
        random = Random(1)
        took = []
        for number in range(self.count):
            agent = cluster.agents[number % cluster.size]
            time.sleep(random.uniform(0.1, 0.3))
            start = time.monotonic()
            news = agent.tell(number)
            others = cluster.others(agent)
            with suppress(HostError):
                took.append(cluster.wait_until_heard(news, others, start, HEARD_TIMEOUT_S))
        answers = {"update.lost": 100 * (1 - len(took) / self.count)}
        if took:
            answers |= {"update.p50": median(took), "update.p99": quantile(took, 0.99)}
        return answers


@dataclass(frozen=True)
class Cost(ClusterQuestion):
    """What each agent takes when nothing happens."""

    name: str = "cost"
    title: str = "At rest, each agent"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Bytes sent, from the IP header on; memory as if it were alone on its machine (RSS)."""
        return (
            Metric("cost.udp", self.title, "sent, UDP", "bytes/s", False, 0),
            Metric("cost.ip", self.title, "sent, UDP and TCP", "bytes/s", False, 0),
            Metric("cost.mb", self.title, "memory", "MB", False, 1),
        )

    def measure(self, cluster: Cluster, setting: Setting) -> Mapping[str, float]:
        """For as long as the setting says."""
        time.sleep(QUIET_S)
        udp, everything, start = _sent(cluster)
        time.sleep(setting.seconds)
        udp_then, everything_then, end = _sent(cluster)
        agent_seconds = cluster.size * (end - start)
        memory = sum(_resident_bytes(agent.pid) for agent in cluster.agents)
        return {
            "cost.udp": (udp_then - udp) / agent_seconds,
            "cost.ip": (everything_then - everything) / agent_seconds,
            "cost.mb": memory / cluster.size / 1e6,
        }


def _sent(cluster: Cluster) -> tuple[int, int, float]:
    wire = cluster.wire
    return wire.datagrams().bytes, wire.everything().bytes, time.monotonic()


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
