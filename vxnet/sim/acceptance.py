"""All properties of the gossip with many seeds: the slow runs, whose results are in docs/gossip.md.

scripts/sim                           N = 3, 30 and 100 with 200 seeds each
scripts/sim --sizes 1000 --seeds 20   a large cluster

Each seed's outcome is a line of a file. What is there is not run again, so a run that was stopped
goes on where it was, and more seeds can be added to it.
"""

import argparse
import csv
import gc
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from vxnet.gossip.settings import LAN
from vxnet.gossip.suspicion import shortest_s
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

__all__ = ["CHECKS", "Check", "Outcome", "main", "table"]

RESULTS = Path("docs/gossip-runs.csv")
COLUMNS = ("check", "nodes", "seed", "cpu_s", "values")
STORM_SIZE = 12
"""Storms are about what may go wrong between a few; larger ones only take longer."""


@dataclass(frozen=True, slots=True)
class Check:
    """One property: what a seed gives, and how much is allowed, each for a number of nodes."""

    name: str
    unit: str
    run: Callable[[int, int], Sequence[float]]
    allowed: Callable[[int], float]
    share: float = 1.0  # of the seeds
    nodes_max: int = 1_000_000

    @property
    def rule(self) -> str:
        """The property's own name: P1 to P7."""
        return self.name.split()[0]


CHECKS = (
    Check(
        "P1 an update is with the last, no loss",
        "intervals / log2 N",
        lambda size, seed: spread_intervals(size, seed, loss=0.0),
        lambda _: 1.0,
    ),
    Check(
        "P1 with 10 % loss",
        "intervals / log2 N",
        lambda size, seed: spread_intervals(size, seed, loss=0.1),
        lambda _: 1.0,
    ),
    Check(
        "P1 with 30 % loss",
        "intervals / log2 N",
        lambda size, seed: spread_intervals(size, seed, loss=0.3),
        lambda _: 1.5,
    ),
    Check(
        "P2 P3 after a storm of 30 s",
        "faults",
        lambda size, seed: (float(len(weather(size, seed).faults)),),
        lambda _: 0.0,
        nodes_max=STORM_SIZE,
    ),
    Check(
        "P4 one process paused, 0.8 of the shortest suspicion",
        "false deaths",
        lambda size, seed: (float(len(paused_deaths(size, seed))),),
        lambda _: 0.0,
    ),
    Check(
        "P4 a tenth starved for a minute",
        "deaths of those who are well",
        lambda size, seed: (float(false_deaths(size, seed)),),
        lambda _: 0.0,
        share=0.2,
    ),
    Check(
        "P5 a crash is known to all",
        "s",
        lambda size, seed: (crash_s(size, seed)[0],),
        lambda size: shortest_s(size, LAN.probe_interval_s, LAN.suspicion_factor) + 3.0,
    ),
    Check(
        "P6 halves of 40 s heal",
        "s",
        lambda size, seed: (split_heals_s(size, seed),),
        lambda _: 15.0,
    ),
    Check(
        "P6 with three seeds restarted meanwhile",
        "s",
        lambda size, seed: (split_heals_s(size, seed, restart_seeds=True),),
        lambda _: 15.0,
        share=0.5,
    ),
    Check(
        "P7 at rest",
        "octets a second a node",
        lambda size, seed: (idle_bytes_per_s(size, seed),),
        lambda _: math.inf,
        share=0.02,
    ),
)

BY_NAME = {check.name: check for check in CHECKS}


@dataclass(frozen=True, slots=True)
class Task:
    """One seed of one property."""

    check: str
    nodes: int
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What it gave, and the processor time that it took."""

    task: Task
    values: tuple[float, ...]
    cpu_s: float


def tasks(sizes: Iterable[int], seeds: int, rules: set[str]) -> list[Task]:
    """All that is to be run: every property of a seed before the next seed."""
    return [
        Task(check.name, size, seed)
        for size in sizes
        for seed in range(seeds)
        for check in CHECKS
        if check.rule in rules
        and size <= check.nodes_max
        and seed < max(1, round(seeds * check.share))
    ]


def run(task: Task, until: float) -> Outcome | None:
    """One seed, unless it is too late to begin; what it leaves behind goes at once, and not again
    and again on the way.
    """
    if time.monotonic() > until:
        return None
    began = time.process_time()
    values = tuple(round(value, 3) for value in BY_NAME[task.check].run(task.nodes, task.seed))
    cpu_s = round(time.process_time() - began, 2)
    gc.collect()
    return Outcome(task, values, cpu_s)


# ── results kept ──────────────────────────────────────────────────────────────────────────────


def read(path: Path) -> list[Outcome]:
    """What earlier runs left in a file; nothing where there is none."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Outcome(
                Task(line["check"], int(line["nodes"]), int(line["seed"])),
                tuple(float(value) for value in line["values"].split()),
                float(line["cpu_s"]),
            )
            for line in csv.DictReader(file)
        ]


def append(path: Path, outcome: Outcome) -> None:
    """Keep an outcome."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        task = outcome.task
        values = " ".join(f"{value:g}" for value in outcome.values)
        writer.writerow((task.check, task.nodes, task.seed, outcome.cpu_s, values))


# ── what it comes to ──────────────────────────────────────────────────────────────────────────


def summed(outcomes: Iterable[Outcome]) -> list[tuple[Check, int, list[Outcome]]]:
    """Outcomes by property and size."""
    found: dict[tuple[str, int], list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.task.check, outcome.task.nodes), []).append(outcome)
    return [
        (check, size, found[check.name, size])
        for check in CHECKS
        for size in sorted({size for name, size in found if name == check.name})
    ]


def worst(outcomes: Iterable[Outcome]) -> float:
    """The 99th percentile of all values."""
    return percentile([value for outcome in outcomes for value in outcome.values], 0.99)


def table(outcomes: Iterable[Outcome]) -> tuple[str, bool]:
    """Everything as a table for docs/gossip.md, and whether every property holds."""
    lines = [
        "| property | N | seeds | p99 | longest | allowed | | CPU s a seed |",
        "|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    whole = True
    for check, size, runs in summed(outcomes):
        allowed, value = check.allowed(size), worst(runs)
        most = max(value for outcome in runs for value in outcome.values)
        whole = whole and value <= allowed
        mark = "" if value <= allowed else " **too much**"
        bound = "" if math.isinf(allowed) else f"{allowed:.3g}"
        cpu_s = sum(outcome.cpu_s for outcome in runs) / len(runs)
        cpu = f"{cpu_s:.2g}" if cpu_s < 100 else f"{cpu_s:.0f}"
        lines.append(
            f"| {check.name} | {size} | {len(runs)} | {value:.3g}{mark} | {most:.3g} | {bound} |"
            f" {check.unit} | {cpu} |"
        )
    return "\n".join([*lines, ""]), whole


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for and not there yet; 0 only if every property holds."""
    parser = argparse.ArgumentParser(
        description="The gossip's properties, with many seeds.",
        epilog="scripts/sim --compiled [OPTION]... runs a copy that mypyc compiled: the same"
        " traces, in two thirds of the time.",
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 30, 100])
    parser.add_argument("--seeds", type=int, default=200)
    rules = list(dict.fromkeys(check.rule for check in CHECKS))
    parser.add_argument("--only", nargs="+", default=rules, choices=rules)
    parser.add_argument(
        "--processes", type=int, metavar="N", help="how many seeds at once (one a processor)"
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help=f"where outcomes are kept ({RESULTS})"
    )
    parser.add_argument(
        "--for-s", type=float, default=math.inf, help="begin no seed after so many seconds"
    )
    parser.add_argument("--table", action="store_true", help="only show what is there")
    chosen = parser.parse_args(arguments)
    outcomes = read(chosen.results)
    done = {outcome.task for outcome in outcomes}
    missing = [
        task
        for task in tasks(chosen.sizes, chosen.seeds, set(chosen.only))
        if task not in done and not chosen.table
    ]
    if missing:
        until = time.monotonic() + chosen.for_s
        outcomes += _run_all(missing, until, chosen.processes, chosen.results)
    text, whole = table(outcomes)
    sys.stdout.write(text)
    return 0 if whole else 1


def _run_all(
    missing: Sequence[Task], until: float, processes: int | None, path: Path
) -> list[Outcome]:
    """Seeds in processes beside each other, each kept as soon as it is done."""
    found = []
    with get_context("spawn").Pool(processes, initializer=gc.disable) as pool:
        for outcome in pool.imap(partial(run, until=until), missing):
            if outcome is None:
                continue
            append(path, outcome)
            found.append(outcome)
    return found


if __name__ == "__main__":
    sys.exit(main())
