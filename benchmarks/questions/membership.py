"""Who is there: how soon agents find each other, notice a loss, and find each other again."""

import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.clusters.base import Cluster
from benchmarks.questions.base import Metric, Setting
from benchmarks.questions.cluster import ClusterQuestion

__all__ = ["Heal", "Join", "Kill", "Pause"]

LOSS_TIMEOUT_S = 180.0
HEAL_TIMEOUT_S = 180.0
RECOVERY_S = 10.0
"""After a partition agents doubt themselves (Lifeguard) and ask less often, for some probes."""

SETTLE_S = 6.0
"""The shortest suspicion of a hundred agents is 8 s, of thirty 6: whom a pause made suspect is
found dead at the latest so long after, or never."""


@dataclass(frozen=True)
class Join(ClusterQuestion):
    """Measured at the start, where every question needs it."""

    name: str = "join"
    title: str = "Joining"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All agents run already and are told at once."""
        return (Metric("join.s", self.title, "all see all", "s", False),)

    def measure(self, cluster: Cluster, setting: Setting) -> Mapping[str, float]:
        """What it took."""
        return {"join.s": cluster.join_s}


@dataclass(frozen=True)
class Pause(ClusterQuestion):
    """Some agents stand still for a while, as a busy machine makes them: nobody has died."""

    seconds: tuple[int, ...] = (2, 4, 6)
    name: str = "pause"
    title: str = "Paused, one agent each at the same time: taken for dead"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """By how many agents each of them was, and by how many any that was not paused."""
        return (
            *(Metric(f"pause.{s}", self.title, f"{s} s", "times", False, 0) for s in self.seconds),
            Metric("pause.others", self.title, "not paused", "times", False, 0),
        )

    def measure(self, cluster: Cluster, setting: Setting) -> Mapping[str, float]:
        """The last agents, as many as there are pauses."""
        before = Counter(cluster.ears.deaths)
        paused = dict(zip(self.seconds, reversed(cluster.agents), strict=False))
        start = time.monotonic()
        for agent in paused.values():
            agent.signal(signal.SIGSTOP)
        try:
            for seconds, agent in paused.items():
                time.sleep(max(start + seconds - time.monotonic(), 0.0))
                agent.signal(signal.SIGCONT)
        finally:
            for agent in paused.values():
                agent.signal(signal.SIGCONT)
        time.sleep(SETTLE_S)
        deaths = Counter(cluster.ears.deaths) - before
        cluster.wait_until_met(time.monotonic(), HEAL_TIMEOUT_S)
        answers = {f"pause.{s}": deaths.pop(agent.name, 0) for s, agent in paused.items()}
        return answers | {"pause.others": deaths.total()}


@dataclass(frozen=True)
class Heal(ClusterQuestion):
    """The cluster is cut in two halves until each has given up the other, then mended."""

    name: str = "heal"
    title: str = "Half and half, mended"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """How long the loss took to be known, and how long all took to see all again."""
        return (
            Metric("heal.s", self.title, "all see all", "s", False),
            Metric("heal.loss", self.title, "before: halves give each other up", "s", False, 1),
        )

    def measure(self, cluster: Cluster, setting: Setting) -> Mapping[str, float]:
        """Once a round: what comes after it would not be independent."""
        half = cluster.size // 2
        ones, others = cluster.agents[:half], cluster.agents[half:]
        start = time.monotonic()
        cluster.wire.cut([a.number for a in ones], [a.number for a in others])
        try:
            lost = max(
                cluster.wait_until_lost(others, ones, LOSS_TIMEOUT_S),
                cluster.wait_until_lost(ones, others, LOSS_TIMEOUT_S),
            )
        finally:
            cluster.wire.mend()
        mended = time.monotonic()
        return {
            "heal.s": cluster.wait_until_met(mended, HEAL_TIMEOUT_S),
            "heal.loss": lost - start,
        }


@dataclass(frozen=True)
class Kill(ClusterQuestion):
    """Agents are killed one after the other. Asked last: they do not come back."""

    count: int = 3
    name: str = "kill"
    title: str = "Killed"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Until the last of the others takes it for dead."""
        return (
            Metric("kill.s", self.title, "until the last knows, median", "s", False),
            Metric("kill.longest", self.title, "longest", "s", False),
        )

    def measure(self, cluster: Cluster, setting: Setting) -> Mapping[str, float]:
        """Never the first one, through which all joined."""
        time.sleep(RECOVERY_S)
        took = []
        for agent in cluster.agents[1 : 1 + min(self.count, cluster.size - 2)]:
            start = time.monotonic()
            cluster.kill(agent)
            took.append(cluster.wait_until_lost([agent], cluster.agents, LOSS_TIMEOUT_S) - start)
        return {"kill.s": median(took), "kill.longest": max(took)}
