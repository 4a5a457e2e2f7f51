"""What vxnet needs of the operating system beside frames and datagrams: namespaces and storage."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from vxnet.cnm.model import IpAddress, IpInterface, IpNetwork
from vxnet.wire.addr import Mac

__all__ = [
    "Bridge",
    "Firewall",
    "ForwardPass",
    "HostNetwork",
    "Interface",
    "Ipvlan",
    "LinkSpec",
    "Links",
    "Macvlan",
    "Row",
    "SandboxWatch",
    "Store",
    "Underlay",
    "Veth",
    "Vlan",
]


@dataclass(frozen=True, slots=True)
class Interface:
    """What a device shall be inside its sandbox. `gateways` become default routes there."""

    name: str
    mac: Mac | None  # None: as it is
    mtu: int  # 0: as it is
    addresses: tuple[IpInterface, ...] = ()
    gateways: tuple[IpAddress, ...] = ()
    gso_max_bytes: int | None = None
    alias: str = ""  # goes with the device wherever it is moved
    on_link_default: bool = False  # default routes to the device, without a gateway
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
        """The subnets this host has addresses in or routes to, and its resolvers' addresses.

        Default routes are left out.
        """
        ...

    def is_here(self, name: str) -> bool:
        """Whether this host has a device of this name; waits for nothing."""
        ...

    async def check_sandbox(self, path: str) -> None:
        """Raises StateError unless the file stands for a network namespace."""
        ...

    async def create_sandbox(self, path: str) -> None:
        """Make a network namespace with loopback up, kept by this file. Idempotent."""
        ...

    async def delete_sandbox(self, path: str) -> None:
        """Let go of a namespace that `create_sandbox` made. Idempotent."""
        ...

    async def has(self, path: str, name: str, alias: str) -> bool:
        """Whether a sandbox holds a device of this name that carries this alias."""
        ...

    async def find(self, path: str, alias: str, *, up: bool = False) -> str | None:
        """What the device that carries this alias is called in a sandbox; None: it is not there.

        With `up`, one that is down is not there yet.
        """
        ...

    async def remove(self, path: str | None, name: str, alias: str) -> None:
        """Remove a device from a sandbox, if it carries this alias, or from the host (None).

        What is not there, the sandbox included, is ignored.
        """
        ...

    async def is_own(self, path: str) -> bool:
        """Whether a sandbox is the namespace the daemon runs in."""
        ...

    async def take_back(self, path: str, name: str, alias: str) -> None:
        """Move a device out of a sandbox, under the name it had on the host. Idempotent."""
        ...

    async def restore(self, path: str, interface: Interface) -> list[str]:
        """Put a device in a sandbox right (MTU, MAC, addresses, up); returns what was not."""
        ...

    async def prepare(self, device: str, interface: Interface) -> None:
        """Make a device of this host ready for another to move: all but its name and addresses."""
        ...

    async def place(self, device: str, path: str, interface: Interface) -> None:
        """Move a device of this host into a sandbox and make it what `interface` says, and up.

        Raises StateError where the sandbox is missing, or the name or an address is taken in it;
        HostError where the system refuses. After an error the device is in either namespace.
        """
        ...

    async def ways_out(self, path: str, name: str) -> tuple[int, ...]:
        """The versions of IP in which a sandbox's default route leads to this device."""
        ...

    async def take_all(self, path: str) -> None:
        """Have a new namespace take packets to any address for its own, before devices come.

        Sockets there may speak as anybody. Addresses that it has other routes to are left out.
        """
        ...


@dataclass(frozen=True, slots=True)
class Bridge:
    """A kernel bridge with addresses of its own."""

    name: str
    mtu: int
    addresses: tuple[IpInterface, ...] = ()


@dataclass(frozen=True, slots=True)
class Veth:
    """A pair of devices: `name` on a bridge, `peer` to be moved. Isolated ports do not meet."""

    name: str
    peer: str
    bridge: str
    mtu: int
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class Macvlan:
    """A device with a MAC of its own on its parent's segment."""

    name: str
    parent: str
    mode: str  # bridge, private, vepa or passthru


@dataclass(frozen=True, slots=True)
class Ipvlan:
    """A device with addresses of its own behind its parent's MAC."""

    name: str
    parent: str
    mode: str  # l2, l3 or l3s


@dataclass(frozen=True, slots=True)
class Vlan:
    """An IEEE 802.1Q sub-interface."""

    name: str
    parent: str
    vlan_id: int


LinkSpec = Bridge | Veth | Macvlan | Ipvlan | Vlan


class Links(Protocol):
    """Makes and removes kernel devices. Raises StateError for a parent that is not there."""

    async def add(self, link: LinkSpec) -> None:
        """Make a device, and bring it up where it stays on the host. Idempotent."""
        ...

    async def remove(self, name: str) -> None:
        """Remove a device and what hangs on it. Idempotent."""
        ...

    async def names(self, prefix: str) -> list[str]:
        """The devices of this host whose names begin so."""
        ...

    async def parent(self, name: str) -> Underlay:
        """A device of this host with its MTU."""
        ...

    async def set_forwarding(self, versions: Collection[int]) -> None:
        """Have the host route between its devices, packets of these versions of IP."""
        ...

    async def lacks(self, kind: str) -> str | None:
        """Why this kernel cannot make such devices (bridge, macvlan, …); None where it can."""
        ...


class Firewall(Protocol):
    """A table of rules of our own."""

    async def replace(self, chains: str) -> None:
        """Have exactly these chains, all at once. Raises HostError where the kernel refuses."""
        ...

    async def remove(self) -> None:
        """Have no table. Idempotent."""
        ...

    async def restore(self) -> bool:
        """Put the chains back where somebody changed them; says whether that was so."""
        ...


class ForwardPass(Protocol):
    """Rules in the table of somebody else who keeps the host from routing."""

    async def ensure(self) -> bool:
        """Have our devices' packets pass, where there is such a table; says whether it is so."""
        ...

    async def remove(self) -> None:
        """Leave that table as it was found. Idempotent."""
        ...


class SandboxWatch(Protocol):
    """Tells of changes inside sandboxes, without keeping them alive."""

    async def follow(self, path: str) -> None:
        """Hear of changes in this sandbox from now on. Raises StateError where it is gone."""
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
