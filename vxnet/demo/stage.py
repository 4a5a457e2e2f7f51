"""The stage of a demo: the cluster, and what earlier checks put on it for later ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vxnet.demo.capture import Sighting
from vxnet.demo.cluster import Cluster
from vxnet.demo.report import Finding, TableRow
from vxnet.demo.station import Station

__all__ = ["Check", "Stage"]


@dataclass(slots=True)
class Stage:
    """What the checks share. `stations` are those of the main network, in the order of hosts."""

    cluster: Cluster
    transfer_bytes: int
    stations: list[Station] = field(default_factory=list)
    sightings: Sequence[Sighting] = ()
    tables: dict[str, Sequence[TableRow]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold.

    `name` is for programs, `title` for people. What `make` raises of VxnetError and OSError is a
    failed check.
    """

    name: str
    title: str
    make: Callable[[Stage], Finding]
