"""The baseline: Linux's own vxlan device behind a Linux bridge, a veth pair to each end."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bed import UNDERLAY, Bed, End, Host, Pair, ip, other, room

__all__ = ["Kernel"]

VXLAN_OVERHEAD = 50  # outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14


class Kernel:
    """What Docker's and most other container overlays are made of."""

    name = "kernel"
    title = "kernel VXLAN"
    packages = ()

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
        address = f"10.42.0.{host.number}"
        ip(f"address add {address}/24 dev eth0", inside)
        ip("link set eth0 up", inside)
        return End(inside.path, address)
