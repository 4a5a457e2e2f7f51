"""Keeps endpoints' devices as vxnet made them when somebody changes them behind its back."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from vxnet.cnm.model import Endpoint, EndpointState
from vxnet.errors import VxnetError
from vxnet.host.base import HostNetwork
from vxnet.network_table import NetworkTable
from vxnet.plumbing import Plumbing
from vxnet.recovery import Recoverer
from vxnet.registry import Registry

__all__ = ["Guard"]

SETTLE_S: Final = 0.1
"""How long to let things settle: one change seldom comes alone."""


class Guard:
    """Hears that something changed in a sandbox; looks, and puts right what is not ours to see."""

    def __init__(
        self,
        table: NetworkTable,
        registry: Registry,
        plumbing: Plumbing,
        recoverer: Recoverer,
        host: HostNetwork,
    ) -> None:
        self._table = table
        self._registry = registry
        self._plumbing = plumbing
        self._recoverer = recoverer
        self._host = host
        self._paths: set[str] = set()
        self._awake = asyncio.Event()
        self.restored = 0

    def changed(self, path: str) -> None:
        """Something in this sandbox changed, or the sandbox is gone."""
        self._paths.add(path)
        self._awake.set()

    async def run(
        self, report: Callable[[VxnetError], None], tell: Callable[[Endpoint, list[str]], None]
    ) -> None:
        """Look after sandboxes until cancelled; `tell` hears what was restored."""
        while True:
            await self._awake.wait()
            await asyncio.sleep(SETTLE_S)
            self._awake.clear()
            await self.look(report, tell)

    async def look(
        self, report: Callable[[VxnetError], None], tell: Callable[[Endpoint, list[str]], None]
    ) -> None:
        """Look at every sandbox in which something changed."""
        paths, self._paths = self._paths, set()
        for endpoint in list(self._registry):
            if endpoint.sandbox is None or endpoint.sandbox.path not in paths:
                continue
            async with self._table.turns.of(endpoint.id):
                try:
                    found = await self._restore(endpoint)
                except VxnetError as error:
                    report(error)
                    continue
            if found:
                self.restored += 1
                tell(endpoint, found)

    async def _restore(self, endpoint: Endpoint) -> list[str]:
        """What of an endpoint's device had to be put right."""
        current = self._registry.find(endpoint.id)
        if current is None or current.state is not EndpointState.JOINED:
            return []
        interface = self._plumbing.interface_of(endpoint.id)
        if interface is None or current.sandbox is None or endpoint.id in self._registry.absent:
            return []
        located = (
            await self._plumbing.locate(current) if await self._plumbing.is_there(current) else None
        )
        if located is None:
            await self._recoverer.rejoin(current)
            return ["device"]
        interface = replace(interface, name=located.ifname)
        return await self._host.restore(current.sandbox.path, interface)
