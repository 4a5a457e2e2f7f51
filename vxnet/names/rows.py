"""The row by which a host tells the others what one of its endpoints is called, and serves."""

from enum import IntEnum
from typing import Final

import msgspec

from vxnet.cnm.model import NetworkId
from vxnet.errors import UNREADABLE, StateError, WireError
from vxnet.wire.addr import Ip, Mac

__all__ = ["Membership", "NameRow", "Serving", "read_row", "write_row"]

BODY_BYTES_MAX: Final = 900
NAME_BYTES_MAX: Final = 64
NAMES_MAX: Final = 16
IPS_MAX: Final = 8


class Serving(IntEnum):
    """How a member of a service is."""

    STARTING = 0  # its health was not checked yet
    HEALTHY = 1
    FAILING = 2
    DRAINING = 3  # it keeps the flows it has, and gets no new ones


class Membership(msgspec.Struct, frozen=True, array_like=True):
    """An endpoint is a member of this service."""

    service: str
    serving: Serving


class NameRow(msgspec.Struct, frozen=True, array_like=True):
    """An endpoint as it is told. Fields are only ever appended."""

    network: bytes
    name: str
    mac: bytes
    ips: tuple[bytes, ...]
    aliases: tuple[str, ...] = ()
    memberships: tuple[Membership, ...] = ()
    ways_out: tuple[int, ...] = ()
    """The versions of IP in which it answers addresses outside by this network's gateway."""

    @property
    def network_id(self) -> NetworkId:
        """The network it is in."""
        return NetworkId(self.network.hex())

    @property
    def station(self) -> Mac:
        """Its MAC, as the switch takes it."""
        return Mac(self.mac)

    def addresses(self, size: int) -> tuple[Ip, ...]:
        """Those of its addresses that have so many octets."""
        return tuple(Ip(ip) for ip in self.ips if len(ip) == size)

    def serving(self, service: str) -> Serving | None:
        """How it serves; None where it does not."""
        return next((m.serving for m in self.memberships if m.service == service), None)


def write_row(row: NameRow) -> bytes:
    """The row as it travels. Raises StateError where it does not fit a packet."""
    body = msgspec.msgpack.encode(row)
    if len(body) > BODY_BYTES_MAX or len(row.aliases) > NAMES_MAX:
        raise StateError(
            f"endpoint {row.name} has {len(row.aliases)} aliases and {len(row.memberships)} "
            f"services in {len(body)} octets; {NAMES_MAX} aliases and {BODY_BYTES_MAX} octets "
            "travel between hosts, so give it fewer"
        )
    return body


def read_row(body: bytes) -> NameRow:
    """What `write_row` wrote. Raises WireError."""
    try:
        row = msgspec.msgpack.decode(body, type=NameRow)
    except UNREADABLE as error:
        raise WireError(f"the row of a name cannot be read: {error}") from None
    names = (row.name, *row.aliases, *(m.service for m in row.memberships))
    if len(names) > 2 * NAMES_MAX or any(not _is_name(name) for name in names):
        raise WireError(f"an endpoint's row with {len(names)} names, the first {row.name[:64]!r}")
    if (
        len(row.network) != 16
        or len(row.mac) != 6
        or row.mac[0] & 1
        or len(row.ips) > IPS_MAX
        or any(len(ip) not in (4, 16) for ip in row.ips)
        or len(row.ways_out) > IPS_MAX
    ):
        raise WireError(f"the row of {row.name!r} has addresses of wrong sizes")
    return row


def _is_name(name: str) -> bool:
    return 1 <= len(name.encode()) <= NAME_BYTES_MAX and name.isprintable()
