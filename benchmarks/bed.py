"""The bed of the benchmarks: two hosts joined by one cable, with a room on each for the traffic.

A *host* is where a peer's daemon or devices run. A *room* is a sandbox of it, standing for a
container: the peer puts its overlay interface there, and the traffic tools run there.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.process import in_namespace, run, wait_until
from vxnet.demo.bed import DIRECTORY, UNDERLAY, Bed, Host, in_use
from vxnet.demo.leftovers import prefixes, remove
from vxnet.demo.namespace import Namespace
from vxnet.errors import HostError

__all__ = [
    "UNDERLAY",
    "Bed",
    "End",
    "Host",
    "Pair",
    "abandoned",
    "ip",
    "other",
    "room",
    "sweep",
    "two_hosts",
    "wait_for_path",
]

MARK = "benchmark"  # a file in the bed's directory: this one is ours


@dataclass(frozen=True, slots=True)
class End:
    """Where a traffic tool runs, and the overlay address it has there."""

    netns: Path
    address: str

    def command(self, words: Sequence[str]) -> list[str]:
        """The command, to be run at this end."""
        return in_namespace(self.netns, words)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two ends that reach each other through a peer's overlay, and the programs that carry it.

    The first half of `pids` run on the near host. `facts` are numbers the peer knows of itself.
    """

    near: End
    far: End
    pids: tuple[int, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)


@contextmanager
def two_hosts(mtu: int = 1500) -> Iterator[Bed]:
    """Make the bed, and remove it with everything that runs in it."""
    with Bed(2, mtu=mtu, direct=True) as bed:
        (bed.directory / MARK).touch()
        yield bed


def abandoned() -> list[str]:
    """The prefixes of the beds that benchmarks which were killed left behind."""
    ours = [prefix for prefix in prefixes() if (DIRECTORY / prefix / MARK).exists()]
    return [prefix for prefix in ours if not in_use(prefix)]


def sweep() -> None:
    """Remove what runs that were killed left behind."""
    for prefix in abandoned():
        remove(prefix)


def room(host: Host) -> Namespace:
    """The sandbox for this host's end of the traffic."""
    return host.sandbox("room")


def other(bed: Bed, host: Host) -> Host:
    """The one of the two that is not `host`."""
    return bed[1] if host is bed[0] else bed[0]


def ip(words: str, place: Namespace) -> str:
    """Run `ip` with these words, in a namespace."""
    return run(["ip", *words.split()], netns=place.path)


def wait_for_path(pair: Pair, timeout_s: float = 30.0) -> None:
    """Wait until the far end answers the near one."""

    def answers() -> bool:
        try:
            run(["ping", "-n", "-c1", "-W1", pair.far.address], netns=pair.near.netns)
        except HostError:
            return False
        return True

    wait_until(answers, f"an answer from {pair.far.address}", timeout_s=timeout_s)
