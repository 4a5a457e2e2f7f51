"""A host that is only imagined: the namespaces and the storage of tests."""

from collections.abc import Collection, Sequence

from vxnet.cnm.model import IpAddress, IpNetwork
from vxnet.errors import HostError, StateError
from vxnet.host.base import Interface, LinkSpec, Row, Underlay

OWN = "/proc/1/ns/net"

__all__ = [
    "OWN",
    "MemoryFirewall",
    "MemoryForwardPass",
    "MemoryHost",
    "MemoryLinks",
    "MemoryStore",
    "MemoryWatch",
]


class MemoryHost:
    """Sandboxes are dictionaries of interfaces by name; `refusal` makes the next call fail."""

    def __init__(self, underlay: Underlay | None = None) -> None:
        self.sandboxes: dict[str, dict[str, Interface]] = {}
        self.known_prefixes: list[IpNetwork] = []
        self.refusal: HostError | None = None
        self.prepared: dict[str, Interface] = {}
        self.down: set[str] = set()
        self._placed: dict[str, tuple[str, str]] = {}
        self._underlay = underlay or Underlay("under0", 1500)

    async def underlay(self, address: IpAddress) -> Underlay:
        self._refuse()
        return self._underlay

    async def prefixes(self) -> list[IpNetwork]:
        self._refuse()
        return list(self.known_prefixes)

    def is_here(self, name: str) -> bool:
        prepared = self.prepared.get(name)
        aliases = {i.alias for sandbox in self.sandboxes.values() for i in sandbox.values()}
        return prepared is not None and prepared.alias not in aliases

    async def check_sandbox(self, path: str) -> None:
        self._refuse()
        if path not in self.sandboxes:
            raise StateError(f"there is no network namespace {path}")

    async def create_sandbox(self, path: str) -> None:
        self._refuse()
        self.sandboxes.setdefault(path, {})

    async def delete_sandbox(self, path: str) -> None:
        self.sandboxes.pop(path, None)

    async def has(self, path: str, name: str, alias: str) -> bool:
        await self.check_sandbox(path)
        interface = self.sandboxes[path].get(name)
        return interface is not None and interface.alias == alias

    async def find(self, path: str, alias: str, *, up: bool = False) -> str | None:
        await self.check_sandbox(path)
        found = (name for name, i in self.sandboxes[path].items() if i.alias == alias)
        return next((name for name in found if not up or name not in self.down), None)

    async def remove(self, path: str | None, name: str, alias: str) -> None:
        if path is not None and path in self.sandboxes:
            interface = self.sandboxes[path].get(name)
            if interface is not None and interface.alias == alias:
                del self.sandboxes[path][name]

    async def is_own(self, path: str) -> bool:
        await self.check_sandbox(path)
        return path == OWN

    async def take_back(self, path: str, name: str, alias: str) -> None:
        await self.remove(path, name, alias)

    async def restore(self, path: str, interface: Interface) -> list[str]:
        await self.check_sandbox(path)
        if self.sandboxes[path].get(interface.name) == interface:
            return []
        self.sandboxes[path][interface.name] = interface
        return ["device"]

    async def prepare(self, device: str, interface: Interface) -> None:
        self._refuse()
        self.prepared[device] = interface

    async def place(self, device: str, path: str, interface: Interface) -> None:
        await self.check_sandbox(path)
        if interface.name in self.sandboxes[path]:
            raise StateError(f"{path} already has an interface {interface.name}")
        self.sandboxes[path][interface.name] = interface
        self._placed[device] = (path, interface.name)

    async def ways_out(self, path: str, name: str) -> tuple[int, ...]:
        await self.check_sandbox(path)
        interface = self.sandboxes[path].get(name)
        return () if interface is None else tuple(g.version for g in interface.gateways)

    async def take_all(self, path: str) -> None:
        self._refuse()

    def device_at(self, path: str, name: str) -> str:
        """What a device in a sandbox was called on the host."""
        return next(device for device, place in self._placed.items() if place == (path, name))

    def vanish(self, device: str) -> None:
        """A device goes when whoever made it lets go of it, also out of a sandbox."""
        if device in self._placed:
            path, name = self._placed.pop(device)
            self.sandboxes.get(path, {}).pop(name, None)

    def _refuse(self) -> None:
        refusal, self.refusal = self.refusal, None
        if refusal is not None:
            raise refusal


class MemoryStore:
    """Tables of a dictionary each; `refusal` makes the next write fail."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, bytes]] = {}
        self.refusal: HostError | None = None

    async def rows(self, table: str) -> Sequence[Row]:
        return sorted(self.tables.get(table, {}).items())

    async def put(self, table: str, key: str, value: bytes) -> None:
        self._refuse()
        self.tables.setdefault(table, {})[key] = value

    async def delete(self, table: str, key: str) -> None:
        self._refuse()
        self.tables.get(table, {}).pop(key, None)

    async def close(self) -> None:
        self.refusal = HostError("the store is closed")

    def _refuse(self) -> None:
        refusal, self.refusal = self.refusal, None
        if refusal is not None:
            raise refusal


class MemoryWatch:
    """Remembers which sandboxes are followed."""

    def __init__(self) -> None:
        self.followed: set[str] = set()

    async def follow(self, path: str) -> None:
        self.followed.add(path)


class MemoryLinks:
    """Devices by name. `missing` says which kinds this kernel lacks, `refusal` fails the next."""

    def __init__(self, *parents: str) -> None:
        self.made: dict[str, LinkSpec] = {}
        self.missing: set[str] = set()
        self.refusal: HostError | None = None
        self.forwarding = False
        self._parents = parents

    async def add(self, link: LinkSpec) -> None:
        refusal, self.refusal = self.refusal, None
        if refusal is not None:
            raise refusal
        self.made[link.name] = link

    async def remove(self, name: str) -> None:
        self.made.pop(name, None)

    async def names(self, prefix: str) -> list[str]:
        return [name for name in self.made if name.startswith(prefix)]

    async def parent(self, name: str) -> Underlay:
        if name not in self._parents:
            raise StateError(f"this host has no device {name}")
        return Underlay(name, 1500)

    async def set_forwarding(self, versions: Collection[int]) -> None:
        self.forwarding = True

    async def lacks(self, kind: str) -> str | None:
        return f"this kernel has no {kind}" if kind in self.missing else None


class MemoryForwardPass:
    """Knows whether it was asked."""

    def __init__(self) -> None:
        self.open = False

    async def ensure(self) -> bool:
        self.open = True
        return True

    async def remove(self) -> None:
        self.open = False


class MemoryFirewall:
    """The chains as they were last set; None where there is no table."""

    def __init__(self) -> None:
        self.chains: str | None = None

    async def replace(self, chains: str) -> None:
        self.chains = chains

    async def remove(self) -> None:
        self.chains = None

    async def restore(self) -> bool:
        return False
