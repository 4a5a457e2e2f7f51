"""OpenVPN between two TAP devices, without cipher, digest and keys."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.bed import Bed, Pair, other
from benchmarks.install import apt_get, lacking
from benchmarks.peers.parts import take_in, wait_for_device
from benchmarks.process import program

__all__ = ["OpenVpn"]

OVERHEAD = 50  # IPv4 20, UDP 8, inner Ethernet 14, and room for OpenVPN's own byte or few


class OpenVpn:
    """The best-known VPN, bare."""

    name = "openvpn"
    title = "OpenVPN"

    def install(self) -> None:
        """Debian's."""
        apt_get("openvpn")

    def missing(self) -> str | None:
        """Whether the program is there."""
        return lacking("openvpn")

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        """Two processes that point at each other."""
        mtu = bed.mtu - OVERHEAD
        with ExitStack() as stack:
            ends, pids = [], []
            for host in bed.hosts:
                words = ["openvpn", "--dev", "tap0", "--dev-type", "tap", "--proto", "udp"]
                words += ["--local", host.vtep4, "--remote", other(bed, host).vtep4]
                words += ["--cipher", "none", "--auth", "none", "--tun-mtu", str(mtu)]
                words += ["--mssfix", "0", "--fast-io", "--sndbuf", "4194304"]
                words += ["--rcvbuf", "4194304", "--verb", "2"]
                log = host.directory / "openvpn.log"
                daemon = stack.enter_context(program(words, log, netns=host.path))
                wait_for_device(host, "tap0", daemon)
                ends.append(take_in(host, "tap0", mtu))
                pids.append(daemon.pid)
            yield Pair(ends[0], ends[1], tuple(pids))
