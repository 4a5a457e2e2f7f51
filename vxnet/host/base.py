"""What vxnet needs of the operating system beside frames and datagrams: namespaces and storage."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vxnet.cnm.model import IpAddress, IpInterface, IpNetwork
from vxnet.wire.addr import Mac

__all__ = ["HostNetwork", "Interface", "Row", "Store", "Underlay"]


@dataclass(frozen=True, slots=True)
class Interface:
    """What a device shall be inside its sandbox. `gateways` become default routes there."""

    name: str
    mac: Mac
    mtu: int
    addresses: tuple[IpInterface, ...] = ()
    gateways: tuple[IpAddress, ...] = ()
    gso_max_bytes: int | None = None
    alias: str = ""  # goes with the device wherever it is moved
    metric: int = 1024  # of the default routes: the lowest one of a sandbox is its way out


@dataclass(frozen=True, slots=True)
class Underlay:
    """The device that outer packets leave from."""

    device: str
    mtu: int


class HostNetwork(Protocol):
    """Links, addresses and namespaces of this host."""

    async def underlay(self, address: IpAddress) -> Underlay:
        """The device that has this address. Raises HostError where none has it."""
        ...

    async def prefixes(self) -> list[IpNetwork]:
        """The subnets this host has addresses in or routes to; default routes are left out."""
        ...

    async def check_sandbox(self, path: str) -> None:
        """Raises StateError unless the file stands for a network namespace."""
        ...

    async def has(self, path: str, name: str, alias: str) -> bool:
        """Whether a sandbox holds a device of this name that carries this alias."""
        ...

    async def remove(self, path: str | None, name: str, alias: str) -> None:
        """Remove a device from a sandbox, if it carries this alias, or from the host (None).

        What is not there, the sandbox included, is ignored.
        """
        ...

    async def place(self, device: str, path: str, interface: Interface) -> None:
        """Move a device of this host into a sandbox and make it what `interface` says, and up.

        Raises StateError where the sandbox is missing, or the name or an address is taken in it;
        HostError where the system refuses. After an error the device is in either namespace.
        """
        ...


Row = tuple[str, bytes]
"""A key and the value under it."""


class Store(Protocol):
    """What outlives the daemon: values under keys, in tables. What was put is on disk."""

    async def rows(self, table: str) -> Sequence[Row]:
        """Everything in a table, in the order of its keys."""
        ...

    async def put(self, table: str, key: str, value: bytes) -> None:
        """Keep a value, replacing what was under this key. Raises HostError where it cannot."""
        ...

    async def delete(self, table: str, key: str) -> None:
        """Forget a key; unknown ones are ignored. Raises HostError where it cannot."""
        ...

    async def close(self) -> None:
        """Let go of the file. Idempotent."""
        ...
