"""One run of a cluster as a user asks for it: sizes, loss, splits, a crash; numbers come out."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from vxnet.errors import ConfigError
from vxnet.gossip.events import Event, MemberChanged, MemberState
from vxnet.gossip.settings import GossipSettings
from vxnet.sim.cluster import Cluster
from vxnet.sim.host import Host
from vxnet.sim.network import Conditions

__all__ = ["Plan", "Report", "Sample", "Split", "parse_split", "run"]

VNI = 1
SAMPLE_S = 0.5
ARRIVES_S = 2.0
"""An update that has less time than this until the end would say nothing."""
SETTLED_S = 15.0
"""For so long after a split, deaths may still be declared that it caused."""

SPLIT = re.compile(r"(\d+(?::\d+)+)@(\d+(?:\.\d+)?)s?-(\d+(?:\.\d+)?)s?")


@dataclass(frozen=True, slots=True)
class Split:
    """Groups of these sizes do not hear each other from `start_s` to `end_s`."""

    sizes: tuple[int, ...]
    start_s: float
    end_s: float


def parse_split(text: str, nodes: int) -> Split:
    """Read `500:500@10s-60s`. Raises ConfigError."""
    match = SPLIT.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is not a split; write it like 500:500@10s-60s")
    split = Split(
        tuple(int(size) for size in match[1].split(":")), float(match[2]), float(match[3])
    )
    if sum(split.sizes) != nodes:
        raise ConfigError(f"the groups of {text!r} have {sum(split.sizes)} nodes, not {nodes}")
    if split.end_s <= split.start_s:
        raise ConfigError(f"{text!r} ends before it begins")
    return split


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen. The nodes have known each other for long unless `join`."""

    nodes: int
    seed: int
    settings: GossipSettings
    conditions: Conditions
    length_s: float
    splits: tuple[Split, ...] = ()
    crash_at_s: float | None = None
    update_every_s: float = 5.0
    join: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """How things stood at one moment."""

    at_s: float
    members_held: float  # the share of running others that a node holds alive, on average
    bytes_per_s: float  # a node, since the last sample


@dataclass(slots=True)
class Report:
    """What came out. Times are seconds; None where it did not happen, or not in time."""

    nodes: int
    seed: int
    joined_s: float | None = None
    updates_s: list[float | None] = field(default_factory=list)
    healed_s: list[float | None] = field(default_factory=list)
    crash_known_s: float | None = None
    false_deaths: int = 0
    bytes_per_s: float = 0.0
    datagrams: int = 0
    trace: str = ""
    samples: list[Sample] = field(default_factory=list)


def run(plan: Plan) -> Report:
    """Carry a plan out."""
    return Trial(plan).run()


class Trial:
    """A plan on its way."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._report = Report(plan.nodes, plan.seed)
        self._cluster = Cluster(
            plan.nodes,
            plan.seed,
            settings=plan.settings,
            conditions=plan.conditions,
            warm=not plan.join,
            vnis=(VNI,),
        )
        self._split_until = 0.0
        self._updates: list[tuple[float, int, bytes, set[Host]]] = []
        self._numbered = 0
        self._took: dict[int, float | None] = {}
        self._healing: list[tuple[float, int]] = []
        self._crashed: tuple[float, Host, set[Host]] | None = None
        for host in self._cluster:
            host.watchers.append(partial(self._heard, host))

    def run(self) -> Report:
        """Let it happen, looking every 20 ms."""
        plan, cluster, report = self._plan, self._cluster, self._report
        if plan.join:
            report.joined_s = cluster.until(self._all_hold_all, 120.0)
            for host in cluster:
                host.attach(VNI)
        start = cluster.now
        for split in plan.splits:
            cluster.clock.at(start + split.start_s, partial(self._split, split, start))
            cluster.clock.at(start + split.end_s, self._heal)
        if plan.crash_at_s is not None:
            cluster.clock.at(start + plan.crash_at_s, self._crash)
        next_update, next_sample = start + plan.update_every_s, start + SAMPLE_S
        octets = 0
        while cluster.now < start + plan.length_s:
            cluster.run(0.02)
            self._look()
            if cluster.now >= next_update:
                next_update += plan.update_every_s
                if cluster.now + ARRIVES_S <= start + plan.length_s:
                    self._update()
            if cluster.now >= next_sample:
                next_sample += SAMPLE_S
                octets = self._sample(octets, start)
        report.updates_s = list(self._took.values())
        report.bytes_per_s = sum(cluster.network.octets.values()) / plan.length_s / plan.nodes
        report.datagrams = cluster.network.counters["datagrams"]
        report.trace = cluster.network.trace
        return report

    # ── what happens ────────────────────────────────────────────────────────────────────────

    def _update(self) -> None:
        if self._cluster.now < self._split_until:
            return  # it could not reach everybody
        number = self._numbered = self._numbered + 1
        mac = b"\x02\x5e" + number.to_bytes(4, "big")
        self._cluster.random.choice(self._cluster.up).announce(VNI, mac)
        self._took[number] = None
        self._updates.append((self._cluster.now, number, mac, set(self._cluster.up)))

    def _split(self, split: Split, start: float) -> None:
        addresses = [host.address for host in self._cluster]
        groups, at = [], 0
        for size in split.sizes:
            groups.append(addresses[at : at + size])
            at += size
        self._cluster.network.split(*groups)
        self._split_until = start + split.end_s
        for _, number, _, _ in self._updates:
            del self._took[number]  # cut off on its way, which says nothing
        self._updates.clear()

    def _heal(self) -> None:
        self._cluster.network.heal()
        self._healing.append((self._cluster.now, len(self._report.healed_s)))
        self._report.healed_s.append(None)

    def _crash(self) -> None:
        victim = self._cluster.random.choice(self._cluster.up)
        victim.crash()
        self._crashed = (self._cluster.now, victim, set(self._cluster.up))

    # ── what is seen ────────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        now = self._cluster.now
        for update in list(self._updates):
            start, number, mac, waiting = update
            waiting -= {h for h in waiting if not h.up or self._cluster.has(h, VNI, mac)}
            if not waiting:
                self._took[number] = now - start
                self._updates.remove(update)
        for start, number in list(self._healing):
            if self._all_hold_all() and self._cluster.agree(VNI):
                self._report.healed_s[number] = now - start
                self._healing.remove((start, number))

    def _heard(self, host: Host, at: float, event: Event) -> None:
        if not isinstance(event, MemberChanged) or event.member.state is not MemberState.DEAD:
            return
        crashed = self._crashed
        if crashed is not None and event.member.id == crashed[1].identity.id:
            crashed[2].discard(host)
            if not crashed[2] and self._report.crash_known_s is None:
                self._report.crash_known_s = at - crashed[0]
        elif at > self._split_until + SETTLED_S or not self._split_until:
            self._report.false_deaths += 1

    def _all_hold_all(self) -> bool:
        up = len(self._cluster.up)
        return all(host.started for host in self._cluster) and all(
            len(host.node.roster.live) == up - 1 for host in self._cluster.up
        )

    def _sample(self, octets: int, start: float) -> int:
        up = self._cluster.up
        total = sum(self._cluster.network.octets.values())
        held = statistics.fmean(len(host.node.roster.live) for host in up) / max(1, len(up) - 1)
        rate = (total - octets) / SAMPLE_S / len(up)
        self._report.samples.append(Sample(self._cluster.now - start, held, rate))
        return total


def finished(times: Sequence[float | None]) -> list[float]:
    """Those that happened."""
    return [time for time in times if time is not None]
