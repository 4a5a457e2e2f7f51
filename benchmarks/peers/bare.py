"""vxnet's datapath by itself, with a forwarding table and networks of a chosen size."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.bed import Bed, Host, Pair, other
from benchmarks.carrier import DEVICE
from benchmarks.peers.parts import take_in
from benchmarks.peers.vxnet import OVERHEAD, Vxnet
from benchmarks.process import Program, program, wait_until

__all__ = ["Bare"]

START_S = 180.0  # a million entries take their time to be made up


class Bare:
    """No daemon and no gossip, so that only the table's size differs from one to the next."""

    def __init__(self, datapath: str, *, entries: int, networks: int = 1) -> None:
        self._datapath = datapath
        self._entries = entries
        self._networks = networks
        several = networks > 1
        self.name = f"{datapath}-{entries}" + (f"-in-{networks}" if several else "")
        self.title = f"{datapath}, {entries:,} entries"
        self.title += f" in {networks:,} networks" if several else ""

    def install(self) -> None:
        """It is there, or is built with vxnet."""

    def missing(self) -> str | None:
        """Whether the datapath was built."""
        return Vxnet(self._datapath).missing()

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        """A carrier on each host."""
        with ExitStack() as stack:
            carriers = [stack.enter_context(self._carrier(bed, host)) for host in bed.hosts]
            for carrier in carriers:
                _wait_for_report(carrier)
            near, far = (take_in(host, DEVICE, bed.mtu - OVERHEAD) for host in bed.hosts)
            pids = tuple(carrier.pid for carrier in carriers)
            yield Pair(near, far, pids, self._facts(carriers[0]))

    @contextmanager
    def _carrier(self, bed: Bed, host: Host) -> Iterator[Program]:
        words = [sys.executable, "-m", "benchmarks.carrier", "--datapath", self._datapath]
        words += ["--local", host.vtep4, "--remote", other(bed, host).vtep4]
        words += ["--mtu", str(bed.mtu - OVERHEAD)]
        words += ["--entries", str(self._entries), "--networks", str(self._networks)]
        with program(words, host.directory / "carrier.log", netns=host.path) as carrier:
            yield carrier

    def _facts(self, carrier: Program) -> dict[str, float]:
        said = json.loads(carrier.said(1))
        return {
            "programming_s": said["programming_s"] * 100_000 / self._entries,
            "entry_bytes": said["grown_bytes"] / self._entries,
        }


def _wait_for_report(carrier: Program) -> None:
    wait_until(
        lambda: carrier.said().endswith("}"),
        "the carrier's report",
        timeout_s=START_S,
        running=carrier,
    )
