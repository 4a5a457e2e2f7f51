"""A demo from its first namespace to its report."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vxnet.demo import changes, checks, drivers, evidence, services
from vxnet.demo.bed import Bed
from vxnet.demo.cluster import Cluster
from vxnet.demo.report import Finding, Report, Result
from vxnet.demo.stage import Check, Stage
from vxnet.errors import HostError, StateError, VxnetError

__all__ = ["CHECKS", "HOSTS_MAX", "Options", "Watcher", "run_demo"]

HOSTS_MAX = 50
TOOLS = {
    "nsenter": "util-linux",
    "ping": "iputils-ping",
    "ip": "iproute2",
}  # and the Debian packages they are in

# At rest first, then what shows how it is done, then what changes the cluster; a host that was
# killed comes last but one, since nothing after it may need that host.
CHECKS: Sequence[Check] = (
    *checks.CHECKS,
    evidence.WIRE,
    evidence.TABLE,
    *changes.CHECKS,
    evidence.KERNEL,
)


@dataclass(frozen=True, slots=True)
class Options:
    """What a demo is made of."""

    hosts: int = 3
    datapath: str = "auto"
    keep: bool = False
    drivers: bool = False  # the drivers, in place of what a cluster does
    services: bool = False  # a service, in place of it
    transfer_bytes: int = 200_000_000

    def __post_init__(self) -> None:
        """Raises StateError for a demo that could show nothing."""
        if not 2 <= self.hosts <= HOSTS_MAX:
            raise StateError(f"a demo has 2 to {HOSTS_MAX} hosts, not {self.hosts}")
        if self.drivers and self.services:
            raise StateError("a demo shows the drivers or a service, not both at once")


class Watcher(Protocol):
    """Who is told how it goes."""

    def began(self, title: str) -> None:
        """Something is being done now."""
        ...

    def ended(self, result: Result) -> None:
        """A check was made."""
        ...


def run_demo(options: Options, watcher: Watcher) -> Report:
    """Build the hosts, make every check, remove everything (unless it is to be kept).

    Raises VxnetError where there is nothing to check: no root, no `ping`, a daemon that ends.
    """
    started = time.monotonic()
    _require_tools()
    with Bed(options.hosts) as bed:
        watcher.began(f"Building {options.hosts} hosts and starting their daemons")
        cluster = Cluster(bed, datapath=options.datapath)
        cluster.start()
        stage = Stage(cluster, options.transfer_bytes)
        report = Report(bed.prefix, options.hosts, cluster.daemons[0].status().datapath)
        for check in _checks(options):
            watcher.began(check.title)
            result = _make(check, stage)
            report.results.append(result)
            watcher.ended(result)
        report.sightings, report.tables = stage.sightings, stage.tables
        report.drivers = stage.drivers
        if stage.opened is not None:
            report.members = stage.opened.rows()
        if options.keep:
            bed.keep()
        else:
            watcher.began("Removing everything that was made")
    report.seconds = time.monotonic() - started
    return report


def _checks(options: Options) -> Sequence[Check]:
    if options.drivers:
        return drivers.CHECKS
    return services.CHECKS if options.services else CHECKS


def _require_tools() -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(TOOLS[tool] for tool in missing)
        raise HostError(
            f"this machine has no {' and no '.join(missing)}; install it (Debian: {packages})"
        )


def _make(check: Check, stage: Stage) -> Result:
    started = time.monotonic()
    try:
        finding = check.make(stage)
    except (VxnetError, OSError) as error:
        finding = Finding(False, str(error))
    return Result(
        name=check.name,
        title=check.title,
        ok=finding.ok,
        seen=finding.seen,
        seconds=time.monotonic() - started,
        details=finding.details,
    )
