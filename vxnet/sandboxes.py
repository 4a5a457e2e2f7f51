"""The verbs of sandboxes: network namespaces that vxnet makes, and those that endpoints are in."""

from collections.abc import Iterator
from typing import Final

from vxnet.cnm.model import Sandbox, SandboxKind
from vxnet.errors import StateError
from vxnet.host.base import HostNetwork, Store
from vxnet.network_table import NetworkTable
from vxnet.networks import check_name
from vxnet.registry import Registry

__all__ = ["Sandboxes"]

TABLE: Final = "sandbox"


class Sandboxes:
    """The sandboxes of this host."""

    def __init__(
        self, table: NetworkTable, registry: Registry, host: HostNetwork, store: Store
    ) -> None:
        self._turns = table.turns
        self._registry = registry
        self._host = host
        self._store = store
        self._own: set[Sandbox] = set()

    def __iter__(self) -> Iterator[Sandbox]:
        """Those that vxnet made, and those that endpoints are in."""
        used = {endpoint.sandbox for endpoint in self._registry if endpoint.sandbox is not None}
        return iter(sorted(self._own | used, key=str))

    def get(self, name: str) -> Sandbox:
        """A sandbox by its name, or by its path. Raises StateError."""
        for sandbox in self:
            if name in (sandbox.value, str(sandbox), sandbox.path):
                return sandbox
        raise StateError(f"there is no sandbox {name}; see: vxnet sandbox ls")

    def is_own(self, sandbox: Sandbox) -> bool:
        """Whether vxnet made it."""
        return sandbox in self._own

    async def load(self) -> None:
        """Take up those from before a restart; after a reboot they are made anew."""
        for name, _ in await self._store.rows(TABLE):
            sandbox = Sandbox(SandboxKind.NETNS, name)
            await self._host.create_sandbox(sandbox.path)
            self._own.add(sandbox)

    async def create(self, name: str) -> Sandbox:
        """Make a namespace of this name, with loopback up. Raises StateError where it is taken."""
        check_name("sandbox", name)
        async with self._turns:
            sandbox = Sandbox(SandboxKind.NETNS, name)
            if sandbox in self._own or await self._exists(sandbox):
                raise StateError(f"there is already a network namespace {name}")
            await self._store.put(TABLE, name, b"{}")
            try:
                await self._host.create_sandbox(sandbox.path)
            except BaseException:
                await self._store.delete(TABLE, name)
                raise
            self._own.add(sandbox)
            return sandbox

    async def remove(self, name: str) -> None:
        """Remove a namespace that vxnet made. Raises StateError while endpoints are in it."""
        async with self._turns:
            sandbox = self.get(name)
            if users := [e.name for e in self._registry if e.sandbox == sandbox]:
                raise StateError(
                    f"sandbox {name} has the endpoints {', '.join(users)}; detach them first"
                )
            if not self.is_own(sandbox):
                raise StateError(f"sandbox {name} was not made by vxnet; remove it where it was")
            await self._host.delete_sandbox(sandbox.path)
            await self._store.delete(TABLE, sandbox.value)
            self._own.discard(sandbox)

    async def _exists(self, sandbox: Sandbox) -> bool:
        try:
            await self._host.check_sandbox(sandbox.path)
        except StateError:
            return False
        return True
