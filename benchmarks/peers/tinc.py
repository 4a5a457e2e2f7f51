"""tinc in switch mode, without cipher and digest."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.bed import Bed, Host, Pair, other
from benchmarks.install import apt_get, lacking
from benchmarks.peers.parts import take_in, wait_for_device
from benchmarks.process import Program, program, run

__all__ = ["Tinc"]

OVERHEAD = 52  # IPv4 20, UDP 8, tinc's sequence number and padding up to 10, inner Ethernet 14


class Tinc:
    """A mesh VPN that can be one Ethernet switch."""

    name = "tinc"
    title = "tinc"

    def install(self) -> None:
        """Debian's."""
        apt_get("tinc")

    def missing(self) -> str | None:
        """Whether the program is there."""
        return lacking("tincd")

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        """A daemon on each host, the second one calling the first."""
        for host in bed.hosts:
            _configure(bed, host)
        for host in bed.hosts:
            peer = other(bed, host)
            (host.directory / "hosts" / peer.label).write_text(
                (peer.directory / "hosts" / peer.label).read_text()
            )
        with ExitStack() as stack:
            ends, pids = [], []
            for host in bed.hosts:
                daemon = stack.enter_context(_daemon(host))
                wait_for_device(host, "tap0", daemon)
                ends.append(take_in(host, "tap0", bed.mtu - OVERHEAD))
                pids.append(daemon.pid)
            yield Pair(ends[0], ends[1], tuple(pids))


def _configure(bed: Bed, host: Host) -> None:
    (host.directory / "hosts").mkdir()
    (host.directory / "tinc.conf").write_text(
        f"Name = {host.label}\nMode = switch\nDeviceType = tap\nInterface = tap0\n"
        f"BindToAddress = {host.vtep4}\nConnectTo = {other(bed, host).label}\n"
    )
    about = host.directory / "hosts" / host.label
    about.write_text(f"Address = {host.vtep4}\nCipher = none\nDigest = none\n")
    run(["tincd", "-c", str(host.directory), "-K2048"], given="\n\n")


@contextmanager
def _daemon(host: Host) -> Iterator[Program]:
    words = ["tincd", "-D", "-c", str(host.directory)]
    words += ["--pidfile", str(host.directory / "tinc.pid")]
    with program(words, host.directory / "tinc.log", netns=host.path) as daemon:
        yield daemon
