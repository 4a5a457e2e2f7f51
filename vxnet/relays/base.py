"""What published ports have in common: who is to take what comes, and how much may go on."""

import asyncio
import errno
import ipaddress
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from vxnet.cnm.model import IpAddress
from vxnet.errors import HostError

__all__ = [
    "BACKLOG",
    "CONNECTIONS_MAX",
    "Bound",
    "Chooser",
    "SocketMaker",
    "Target",
    "listener",
    "plain",
]

CONNECTIONS_MAX: Final = 4_096
"""Of a host, to all its published ports; a datagram's client counts as one."""
BACKLOG: Final = 512

SocketMaker = Callable[[int, int], Awaitable[socket.socket]]
"""A socket of a family and a kind that reaches members."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a member takes connections."""

    member: bytes
    address: IpAddress
    port: int
    shows_client: bool = False
    """Whether it can answer a client's own address."""

    @property
    def family(self) -> int:
        """That of its address."""
        return socket.AF_INET if self.address.version == 4 else socket.AF_INET6


Chooser = Callable[[Counter[bytes], Collection[bytes], IpAddress], Target | None]
"""Who takes the next one: given how many each member has here, who was tried in vain, who asks."""


@dataclass(slots=True)
class Bound:
    """How much goes on at all ports together."""

    most: int = CONNECTIONS_MAX
    used: int = 0
    counters: Counter[str] = field(default_factory=Counter)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the last that ends."""

    def take(self) -> bool:
        """Whether there is room for one more."""
        if self.used >= self.most:
            self.counters["ingress_refused"] += 1
            return False
        self.used += 1
        self.ended.clear()
        return True

    def give_back(self) -> None:
        """One has ended."""
        self.used -= 1
        if not self.used:
            self.ended.set()


def plain(text: str) -> IpAddress:
    """An address as a socket for both versions tells it."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def listener(kind: int, port: int) -> socket.socket:
    """At every address of the host. Raises HostError."""
    for family in (socket.AF_INET6, socket.AF_INET):
        made = None
        try:
            made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            if kind == socket.SOCK_STREAM:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("", port))
            if kind == socket.SOCK_STREAM:
                made.listen(BACKLOG)
        except OSError as error:
            if made is not None:
                made.close()
            no_v6 = family == socket.AF_INET6 and not _is_taken(error)
            if no_v6:
                continue
            raise HostError(f"port {port} of this host cannot be had: {error.strerror}") from error
        return made
    raise AssertionError


def _is_taken(error: OSError) -> bool:
    return error.errno in (errno.EADDRINUSE, errno.EACCES)
