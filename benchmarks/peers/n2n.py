"""n2n: Ethernet between edges, introduced to each other by a supernode."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.bed import Bed, Pair
from benchmarks.install import apt_get, lacking
from benchmarks.peers.parts import take_in, wait_for_device
from benchmarks.process import program

__all__ = ["N2n"]

PORT = 7654
OVERHEAD = 100  # IPv4 20, UDP 8, n2n's header of about 50, inner Ethernet 14, rounded


class N2n:
    """The peer-to-peer VPN of ntop; version 1 always encrypts, with Twofish."""

    name = "n2n"
    title = "n2n"

    def install(self) -> None:
        """Debian's."""
        apt_get("n2n")

    def missing(self) -> str | None:
        """Whether both programs are there."""
        return lacking("edge", "supernode")

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        """A supernode on the first host, and an edge on each."""
        mtu = bed.mtu - OVERHEAD
        first = bed[0]
        with ExitStack() as stack:
            words = ["supernode", "-l", str(PORT)]
            log = first.directory / "supernode.log"
            stack.enter_context(program(words, log, netns=first.path))
            ends, pids = [], []
            for host in bed.hosts:
                words = ["edge", "-d", "tap0", "-a", f"10.42.0.{host.number}", "-c", "bed"]
                words += ["-k", "key", "-l", f"{first.vtep4}:{PORT}", "-M", str(mtu)]
                words += ["-m", f"02:00:00:00:00:{host.number:02x}"]
                log = host.directory / "edge.log"
                daemon = stack.enter_context(program(words, log, netns=host.path, grace_s=1.0))
                wait_for_device(host, "tap0", daemon)
                ends.append(take_in(host, "tap0", mtu))
                pids.append(daemon.pid)
            yield Pair(ends[0], ends[1], tuple(pids))
