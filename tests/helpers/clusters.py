"""Clusters for tests: daemons on a bed, with the command line as a user has it."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vxnet.demo.bed import Bed
from vxnet.demo.cluster import VXNET, Cluster, Daemon, wait_for
from vxnet.demo.station import Station
from vxnet.demo.traffic import ping

__all__ = ["SUBNETS", "cluster_on", "drops", "labels", "reaches", "vxnet", "wait_for_drop"]

SUBNETS = ("10.9.0.0/24", "fd00:9::/64")


@contextmanager
def cluster_on(
    hosts: int,
    *,
    daemons: int | None = None,
    datapath: str = "pure",
    port: int = 4789,
    version: int = 4,
    mtu: int = 1500,
    settings: str = "",
    network: str = "",
) -> Iterator[Cluster]:
    """A bed whose first `daemons` hosts (all of them where it is not said) run daemons.

    They know `network` where it is given.
    """
    with Bed(hosts, mtu=mtu) as bed:
        cluster = Cluster(bed, datapath=datapath, port=port, version=version, settings=settings)
        del cluster.daemons[daemons if daemons is not None else hosts :]
        cluster.start()
        cluster.wait_for_members()
        if network:
            cluster.daemons[0].create_network(network, SUBNETS)
            cluster.wait_for_network(network)
        yield cluster


def vxnet(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command against a daemon, as a user on its host would."""
    command = [*VXNET, *arguments, "--socket", str(daemon.socket)]
    return daemon.host.run(command, check=False)


def drops(daemon: Daemon) -> dict[str, int]:
    """What a daemon dropped so far, by reason."""
    return dict(daemon.status().drops)


def reaches(source: Station, target: Station) -> bool:
    """Whether one station answers another's pings, over both versions of IP."""
    return all(ping(source, address) is not None for address in target.addresses)


def wait_for_drop(daemon: Daemon, reason: str, more_than: int, within_s: float = 10.0) -> None:
    """Until a daemon counted another frame dropped for this reason."""
    wait_for(
        lambda: drops(daemon).get(reason, 0) > more_than,
        within_s,
        f"{daemon.host.label} counts {reason}",
    )


def labels(stations: Sequence[Station]) -> dict[str, int]:
    """How often each should hear a broadcast: once."""
    return {station.label: 1 for station in stations}
