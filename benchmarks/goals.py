"""What vxnet is held to, worked out from a run: ratios within each round, and their median."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.results import Results

__all__ = ["GOALS", "Goal", "Verdict", "verdicts"]

ETHERNET = ("ovs", "fastd", "tinc", "openvpn", "n2n")
"""Those that do in user space what vxnet does. wireguard-go and nebula carry IP only."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One of ours beside the best of others: at least `must`, or at most where less is better.

    Where there are no others, what ours reaches by itself. `over` makes one value of all rounds'.
    """

    title: str
    metric: str
    ours: str
    others: tuple[str, ...]
    must: float
    aim: float | None
    less_is_better: bool = False
    difference: bool = False  # what ours takes more, instead of how many times as much
    over: Callable[[Sequence[float]], float] = median

    def value(self, ours: float, others: Sequence[float]) -> float:
        """What one round says."""
        if not others:
            return ours
        best = min(others) if self.less_is_better else max(others)
        return ours - best if self.difference else ours / best

    def holds(self, value: float, bound: float) -> bool:
        """Whether a value keeps to `must` or `aim`."""
        return value <= bound if self.less_is_better else value >= bound


def _limit(
    title: str,
    metric: str,
    must: float,
    *,
    ours: str = "vxnet-30",
    over: Callable[[Sequence[float]], float] = median,
) -> Goal:
    """At most so much, whatever others reach."""
    return Goal(title, metric, ours, (), must, None, less_is_better=True, over=over)


NATIVE, PURE, KERNEL, DOCKER = "vxnet-native", "vxnet-pure", ("kernel",), ("docker",)

GOALS = (
    Goal("native / kernel VXLAN, TCP 1 stream", "tcp-1.gbps", NATIVE, KERNEL, 0.70, 1.0),
    Goal("native / Docker overlay, TCP 1 stream", "tcp-1.gbps", NATIVE, DOCKER, 0.80, 1.2),
    Goal("Docker with vxnet / Docker overlay", "tcp-1.gbps", "docker-vxnet", DOCKER, 0.80, 1.2),
    Goal("native / best Ethernet in user space, TCP", "tcp-1.gbps", NATIVE, ETHERNET, 9, 14),
    Goal("native / kernel VXLAN, 64-byte datagrams", "udp-64.pps", NATIVE, KERNEL, 1.0, 2.0),
    Goal("native - kernel VXLAN, RTT p50, µs", "rtt.p50", NATIVE, KERNEL, 60, 25, True, True),
    Goal("native / kernel VXLAN, CPU for a GB", "tcp-1.cpu", NATIVE, KERNEL, 2.0, 1.3, True),
    Goal("pure / best Ethernet in user space, TCP", "tcp-1.gbps", PURE, ETHERNET, 1.5, 3),
    Goal("pure / kernel VXLAN, TCP 1 stream", "tcp-1.gbps", PURE, KERNEL, 0.08, 0.15),
    _limit("30 agents: all see all, s", "join.s", 0.6),
    _limit("30 agents: an update to the last, p50, s", "update.p50", 0.15),
    _limit("30 agents: an update to the last, p99, s", "update.p99", 0.5),
    _limit("30 agents: killed, until the last knows, median, s", "kill.s", 7.5),
    _limit("30 agents: halves mended, the longest, s", "heal.s", 10.0, over=max),
    _limit("30 agents: sent at rest, UDP, bytes/s", "cost.udp", 290.0),
    *(
        _limit(f"30 agents: paused {s} s, taken for dead, most", f"pause.{s}", 0.0, over=max)
        for s in (2, 4, 6)
    ),
    _limit("30 agents: not paused, taken for dead, most", "pause.others", 0.0, over=max),
    _limit("100 agents: sent at rest, UDP, bytes/s", "cost.udp", 290.0, ours="vxnet-100"),
    _limit("10,000 stations at 3 peers, s", "burst.s", 3.0, ours="vxnet-4"),
    _limit("a station moves, until the last follows, p50, s", "move.p50", 0.12, ours="vxnet-4"),
    _limit("100,000 stations come back, bytes", "return.bytes", 4000.0, ours="vxnet-4"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, and what the run says of it."""

    goal: Goal
    value: float

    @property
    def word(self) -> str:
        """For a table."""
        if self.goal.aim is not None and self.goal.holds(self.value, self.goal.aim):
            return "as aimed"
        return "met" if self.goal.holds(self.value, self.goal.must) else "missed"


def verdicts(results: Results) -> Iterator[Verdict]:
    """All goals that the run has something to say of."""
    for goal in GOALS:
        ours = results.by_round(goal.ours, goal.metric)
        others = [results.by_round(peer, goal.metric) for peer in goal.others]
        values = list(_values(goal, ours, others))
        if values:
            yield Verdict(goal, goal.over(values))


def _values(
    goal: Goal, ours: Mapping[int, float], others: Sequence[Mapping[int, float]]
) -> Iterator[float]:
    for number, value in ours.items():
        beside = [other[number] for other in others if number in other]
        if beside or not goal.others:
            yield goal.value(value, beside)
