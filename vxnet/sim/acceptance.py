"""All properties of the gossip with many seeds: the slow runs, whose results are in docs/gossip.md.

scripts/sim                           N = 3, 30 and 100 with 200 seeds each
scripts/sim --sizes 1000 --seeds 20   a large cluster
"""

import argparse
import gc
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from vxnet.sim.measure import (
    crash_s,
    false_deaths,
    idle_bytes_per_s,
    paused_deaths,
    percentile,
    split_heals_s,
    spread_intervals,
)
from vxnet.sim.storm import weather

__all__ = ["Result", "main"]

T = TypeVar("T")
STORM_SIZE = 12
"""Storms are about what may go wrong between a few; larger ones only take longer."""


@dataclass(frozen=True, slots=True)
class Result:
    """One property at one size."""

    name: str
    nodes: int
    runs: int
    value: float
    allowed: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether it is as it should be."""
        return self.value <= self.allowed


class Runner:
    """Runs seeds in processes beside each other."""

    def __init__(self, seeds: int, processes: int | None) -> None:
        self._seeds = seeds
        self._pool = get_context("spawn").Pool(processes, initializer=gc.disable)

    def over(self, run: Callable[[int], T], share: float = 1.0) -> list[T]:
        """What a run gives for each seed, or for a share of them."""
        seeds = range(max(1, round(self._seeds * share)))
        return self._pool.map(partial(_tidily, run), seeds, chunksize=1)

    def close(self) -> None:
        """End the processes."""
        self._pool.terminate()
        self._pool.join()


def _tidily(run: Callable[[int], T], seed: int) -> T:
    """One seed; what it leaves behind goes at once, and not again and again on the way."""
    found = run(seed)
    gc.collect()
    return found


def results(size: int, runner: Runner, chosen: set[str]) -> list[Result]:
    """The properties at one size."""
    found: list[Result] = []

    def add(name: str, values: list[float], allowed: float, unit: str) -> None:
        worst = percentile(values, 0.99)
        found.append(Result(name, size, len(values), round(worst, 3), round(allowed, 3), unit))
        sys.stdout.write(f"  {found[-1]}\n")
        sys.stdout.flush()

    if "P1" in chosen:
        for loss, allowed in ((0.0, 1.0), (0.1, 1.0), (0.3, 1.5)):
            runs = runner.over(partial(spread_intervals, size, loss=loss))
            took = [value for run in runs for value in run]
            add(f"P1 spread, {loss:.0%} loss", took, allowed, "intervals / log2 N, p99")
    if "P2" in chosen and size <= STORM_SIZE:
        storms = runner.over(partial(weather, size))
        add("P2 P3 faults after a storm", [float(len(s.faults)) for s in storms], 0.0, "faults")
    if "P4" in chosen:
        deaths = runner.over(partial(paused_deaths, size))
        add("P4 one process paused", [float(len(d)) for d in deaths], 0.0, "false deaths, p99")
        well = runner.over(partial(false_deaths, size), 0.2)
        add("P4 a tenth starved", [float(count) for count in well], 0.0, "false deaths, p99")
    if "P5" in chosen:
        crashes = runner.over(partial(crash_s, size))
        add("P5 crash known to all", [took for took, _ in crashes], crashes[0][1], "s, p99")
    if "P6" in chosen:
        heals = runner.over(partial(split_heals_s, size))
        add("P6 half/half split heals", heals, 15.0, "s, p99")
        heals = runner.over(partial(split_heals_s, size, restart_seeds=True), 0.5)
        add("P6 with seeds restarted", heals, 15.0, "s, p99")
    if "P7" in chosen:
        idle = runner.over(partial(idle_bytes_per_s, size), 0.02)
        add("P7 at rest", idle, math.inf, "B/s a node")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; 0 only if every property holds."""
    parser = argparse.ArgumentParser(description="The gossip's properties, with many seeds.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 30, 100])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--only", nargs="+", default=["P1", "P2", "P4", "P5", "P6", "P7"])
    parser.add_argument(
        "--processes", type=int, metavar="N", help="how many seeds at once (one a processor)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the results here too")
    chosen = parser.parse_args(arguments)
    runner = Runner(chosen.seeds, chosen.processes)
    found: list[Result] = []
    try:
        for size in chosen.sizes:
            sys.stdout.write(f"N = {size}\n")
            found += results(size, runner, set(chosen.only))
    finally:
        runner.close()
    sys.stdout.write(_table(found))
    if chosen.json:
        with open(chosen.json, "w", encoding="utf-8") as file:
            json.dump([asdict(result) for result in found], file, indent=2)
    return 0 if all(result.holds for result in found) else 1


def _table(found: list[Result]) -> str:
    lines = ["", "| property | N | runs | measured | allowed | unit |", "|---|---|---|---|---|---|"]
    for result in found:
        allowed = "" if math.isinf(result.allowed) else f"{result.allowed:g}"
        mark = "" if result.holds else " **too much**"
        lines.append(
            f"| {result.name} | {result.nodes} | {result.runs} |"
            f" {result.value:g}{mark} | {allowed} | {result.unit} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
