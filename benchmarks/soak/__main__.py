"""Mixed traffic for an hour while endpoints, networks, MTUs and a peer come and go.

    python -m benchmarks.soak [--minutes 60] [--datapath native] [--json FILE]

Three daemons, two of which stay for the whole run. After every lap of mischief the traffic stops,
every frame that entered must be accounted for, the forwarding tables must be what gossip and the
ports say, and memory, descriptors and threads are noted. A connection through a service's address
is idle meanwhile, and has to work at the end. Exit status 1 says that something leaked,
got lost or never came back, in a sentence each.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.command import COLUMNS
from benchmarks.soak.idle import idle
from benchmarks.soak.mischief import NETWORK, Mischief
from benchmarks.soak.record import Lap, Record, complaints
from benchmarks.soak.traffic import mixed
from benchmarks.soak.vitals import Vitals, look, unaccounted, went_back
from vxnet.api.model import StatsView
from vxnet.demo.bed import Bed
from vxnet.demo.cluster import Cluster, wait_for
from vxnet.demo.station import Station
from vxnet.errors import HostError, VxnetError

__all__ = ["main", "run"]

AT_REST_WITHIN_S = 180.0
STAY = 2  # of the hosts, so many are never restarted

console = Console(stderr=True)


def run(minutes: float, datapath: str, progress: Progress) -> Record:
    """The whole run. Raises HostError where it cannot even begin."""
    record = Record(datapath, time.strftime("%Y-%m-%d %H:%M:%S %z"), minutes)
    task = progress.add_task("starts", total=minutes * 60)
    with _cluster(datapath) as (cluster, stations), idle(cluster, stations[0]) as quiet:
        mischief = Mischief(cluster, stations, Random(1))
        before: dict[str, StatsView] = {}
        started = time.monotonic()
        while (at_s := time.monotonic() - started) < minutes * 60:
            number = len(record.laps) + 1
            progress.update(task, completed=at_s, description=f"lap {number}")
            try:
                slowest_s, slowest = _lap(cluster, stations, mischief)
                before = _settle(cluster, before)
            except VxnetError as error:
                record.problems.append(f"lap {number}: {error}")
                break
            record.laps.append(_note(cluster, number, at_s, before, slowest_s, slowest))
        record.idle_s = round(quiet.idle_s, 1)
        try:
            quiet.ask()
        except VxnetError as error:
            record.problems.append(f"through a service: {error}")
    return record


@contextmanager
def _cluster(datapath: str) -> Iterator[tuple[Cluster, list[Station]]]:
    with Bed(3) as bed:
        cluster = Cluster(bed, datapath=datapath)
        cluster.start()
        cluster.wait_for_members(AT_REST_WITHIN_S)
        cluster.daemons[0].create_network(NETWORK, ("10.98.0.0/16", "fd98::/64"))
        cluster.wait_for_network(NETWORK, AT_REST_WITHIN_S)
        yield cluster, [daemon.attach(NETWORK) for daemon in cluster.daemons]


def _lap(cluster: Cluster, stations: list[Station], mischief: Mischief) -> tuple[float, str]:
    """All of the mischief once, with traffic: what took longest to be well again."""
    slowest = 0.0, ""
    with mixed(stations, cluster.bed.directory) as jobs:
        for happening in mischief.all:
            took = happening()
            slowest = max(slowest, (took, happening.__name__.replace("_", " ")))
        for job in jobs:
            if not job.is_alive():
                raise HostError(f"{' '.join(job.command)} ended amid the traffic: {job.said()}")
    return slowest


def _settle(cluster: Cluster, before: dict[str, StatsView]) -> dict[str, StatsView]:
    """Wait until every frame is accounted for; tables must agree, and no counter go back."""
    for daemon in cluster.daemons:
        wait_for(
            lambda client=daemon.client: not list(unaccounted(client.stats())),  # type: ignore[misc]
            AT_REST_WITHIN_S,
            f"{daemon.host.label} accounts for every frame; "
            f"{'; '.join(unaccounted(daemon.client.stats()))}",
        )
        if problems := daemon.client.verify().problems:
            raise HostError(f"the table of {daemon.host.label}: {'; '.join(problems)}")
    now = {daemon.host.label: daemon.client.stats() for daemon in cluster.daemons}
    for label in [daemon.host.label for daemon in cluster.daemons][:STAY]:
        if label in before and (lost := list(went_back(before[label], now[label]))):
            raise HostError(f"counters of {label} went back: {'; '.join(lost)}")
    return now


def _note(
    cluster: Cluster,
    number: int,
    at_s: float,
    stats: dict[str, StatsView],
    slowest_s: float,
    slowest: str,
) -> Lap:
    vitals: dict[str, Vitals] = {
        daemon.host.label: look(daemon.process.pid) for daemon in cluster.daemons[:STAY]
    }
    return Lap(
        number=number,
        at_s=round(at_s, 1),
        memory_bytes={label: one.memory_bytes for label, one in vitals.items()},
        descriptors={label: one.descriptors for label, one in vitals.items()},
        threads={label: one.threads for label, one in vitals.items()},
        frames=sum(p.counters.received for view in stats.values() for p in view.places),
        slowest_s=round(slowest_s, 2),
        slowest=slowest,
    )


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 60.0,
    datapath: Annotated[str, typer.Option(help="auto, native or pure.")] = "auto",
    json: Annotated[Path | None, typer.Option(help="Write every lap here.")] = None,
) -> None:
    """Mixed traffic for an hour while endpoints, networks, MTUs and a peer come and go."""
    try:
        with Progress(*COLUMNS, console=console, transient=True) as progress:
            record = run(minutes, datapath, progress)
    except (VxnetError, OSError) as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    for line in _summary(record):
        console.print(line, markup=False, highlight=False)
    found = list(complaints(record))
    for sentence in found:
        console.print(sentence, style="red", markup=False)
    raise typer.Exit(1 if found else 0)


def _summary(record: Record) -> Iterator[str]:
    if not record.laps:
        return
    first, last = record.laps[0], record.laps[-1]
    yield f"{len(record.laps)} laps, {last.frames:,} frames entered"
    for host in first.memory_bytes:
        yield (
            f"{host}: {first.memory_bytes[host] / 1e6:.1f} MB after the first lap, "
            f"{last.memory_bytes[host] / 1e6:.1f} MB after the last; "
            f"{last.descriptors[host]} descriptors, {last.threads[host]} threads"
        )
    slowest = max(record.laps, key=lambda lap: lap.slowest_s)
    yield f"a connection through a service was idle for {record.idle_s:.0f} s, then asked"
    yield f"slowest to be well again: {slowest.slowest}, {slowest.slowest_s:g} s"


if __name__ == "__main__":
    typer.run(main)
