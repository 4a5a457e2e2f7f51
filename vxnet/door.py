"""A door into a network for this host's own use: a TAP in a namespace that nobody else is in.

Sockets made there are all that lives in it, so it is gone with them, also after a crash, and no
name, rule or process of it is seen on the host or in a sandbox.
"""

import os
import socket
from dataclasses import dataclass
from functools import partial
from typing import Final

from vxnet.cnm.model import IpInterface
from vxnet.errors import HostError
from vxnet.host.namespace import run_inside, run_outside
from vxnet.host.netlink import add_address, index_of, netlink
from vxnet.link.base import Link
from vxnet.link.tap import Tap
from vxnet.wire.addr import Mac, format_mac

__all__ = ["Door", "open_door"]

NAME: Final = "dns0"
BACKLOG: Final = 128
RECEIVE_BUFFER_BYTES: Final = 1 << 20
ADDR_GEN_NONE: Final = 1  # linux/if_link.h: IN6_ADDR_GEN_MODE_NONE


@dataclass(frozen=True, slots=True)
class Door:
    """A link for the datapath, and sockets behind it: non-blocking, bound, and listening."""

    link: Link
    datagrams: tuple[socket.socket, ...]
    listeners: tuple[socket.socket, ...]
    namespace: int = -1
    """A descriptor of the namespace they are in."""

    async def connecting(self, family: int) -> socket.socket:
        """A socket of TCP behind the door, not connected yet."""
        kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        path = f"/proc/self/fd/{self.namespace}"
        return await run_inside(path, lambda: socket.socket(family, kind))

    def close(self) -> None:
        """Let go of the sockets; whoever took the link closes that."""
        for opened in (*self.datagrams, *self.listeners):
            opened.close()
        if self.namespace >= 0:
            os.close(self.namespace)


async def open_door(addresses: tuple[IpInterface, ...], mac: Mac, mtu: int, port: int) -> Door:
    """A door with these addresses, and sockets on the port. Raises HostError."""
    return await run_outside(partial(_open, addresses, mac, mtu, port))


def _open(addresses: tuple[IpInterface, ...], mac: Mac, mtu: int, port: int) -> Door:
    """Runs in a thread whose namespace is new and its own."""
    tap = Tap.open(NAME)
    opened: list[socket.socket] = []
    try:
        with netlink("the door of a resolver cannot be set up") as netlinked:
            index = index_of(netlinked, NAME)
            assert index is not None
            # Without addresses of its own making it has nothing to tell the network.
            netlinked.link("set", index=index, address=format_mac(mac), mtu=mtu)
            netlinked.link(
                "set",
                index=index,
                IFLA_AF_SPEC={
                    "attrs": [
                        ("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", ADDR_GEN_NONE)]})
                    ]
                },
            )
            netlinked.link("set", index=index, state="up")
            for address in addresses:
                add_address(netlinked, index, address)
        opened.extend(
            _socket(kind, address, port)
            for address in addresses
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        )
    except BaseException:
        tap.close()
        for one in opened:
            one.close()
        raise
    datagrams = tuple(one for one in opened if one.type == socket.SOCK_DGRAM)
    listeners = tuple(one for one in opened if one not in datagrams)
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    return Door(tap, datagrams, listeners, namespace)


def _socket(kind: int, address: IpInterface, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        made.bind((str(address.ip), port))
        if kind == socket.SOCK_STREAM:
            made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise HostError(f"port {port} of {address.ip} cannot be had: {error.strerror}") from error
    return made
