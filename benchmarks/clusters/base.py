"""A cluster: agents of one make on one machine, that found each other."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.bed import Bed, Host
from benchmarks.clusters.ears import Ears, Knowledge, Saying
from benchmarks.clusters.wire import Wire, address_of, group_of
from benchmarks.install import lacking
from benchmarks.process import in_namespace
from vxnet.demo.processes import end_all
from vxnet.errors import HostError

__all__ = ["READY", "Agent", "Cluster", "Crowd"]

READY = "ready"
KEY = bytes(range(32))
"""Both makes encrypt with AES-256; a benchmark has no secrets."""

START_TIMEOUT_S = 240.0  # a hundred interpreters on two cores take a while to start
JOIN_TIMEOUT_S = 180.0  # whom gossip missed Serf finds by comparing, every 30 s and more


class Agent(ABC):
    """One process that gossips. It must not know of the others before it is told to join."""

    make: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, number: int, host: Host) -> None:
        self.number = number
        self.name = f"a{number}"
        self.address = address_of(number)
        self.host = host
        command = in_namespace(host.path, [*_as_group(group_of(number)), *self.command()])
        # Not Namespace.popen: what it starts is given time for a goodbye, and here it is killed.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(os.environ) | {"GOSSIP_KEY": KEY.hex()},
            start_new_session=True,
        )

    @staticmethod
    @abstractmethod
    def install() -> None:
        """Bring in the program. Raises HostError where that fails."""

    @staticmethod
    @abstractmethod
    def missing() -> str | None:
        """Why it cannot run here, in a sentence; None when it can."""

    @staticmethod
    @abstractmethod
    def understand(line: str) -> Saying | None:
        """What a line of its output says."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its words."""

    @abstractmethod
    def join(self, seed: str) -> None:
        """Tell it to join the agent at an address."""

    @abstractmethod
    def tell(self, number: int) -> str:
        """Have it spread something small and new; what all others then say they heard."""

    @property
    def pid(self) -> int:
        """Stays the same through nsenter and setpriv, which execute what follows in their place."""
        return self.process.pid

    def signal(self, what: signal.Signals) -> None:
        """To its process."""
        self.process.send_signal(what)


@dataclass(slots=True)
class Cluster:
    """What questions are asked about. `join_s` is from the last agent told to join to all seen."""

    agents: list[Agent]
    ears: Ears
    wire: Wire
    join_s: float
    for_stations: bool = False  # instead of for members

    @property
    def size(self) -> int:
        """How many agents live."""
        return len(self.agents)

    def kill(self, agent: Agent) -> None:
        """End one without a word; it is no longer in `agents`."""
        self.agents.remove(agent)
        agent.process.kill()
        agent.process.wait()

    def others(self, agent: Agent) -> list[Agent]:
        """All but one."""
        return [other for other in self.agents if other is not agent]

    def knows(self, agent: Agent) -> Knowledge:
        """What it knows."""
        return self.ears.knowledge(agent.number)

    def wait_until_heard(
        self, what: str, by: Sequence[Agent], since: float, limit_s: float
    ) -> float:
        """When the last of `by` said it had heard `what`, in seconds after `since`."""

        def stamps() -> list[float]:
            return [self.knows(agent).heard.get(what, 0.0) for agent in by]

        self.ears.wait(lambda: min(stamps()) >= since, f"hearing {what!r} everywhere", limit_s)
        return max(stamps()) - since

    def wait_until_met(self, since: float, limit_s: float) -> float:
        """When the last agent saw the last other one alive, in seconds after `since`."""

        def seen() -> list[float]:
            return [
                self.knows(agent).alive.get(other.name, float("inf"))
                for agent in self.agents
                for other in self.agents
                if other is not agent
            ]

        self.ears.wait(lambda: self._all_meet(), "all agents seeing all others", limit_s)
        return max(max(seen()) - since, 0.0)

    def wait_until_lost(self, lost: Sequence[Agent], by: Sequence[Agent], limit_s: float) -> float:
        """The time at which the last of `by` took the last of `lost` for dead."""
        names = {agent.name for agent in lost}
        self.ears.wait(
            lambda: all(names <= self.knows(agent).dead.keys() for agent in by),
            f"{len(lost)} lost agents being taken for dead by all {len(by)} others",
            limit_s,
        )
        return max(self.knows(agent).dead[name] for agent in by for name in names)

    def _all_meet(self) -> bool:
        names = {agent.name for agent in self.agents}
        return all(names - {a.name} <= self.knows(a).alive.keys() for a in self.agents)


@dataclass(frozen=True, slots=True)
class Crowd:
    """So many agents of one make: a peer of the benchmark."""

    of: type[Agent]
    size: int
    for_stations: bool = False

    @property
    def name(self) -> str:
        """What `--peer` calls it."""
        return f"{self.of.make}-{self.size}"

    @property
    def title(self) -> str:
        """What tables and plots call it."""
        return f"{self.of.title}, {self.size} agents"

    def install(self) -> None:
        """Bring in the program."""
        self.of.install()

    def missing(self) -> str | None:
        """Whether the program is there."""
        return self.of.missing() or lacking("nft")

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Cluster]:
        """All agents on the bed's first host, started, then joined through the first of them."""
        ears = Ears(self.of.understand)
        agents: list[Agent] = []
        try:
            wire = Wire(bed[0])
            for number in range(self.size):
                agents.append(self.of(number, bed[0]))
                assert agents[-1].process.stdout is not None
                ears.listen_to(number, agents[-1].process.stdout)
            _wait_for_start(agents, ears)
            cluster = Cluster(list(agents), ears, wire, 0.0, self.for_stations)
            for agent in agents[1:]:
                agent.join(agents[0].address)
            cluster.join_s = cluster.wait_until_met(time.monotonic(), JOIN_TIMEOUT_S)
            yield cluster
        finally:
            ears.close()
            for agent in agents:
                agent.process.kill()
            end_all([agent.process for agent in agents])


def _wait_for_start(agents: Sequence[Agent], ears: Ears) -> None:
    def all_ready() -> bool:
        for agent in agents:
            if ears.has_ended(agent.number):
                raise HostError(f"{agent.name} ended at once: {ears.last_words(agent.number)}")
        return all(READY in ears.knowledge(agent.number).heard for agent in agents)

    ears.wait(all_ready, f"the start of {len(agents)} agents", START_TIMEOUT_S)


def _as_group(group: int) -> list[str]:
    # Another group clears the request for a death signal, so it is made afterwards.
    return ["setpriv", f"--regid={group}", "--clear-groups", "--pdeathsig=KILL"]
