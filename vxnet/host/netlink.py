"""Links, addresses and routes over netlink (pyroute2), each request in a thread of its own.

Moving a device waits for the kernel's grace period, tens of milliseconds on a busy host, so none of
it is done on the event loop.
"""

import errno
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from socket import AF_INET, AF_INET6, if_nametoindex
from typing import Any, Final

from vxnet.cnm.model import OWN_NAMESPACE, IpAddress, IpInterface, IpNetwork
from vxnet.errors import HostError, StateError
from vxnet.host.base import Interface, Underlay
from vxnet.host.namespace import (
    forget_namespace,
    keep_namespace,
    open_namespace,
    run_inside,
    run_outside,
)
from vxnet.host.pyroute import IPRoute, NetlinkError
from vxnet.wire.addr import format_mac

__all__ = ["NetlinkHost", "add_address", "index_of", "netlink"]

RESOLVERS: Final = Path("/etc/resolv.conf")
RTN_UNICAST: Final = 1  # linux/rtnetlink.h
IFF_UP: Final = 1  # linux/if.h
IFA_F_NODAD: Final = 0x02  # linux/if_addr.h; nobody else has an address that vxnet handed out
RTN_LOCAL: Final = 2
RT_TABLE_MAIN: Final = 254
RT_SCOPE_HOST: Final = 254
OUTSIDE: Final = {4: "198.51.100.1", 6: "2001:db8::1"}  # RFC 5737, RFC 3849: nobody's in particular
# Whoever speaks as anybody is to say by ARP that it has its own address alone; and to ask by ND at
# once, from a link-local address that was not found to be its own in seconds of listening first.
AS_ANYBODY: Final = {
    "ipv4/conf/{}/arp_announce": "2",
    "ipv4/conf/{}/arp_ignore": "1",
    "ipv6/conf/{}/accept_dad": "0",
}
ANNOUNCES: Final = ("ipv4/conf/{}/arp_notify", "ipv6/conf/{}/ndisc_notify")


class NetlinkHost:
    """This machine, as seen from the namespace the daemon runs in."""

    async def underlay(self, address: IpAddress) -> Underlay:
        return await run_inside(None, lambda: _underlay(address))

    async def prefixes(self) -> list[IpNetwork]:
        return await run_inside(None, _prefixes)

    def is_here(self, name: str) -> bool:
        try:
            return if_nametoindex(name) > 0
        except OSError:
            return False

    async def check_sandbox(self, path: str) -> None:
        # A quick look at a file of a pseudo file system, which never waits for a disk.
        with open_namespace(path):
            pass

    async def create_sandbox(self, path: str) -> None:
        try:
            await self.check_sandbox(path)
        except StateError:
            await run_outside(partial(_keep_namespace, path))

    async def delete_sandbox(self, path: str) -> None:
        await run_inside(None, partial(forget_namespace, path))

    async def has(self, path: str, name: str, alias: str) -> bool:
        return await run_inside(path, lambda: _alias_of(path, name) == alias)

    async def find(self, path: str, alias: str, *, up: bool = False) -> str | None:
        return await run_inside(path, partial(_find, path, alias, IFF_UP if up else 0))

    async def remove(self, path: str | None, name: str, alias: str) -> None:
        with suppress(StateError):  # a sandbox that is gone took the device along
            # On the host the name is ours alone; in a sandbox somebody else may have taken it.
            aliases = {alias, ""} if path is None else {alias}
            await run_inside(path, lambda: _remove(path or "this host", name, aliases))

    async def is_own(self, path: str) -> bool:
        with open_namespace(path) as fd:
            there, here = os.fstat(fd), os.stat("/proc/self/ns/net")
            return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    async def take_back(self, path: str, name: str, alias: str) -> None:
        with suppress(StateError):
            await run_inside(path, partial(_give_back, path, name, alias, os.getpid()))

    async def restore(self, path: str, interface: Interface) -> list[str]:
        return await run_inside(path, partial(_restore, path, interface))

    async def prepare(self, device: str, interface: Interface) -> None:
        await run_inside(None, partial(_prepare, device, interface))

    async def place(self, device: str, path: str, interface: Interface) -> None:
        await run_inside(path, lambda: _check_free(path, interface))
        await run_inside(None, lambda: _move(device, path, interface))
        await run_inside(path, lambda: _settle(device, path, interface))

    async def ways_out(self, path: str, name: str) -> tuple[int, ...]:
        return await run_inside(path, lambda: _ways_out(path, name))

    async def take_all(self, path: str) -> None:
        await run_inside(path, lambda: _take_all(path))


@contextmanager
def netlink(doing: str) -> Iterator[Any]:
    """A netlink socket in this thread's namespace; what the kernel refuses becomes a sentence."""
    try:
        with IPRoute() as socket:
            yield socket
    except NetlinkError as error:
        reason = os.strerror(error.code)
        mend = "; the daemon needs CAP_NET_ADMIN" if error.code == errno.EPERM else ""
        raise HostError(f"{doing}: {reason}{mend}") from error
    except OSError as error:
        raise HostError(f"{doing}: {error.strerror}") from error


def _keep_namespace(path: str) -> None:
    """Bring loopback up, and have a file keep this thread's namespace."""
    with netlink(f"loopback of {path} cannot be brought up") as socket:
        socket.link("set", index=index_of(socket, "lo"), state="up")
    keep_namespace(path)


def _underlay(address: IpAddress) -> Underlay:
    with netlink("the addresses of this host cannot be read") as socket:
        found = []
        for message in socket.get_addr():
            text = message.get("IFA_LOCAL") or message.get("IFA_ADDRESS")
            if ipaddress.ip_address(text) == address:
                (link,) = socket.get_links(message["index"])
                return Underlay(link.get("IFLA_IFNAME"), link.get("IFLA_MTU"))
            found.append(text)
    addresses = [ipaddress.ip_address(text) for text in found]
    here = ", ".join(str(a) for a in addresses if not a.is_loopback and not a.is_link_local)
    raise HostError(
        f"no interface of this host has the address {address}; "
        f"set node.vtep to one that is here ({here or 'there is only loopback'})"
    )


def _prefixes() -> list[IpNetwork]:
    found: set[IpNetwork] = set()
    with netlink("the routes of this host cannot be read") as socket:
        for message in socket.get_addr():
            address = message.get("IFA_LOCAL") or message.get("IFA_ADDRESS")
            found.add(ipaddress.ip_interface(f"{address}/{message['prefixlen']}").network)
        for message in socket.get_routes():
            destination = message.get("RTA_DST")
            if destination is not None and message["type"] == RTN_UNICAST:
                found.add(ipaddress.ip_network(f"{destination}/{message['dst_len']}"))
    found.update(_resolvers())
    return sorted(found, key=lambda prefix: (prefix.version, prefix))


def _resolvers() -> Iterator[IpNetwork]:
    """The servers that this host asks for names (resolv.conf(5))."""
    with suppress(OSError, UnicodeDecodeError):
        for line in RESOLVERS.read_text(encoding="utf-8").splitlines():
            word, _, address = line.partition(" ")
            with suppress(ValueError):
                if word == "nameserver":
                    yield ipaddress.ip_network(address.strip().partition("%")[0])


def _check_free(path: str, interface: Interface) -> None:
    """Refuse before anything is touched. Runs inside the sandbox."""
    with netlink(f"{path} cannot be looked into") as socket:
        if index_of(socket, interface.name) is not None:
            where, option = ("this host", "--tap") if path == OWN_NAMESPACE else (path, "--ifname")
            raise StateError(
                f"{where} already has an interface {interface.name}; choose another with {option}"
            )
        wanted = {address.ip: address for address in interface.addresses}
        for message in socket.get_addr():
            text = message.get("IFA_LOCAL") or message.get("IFA_ADDRESS")
            if ipaddress.ip_address(text) in wanted:
                (link,) = socket.get_links(message["index"])
                raise StateError(f"{path} already has {text}, on {link.get('IFLA_IFNAME')}")


def _alias_of(where: str, name: str) -> str | None:
    """The alias of a device, "" where it has none; None where there is no such device."""
    with netlink(f"{where} cannot be looked into") as socket:
        index = index_of(socket, name)
        if index is None:
            return None
        (link,) = socket.get_links(index)
        alias: str = link.get("IFLA_IFALIAS") or ""
        return alias.rpartition(" ")[0]


def _find(where: str, alias: str, flags: int) -> str | None:
    with netlink(f"{where} cannot be looked into") as socket:
        for link in socket.get_links():
            is_it = (link.get("IFLA_IFALIAS") or "").rpartition(" ")[0] == alias
            if is_it and link["flags"] & flags == flags:
                name: str = link.get("IFLA_IFNAME")
                return name
    return None


def _remove(where: str, name: str, aliases: set[str]) -> None:
    if _alias_of(where, name) in aliases:
        with netlink(f"{name} cannot be removed from {where}") as socket:
            index = index_of(socket, name)
            if index is not None:
                socket.link("del", index=index)


def _give_back(path: str, name: str, alias: str, pid: int) -> None:
    """Set a device down, and move it to where the daemon is. Runs inside the sandbox."""
    with netlink(f"{name} cannot be taken out of {path}") as socket:
        index = index_of(socket, name)
        if index is None:
            return
        (link,) = socket.get_links(index)
        found, _, device = (link.get("IFLA_IFALIAS") or "").rpartition(" ")
        if found == alias:
            socket.link("set", index=index, state="down")
            socket.link("set", index=index, ifname=device)
            socket.link("set", index=index, net_ns_pid=pid)


def _move(device: str, path: str, interface: Interface) -> None:
    """Hand the device over as it shall be. Runs in our namespace."""
    with open_namespace(path) as fd, netlink(f"{device} cannot be moved to {path}") as socket:
        index = _dress(socket, device, interface)
        socket.link("set", index=index, net_ns_fd=fd)


def _prepare(device: str, interface: Interface) -> None:
    with netlink(f"{device} cannot be prepared") as socket:
        _dress(socket, device, interface)


def _dress(socket: Any, device: str, interface: Interface) -> int:
    """Set what only this side may set; returns the device's number. Runs in our namespace."""
    index = index_of(socket, device)
    if index is None:
        raise HostError(f"the device {device} is gone; somebody removed it")
    settings: dict[str, Any] = {}
    if interface.mtu:
        settings["mtu"] = interface.mtu
    if interface.mac is not None:
        settings["address"] = format_mac(interface.mac)
    if interface.alias:
        # What it was called here comes after the alias, so that it can be called so again.
        settings["ifalias"] = f"{interface.alias} {device}"
    if interface.gso_max_bytes is not None:
        settings["gso_max_size"] = interface.gso_max_bytes
    socket.link("set", index=index, **settings)
    return index


def _settle(device: str, path: str, interface: Interface) -> None:
    """Name it, address it, bring it up. Runs inside the sandbox."""
    with netlink(f"{interface.name} cannot be set up in {path}") as socket:
        index = index_of(socket, device)
        if index is None:
            raise HostError(f"the device {device} did not arrive in {path}")
        socket.link("set", index=index, ifname=interface.name)
        _allow_ipv6(interface)
        for address in interface.addresses:
            add_address(socket, index, address)
        with _announced(interface.name):
            socket.link("set", index=index, state="up")
        _add_default_routes(socket, index, interface)


def _allow_ipv6(interface: Interface) -> None:
    """Docker's containers have IPv6 disabled, for each device until it gets an address of it."""
    if any(address.version == 6 for address in interface.addresses):
        _set("ipv6/conf/{}/disable_ipv6", interface.name, "0")


def _set(setting: str, name: str, value: str) -> None:
    """Best effort: a sandbox may be without IPv6, a container's settings read-only."""
    with suppress(OSError):
        Path("/proc/sys/net", setting.format(name)).write_text(value, encoding="ascii")


@contextmanager
def _announced(name: str) -> Iterator[None]:
    """Have the kernel tell all neighbours of the addresses of a device that comes up meanwhile.

    Whoever knew another station by one of them would go on asking that for half a minute. Only
    meanwhile: the link-local address, which comes a second later, is the sandbox's own affair.
    """
    for value in ("1", "0"):
        for setting in ANNOUNCES:
            _set(setting, name, value)
        if value == "1":
            yield


def _restore(path: str, interface: Interface) -> list[str]:
    """Put right what is not as it shall be. Runs inside the sandbox."""
    found: list[str] = []
    with netlink(f"{interface.name} cannot be put right in {path}") as socket:
        index = index_of(socket, interface.name)
        if index is None:
            raise HostError(f"{interface.name} is gone from {path}")
        (link,) = socket.get_links(index)
        wanted: dict[str, Any] = {}
        if interface.mtu and link.get("IFLA_MTU") != interface.mtu:
            found.append("MTU")
            wanted["mtu"] = interface.mtu
        if interface.mac is not None and link.get("IFLA_ADDRESS") != format_mac(interface.mac):
            found.append("MAC")
            wanted["address"] = format_mac(interface.mac)
        if not link["flags"] & IFF_UP:
            found.append("state")
        if wanted or "state" in found:
            socket.link("set", index=index, state="up", **wanted)
        # Setting a device down takes its IPv6 addresses and all its routes along.
        held = {
            ipaddress.ip_address(m.get("IFA_LOCAL") or m.get("IFA_ADDRESS"))
            for m in socket.get_addr(index=index)
        }
        _allow_ipv6(interface)
        for address in interface.addresses:
            if address.ip not in held:
                found.append(str(address.ip))
                add_address(socket, index, address)
        if found:
            _add_default_routes(socket, index, interface)
    return found


def add_address(socket: Any, index: int, address: IpInterface) -> None:
    """Give a device an address that vxnet handed out."""
    arguments: dict[str, Any] = {}
    if isinstance(address, ipaddress.IPv4Interface):
        arguments["broadcast"] = str(address.network.broadcast_address)
    else:
        arguments["flags"] = IFA_F_NODAD
    socket.addr(
        "add",
        index=index,
        address=str(address.ip),
        prefixlen=address.network.prefixlen,
        **arguments,
    )


def _add_default_routes(socket: Any, index: int, interface: Interface) -> None:
    """Each endpoint brings its own; the kernel takes the one with the lowest metric."""
    ways: list[dict[str, Any]] = [
        {"family": _family(gateway.version), "gateway": str(gateway)}
        for gateway in interface.gateways
    ]
    if interface.on_link_default:
        versions = sorted({address.version for address in interface.addresses})
        ways += [{"family": _family(version)} for version in versions]
    for way in ways:
        socket.route("replace", dst="default", oif=index, priority=interface.metric, **way)


def _ways_out(path: str, name: str) -> tuple[int, ...]:
    """Runs inside the sandbox."""
    found = []
    with netlink(f"the routes of {path} cannot be read") as socket:
        index = index_of(socket, name)
        for version, outside in OUTSIDE.items():
            with suppress(NetlinkError):  # there is no route
                (route,) = socket.route("get", dst=outside, family=_family(version))
                if index is not None and route.get("RTA_OIF") == index:
                    found.append(version)
    return tuple(found)


def _take_all(path: str) -> None:
    """Runs inside the namespace."""
    for setting, value in AS_ANYBODY.items():
        for devices in ("all", "default"):
            where = Path("/proc/sys/net", setting.format(devices))
            try:
                where.write_text(value, encoding="ascii")
            except OSError as error:
                if "ipv4" in setting:
                    reason = error.strerror
                    raise HostError(f"{where} cannot be set to {value}: {reason}") from None
    with netlink(f"{path} cannot be made to take all addresses") as socket:
        loopback = index_of(socket, "lo")
        socket.link("set", index=loopback, state="up")
        for version in (4, 6):
            # In the main table, where the network's own subnets have longer prefixes.
            way = {
                "oif": loopback,
                "type": RTN_LOCAL,
                "table": RT_TABLE_MAIN,
                "scope": RT_SCOPE_HOST,
            }
            try:
                socket.route("replace", dst="default", family=_family(version), **way)
            except NetlinkError:
                if version == 4:
                    raise  # a kernel may be without IPv6


def _family(version: int) -> int:
    return AF_INET if version == 4 else AF_INET6


def index_of(socket: Any, name: str) -> int | None:
    """The number of the device of this name in the socket's namespace."""
    found: list[int] = socket.link_lookup(ifname=name)
    return found[0] if found else None
