"""What several peers do: wait for a device, and bring it into a room."""

from benchmarks.bed import End, Host, ip, room
from benchmarks.process import Program, run, wait_until
from vxnet.errors import HostError

__all__ = ["take_in", "wait_for_device"]


def wait_for_device(host: Host, device: str, maker: Program) -> None:
    """Wait until a program has made a device on its host."""

    def is_there() -> bool:
        try:
            ip(f"link show dev {device}", host)
        except HostError:
            return False
        return True

    wait_until(is_there, f"the device {device}", running=maker)


def take_in(host: Host, device: str, mtu: int, *, address: str | None = None) -> End:
    """Move a device from its host into the room, and address it there.

    The daemon behind a TAP or TUN keeps its descriptor, so its frames go straight to the traffic's
    end: no bridge and no veth pair between, which is the best case for every peer.
    """
    inside = room(host)
    address = address or f"10.42.0.{host.number}"
    run(["ip", "link", "set", device, "netns", inside.name], netns=host.path)
    ip(f"link set {device} name eth0 mtu {mtu}", inside)
    ip(f"address add {address}/24 dev eth0", inside)
    ip("link set eth0 up", inside)
    return End(inside.path, address)
