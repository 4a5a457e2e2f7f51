"""Under whose address a relay speaks to members: the client's own, where members answer that."""

import errno
import socket
from collections.abc import Collection
from typing import Final

from vxnet.cnm.model import IpAddress
from vxnet.relays.base import Target

__all__ = ["ANSWERED_WITHIN_S", "SILENT_S", "Source", "Sources", "borrow", "is_taken", "keep_known"]

ANSWERED_WITHIN_S: Final = 1.5
"""A lost SYN is sent again after a second (RFC 6298 §2.1)."""
SILENT_S: Final = 60.0
"""How long a member that answered the host's address alone is spared those of clients."""

Source = tuple[IpAddress, int]
"""An address and a port; port 0 is any that is free."""

_TRANSPARENT: Final = {
    4: (socket.IPPROTO_IP, 19),
    6: (socket.IPPROTO_IPV6, 75),
}  # linux/in.h, in6.h
_BIND_ADDRESS_NO_PORT: Final = 24  # linux/in.h: the port is chosen when the peer is known
_TAKEN: Final = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM})

# A member's host that lost its table knows a connection again by the client's next packet, so one
# that is silent says something now and then. It ends where nobody answers for ten minutes.
_PROBE_AFTER_S: Final = 5
_PROBES_MAX: Final = 127  # MAX_TCP_KEEPCNT


class Sources:
    """What members were seen to answer."""

    def __init__(self) -> None:
        self._answering: set[bytes] = set()
        self._silent: dict[bytes, float] = {}  # until when

    def wanted(self, target: Target, client: Source, now: float) -> tuple[Source, ...]:
        """What to speak as, one after the other where a port is taken; nothing: as this host."""
        if not target.shows_client or self.is_spared(target.member, now):
            return ()
        return client, (client[0], 0)

    def is_spared(self, member: bytes, now: float) -> bool:
        """Whether a member did not answer clients lately."""
        return now < self._silent.get(member, now)

    def is_answering(self, member: bytes) -> bool:
        """Whether a member did answer a client's address, so that its silence is its own will."""
        return member in self._answering

    def answered(self, member: bytes) -> None:
        """A member answered a client's address."""
        self._answering.add(member)
        self._silent.pop(member, None)

    def was_silent(self, member: bytes, now: float) -> None:
        """A member did not, but it answered this host's."""
        self._silent[member] = now + SILENT_S

    def keep(self, members: Collection[bytes]) -> None:
        """Forget all others."""
        self._answering &= set(members)
        self._silent = {m: until for m, until in self._silent.items() if m in members}


def borrow(made: socket.socket, source: Source) -> None:
    """Have a socket speak under an address that is another's. Raises OSError where that is taken.

    It hears the answers where all addresses are local (`HostNetwork.take_all`).
    """
    address, port = source
    made.setsockopt(*_TRANSPARENT[address.version], 1)
    if made.type == socket.SOCK_STREAM:
        if port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    made.bind((str(address), port))


def keep_known(made: socket.socket) -> None:
    """Have a connection be heard of where it says nothing by itself."""
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_AFTER_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_AFTER_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES_MAX)


def is_taken(error: OSError) -> bool:
    """Whether an address and port could not be had, so that another may be."""
    return error.errno in _TAKEN
