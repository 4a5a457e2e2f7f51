"""vxnet itself: a daemon on each host, with either datapath, told what to do through its API."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bed import Bed, End, Pair
from vxnet.api.model import NetworkBody
from vxnet.demo.cluster import Cluster, Daemon
from vxnet.demo.processes import end_all
from vxnet.errors import HostError, VxnetError

__all__ = ["Vxnet"]

OVERHEAD = 50  # outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14
NETWORK = "room"


class Vxnet:
    """The overlay this repository is about."""

    def __init__(self, datapath: str) -> None:
        self._datapath = datapath
        self.name = f"vxnet-{datapath}"
        self.title = f"vxnet, {datapath}"

    def install(self) -> None:
        """It is there, or is built with vxnet."""

    def missing(self) -> str | None:
        """Whether the datapath was built; the pure one needs no building."""
        if self._datapath == "native" and importlib.util.find_spec("vxnet._native") is None:
            return "the native module was not built"
        return None

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        """Two daemons find each other; a network made on the first is attached to on both."""
        cluster = Cluster(bed, datapath=self._datapath)
        try:
            near, far = self._ends(cluster, bed.mtu - OVERHEAD)
            yield Pair(near, far, tuple(daemon.process.pid for daemon in cluster.daemons))
        finally:
            end_all([child for host in bed.hosts for child in host.children()])

    def _ends(self, cluster: Cluster, mtu: int) -> list[End]:
        try:
            cluster.start()
            cluster.wait_for_members()
            subnets = ("10.42.0.0/24", "fd42::/64")
            first = cluster.daemons[0].client
            first.create_network(NetworkBody(NETWORK, subnets=subnets, mtu=mtu))
            cluster.wait_for_network(NETWORK)
            return [self._end(daemon) for daemon in cluster.daemons]
        except VxnetError as error:
            logs = "; ".join(f"{d.host.label}: {d.last_words()}" for d in cluster.daemons)
            raise HostError(f"{error}; {logs}") from None

    def _end(self, daemon: Daemon) -> End:
        if (runs := daemon.status().datapath) != self._datapath:
            raise HostError(f"the datapath {self._datapath} was asked for, and {runs} runs")
        station = daemon.attach(NETWORK)
        return End(station.sandbox.path, str(station.ipv4.ip))
