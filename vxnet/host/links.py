"""Kernel devices that drivers ask for: bridge, veth, macvlan, ipvlan, VLAN sub-interface."""

import errno
import ipaddress
from collections.abc import Collection, Iterable
from pathlib import Path
from socket import if_nameindex
from typing import Any, Final

from vxnet.cnm.model import IpInterface
from vxnet.errors import HostError, StateError
from vxnet.host.base import Bridge, Ipvlan, LinkSpec, Macvlan, Underlay, Veth, Vlan
from vxnet.host.namespace import run_inside, run_outside
from vxnet.host.netlink import index_of, netlink
from vxnet.host.pyroute import NetlinkError

__all__ = ["NetlinkLinks"]

FORWARDING: Final = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
MISSING: Final = {
    "bridge": "CONFIG_BRIDGE",
    "veth": "CONFIG_VETH",
    "macvlan": "CONFIG_MACVLAN",
    "ipvlan": "CONFIG_IPVLAN",
    "vlan": "CONFIG_VLAN_8021Q",
}


class NetlinkLinks:
    """Makes devices in the namespace the daemon runs in. Making one twice changes nothing."""

    async def add(self, link: LinkSpec) -> None:
        await run_inside(None, lambda: _add(link))

    async def remove(self, name: str) -> None:
        await run_inside(None, lambda: _remove(name))

    async def names(self, prefix: str) -> list[str]:
        return await run_inside(None, lambda: _names(prefix))

    async def parent(self, name: str) -> Underlay:
        return await run_inside(None, lambda: _parent(name))

    async def set_forwarding(self, versions: Collection[int]) -> None:
        await run_inside(None, lambda: _set_forwarding(versions))

    async def lacks(self, kind: str) -> str | None:
        """Tried in a namespace that nobody sees, so that nothing is changed here."""
        return await run_outside(lambda: _lacks(kind))


def _names(prefix: str) -> list[str]:
    return [name for _, name in if_nameindex() if name.startswith(prefix)]


def _add(link: LinkSpec) -> None:
    with netlink(f"{link.name} cannot be made") as socket:
        if index_of(socket, link.name) is None:
            try:
                socket.link("add", ifname=link.name, **_arguments(socket, link))
            except NetlinkError as error:
                raise _explained(link, error) from error
        index = index_of(socket, link.name)
        match link:
            case Bridge(addresses=addresses):
                _address(socket, index, addresses)
            case Veth(bridge=bridge, isolated=isolated):
                socket.link("set", index=index, master=_need(socket, bridge))
                if isolated:
                    socket.brport("set", index=index, isolated=1)
        if not isinstance(link, Macvlan | Ipvlan):  # those are brought up inside their sandbox
            socket.link("set", index=index, state="up")


def _arguments(socket: Any, link: LinkSpec) -> dict[str, Any]:
    """What the kernel is told of a device to make."""
    match link:
        case Bridge(mtu=mtu):
            return {"kind": "bridge", "mtu": mtu}
        case Veth(peer=peer, mtu=mtu):
            return {"kind": "veth", "mtu": mtu, "peer": {"ifname": peer, "mtu": mtu}}
        case Macvlan(parent=parent, mode=mode):
            return {"kind": "macvlan", "link": _need(socket, parent), "macvlan_mode": mode}
        case Ipvlan(parent=parent, mode=mode):
            number = {"l2": 0, "l3": 1, "l3s": 2}[mode]
            return {"kind": "ipvlan", "link": _need(socket, parent), "ipvlan_mode": number}
        case Vlan(parent=parent, vlan_id=vlan_id):
            return {"kind": "vlan", "link": _need(socket, parent), "vlan_id": vlan_id}


def _explained(link: LinkSpec, error: NetlinkError) -> HostError | StateError:
    """The kernel's refusal in a sentence that names the mend."""
    kind = type(link).__name__.lower()
    if error.code == errno.EOPNOTSUPP:
        return HostError(f"{_lack(kind)}, so {link.name} cannot be made")
    if error.code == errno.EBUSY and isinstance(link, Macvlan | Ipvlan):
        return StateError(
            f"{link.parent} is in use by a driver that excludes {kind} in this mode "
            "(macvlan, ipvlan, a bridge or passthru); choose another parent"
        )
    if error.code == errno.EINVAL and isinstance(link, Macvlan | Ipvlan | Vlan):
        return StateError(f"{link.parent} cannot carry {kind}; choose an Ethernet device as parent")
    return HostError(f"{link.name} cannot be made: {error}")


def _address(socket: Any, index: int | None, addresses: Iterable[IpInterface]) -> None:
    held = {
        (ipaddress.ip_address(m.get("IFA_LOCAL") or m.get("IFA_ADDRESS")), m["prefixlen"])
        for m in socket.get_addr(index=index)
    }
    for address in addresses:
        if (address.ip, address.network.prefixlen) not in held:
            flags = {} if address.version == 4 else {"flags": 0x02}  # IFA_F_NODAD
            socket.addr(
                "add",
                index=index,
                address=str(address.ip),
                prefixlen=address.network.prefixlen,
                **flags,
            )


def _remove(name: str) -> None:
    with netlink(f"{name} cannot be removed") as socket:
        index = index_of(socket, name)
        if index is not None:
            socket.link("del", index=index)


def _parent(name: str) -> Underlay:
    with netlink(f"{name} cannot be looked at") as socket:
        (link,) = socket.get_links(_need(socket, name))
        return Underlay(link.get("IFLA_IFNAME"), link.get("IFLA_MTU"))


def _need(socket: Any, name: str) -> int:
    index = index_of(socket, name)
    if index is None:
        names = (link.get("IFLA_IFNAME") for link in socket.get_links())
        here = ", ".join(sorted(n for n in names if n != "lo"))
        raise StateError(f"this host has no device {name}; it has {here or 'only loopback'}")
    return index


def _set_forwarding(versions: Collection[int]) -> None:
    """A bridge network's way out needs the host to route; the overlay never does."""
    for version in versions:
        path = Path("/proc/sys/net", FORWARDING[version])
        try:
            if path.read_text(encoding="ascii").strip() == "0":
                path.write_text("1", encoding="ascii")
        except OSError as error:
            raise HostError(f"{path} cannot be set to 1: {error.strerror}") from None


def _lacks(kind: str) -> str | None:
    """Ask the kernel for a device that it could not make anyway, and see why it refuses."""
    arguments: dict[str, Any] = {"kind": kind}
    if kind == "vlan":
        arguments["vlan_id"] = 1
    with netlink(f"{kind} cannot be tried") as socket:
        if kind in ("macvlan", "ipvlan", "vlan"):
            arguments["link"] = index_of(socket, "lo")
        try:
            socket.link("add", ifname="try0", **arguments)
        except NetlinkError as error:
            return _lack(kind) if error.code == errno.EOPNOTSUPP else None
    return None


def _lack(kind: str) -> str:
    return (
        f"this kernel has no {kind} (its module is not there, and {MISSING[kind]} is not built in)"
    )
