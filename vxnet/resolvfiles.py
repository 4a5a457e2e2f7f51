"""Has named sandboxes ask the resolvers of the networks they are in."""

import asyncio
from collections.abc import Callable

from vxnet.cnm.model import EndpointState, Network, NetworkId, SandboxKind
from vxnet.cnm.subnets import resolvers_of
from vxnet.errors import VxnetError
from vxnet.host.resolvconf import provide, sweep, withdraw
from vxnet.registry import Registry

__all__ = ["ResolvFiles"]


class ResolvFiles:
    """Keeps the files as the endpoints of this host are."""

    def __init__(
        self, registry: Registry, find_network: Callable[[NetworkId], Network | None]
    ) -> None:
        self._registry = registry
        self._find_network = find_network
        self._there: dict[str, tuple[str, ...]] = {}
        self._awake = asyncio.Event()
        registry.watchers.append(self._awake.set)

    async def run(self, report: Callable[[VxnetError], None]) -> None:
        """Follow until cancelled; failures are reported."""
        try:
            await asyncio.to_thread(sweep)
        except VxnetError as error:
            report(error)
        while True:
            await self._awake.wait()
            self._awake.clear()
            await self.follow(self._wanted(), report)

    async def close(self, report: Callable[[VxnetError], None]) -> None:
        """Leave no file that names a resolver which is gone."""
        await self.follow({}, report)

    async def follow(
        self, wanted: dict[str, tuple[str, ...]], report: Callable[[VxnetError], None]
    ) -> None:
        """Have these files and no others of ours."""
        for name in self._there.keys() | wanted.keys():
            if self._there.get(name) == wanted.get(name):
                continue
            try:
                if name in wanted:
                    await asyncio.to_thread(provide, name, wanted[name])
                    self._there[name] = wanted[name]
                else:
                    await asyncio.to_thread(withdraw, name)
                    del self._there[name]
            except VxnetError as error:
                report(error)

    def _wanted(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for endpoint in self._registry:
            sandbox, network = endpoint.sandbox, self._find_network(endpoint.network)
            if (
                sandbox is not None
                and sandbox.kind is SandboxKind.NETNS
                and endpoint.state is EndpointState.JOINED
                and network is not None
            ):
                servers = tuple(str(address.ip) for address in resolvers_of(network))
                if servers:
                    found[sandbox.value] = found.get(sandbox.value, ()) + servers
        return found
