"""The stage of a demo: the cluster, and what earlier checks put on it for later ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vxnet.demo.capture import Sighting
from vxnet.demo.cluster import Cluster
from vxnet.demo.report import DriverRow, Finding, TableRow
from vxnet.demo.shop import Shop
from vxnet.demo.station import Station
from vxnet.errors import StateError

__all__ = ["Check", "Stage"]


@dataclass(slots=True)
class Stage:
    """What the checks share."""

    cluster: Cluster
    transfer_bytes: int
    attached: list[Station] = field(default_factory=list)
    sightings: Sequence[Sighting] = ()
    tables: dict[str, Sequence[TableRow]] = field(default_factory=dict)
    drivers: list[DriverRow] = field(default_factory=list)
    opened: Shop | None = None

    @property
    def stations(self) -> list[Station]:
        """Those of the main network, in the order of hosts. Raises StateError before there are."""
        if len(self.attached) != len(self.cluster.daemons):
            raise StateError("not every host has an endpoint, so there is nothing to try")
        return self.attached

    @property
    def shop(self) -> Shop:
        """The service. Raises StateError before there is one."""
        if self.opened is None:
            raise StateError("there is no service, so there is nothing to ask")
        return self.opened


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold.

    `name` is for programs, `title` for people. What `make` raises of VxnetError and OSError is a
    failed check.
    """

    name: str
    title: str
    make: Callable[[Stage], Finding]
