"""The baseline: Linux's own vxlan device behind a Linux bridge, a veth pair to each end."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bed import UNDERLAY, Bed, End, Host, Pair, ip, other, room
from benchmarks.process import run

__all__ = ["Kernel"]

NOBODY = "192.0.2.250"
VXLAN_OVERHEAD = 50  # outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14


class Kernel:
    """What Docker's and most other container overlays are made of."""

    def __init__(self, *, entries: int = 0) -> None:
        self._entries = entries
        self.name = f"kernel-{entries}" if entries else "kernel"
        self.title = f"kernel VXLAN, {entries:,} entries" if entries else "kernel VXLAN"

    def install(self) -> None:
        """It is in the kernel."""

    def missing(self) -> str | None:
        """Always there, or `joined` says what the kernel lacks."""
        return None

    @contextmanager
    def joined(self, bed: Bed) -> Iterator[Pair]:
        """A bridge on each host with the vxlan device and the way into the room as its ports."""
        near, far = (self._end(bed, host) for host in bed.hosts)
        yield Pair(near, far)

    def _end(self, bed: Bed, host: Host) -> End:
        mtu = bed.mtu - VXLAN_OVERHEAD
        inside = room(host)
        ip("link add bridge type bridge", host)
        ip(
            f"link add vxlan mtu {mtu} type vxlan id 42 dstport 4789 dev {UNDERLAY} "
            f"local {host.vtep4} remote {other(bed, host).vtep4}",
            host,
        )
        ip(f"link add port mtu {mtu} type veth peer name eth0 mtu {mtu} netns {inside.name}", host)
        for device in ("vxlan", "port"):
            ip(f"link set {device} master bridge", host)
        for device in ("bridge", "vxlan", "port"):
            ip(f"link set {device} up", host)
        if self._entries:
            self._fill(host)
        address = f"10.42.0.{host.number}"
        ip(f"address add {address}/24 dev eth0", inside)
        ip("link set eth0 up", inside)
        return End(inside.path, address)

    def _fill(self, host: Host) -> None:
        """Give the device further stations, behind a host that nobody talks to."""
        macs = (f"06{number:010x}" for number in range(self._entries))
        lines = (
            f"fdb append {':'.join(m[i : i + 2] for i in range(0, 12, 2))} dev vxlan dst {NOBODY}\n"
            for m in macs
        )
        run(["bridge", "-batch", "-"], netns=host.path, given="".join(lines))
