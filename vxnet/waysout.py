"""Which members on this host have a way out by their network: they can answer clients outside.

It is looked for where routes are, in the sandbox: Docker or a person may have given it others.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from vxnet.cnm.model import Endpoint, EndpointId, EndpointState
from vxnet.errors import VxnetError
from vxnet.host.base import HostNetwork
from vxnet.nameservice import NameService
from vxnet.registry import Registry
from vxnet.services import Services
from vxnet.tending import woken

__all__ = ["WaysOut"]

TEND_EVERY_S: Final = 1.0
WAIT_S: Final = (1.0, 30.0)
"""Between two looks at one sandbox: at first, and at most. Each is twice the one before."""


class WaysOut:
    """Has them told by the rows of names."""

    def __init__(
        self, names: NameService, registry: Registry, services: Services, host: HostNetwork
    ) -> None:
        self._names = names
        self._registry = registry
        self._services = services
        self._host = host
        self._found: dict[EndpointId, tuple[int, ...]] = {}
        self._looks: dict[Endpoint, tuple[float, float]] = {}  # when again, and after how long
        self._awake = asyncio.Event()
        names.ways_out = self.of
        registry.watchers.append(self._awake.set)
        services.watchers.append(self._awake.set)

    def of(self, endpoint: Endpoint) -> tuple[int, ...]:
        """The versions of IP in which an endpoint has one."""
        return self._found.get(endpoint.id, ())

    async def run(self, report: Callable[[VxnetError], None]) -> None:
        """Look again and again, until cancelled."""
        while True:
            await woken(self._awake, TEND_EVERY_S)
            await self.tend(report)

    async def tend(self, report: Callable[[VxnetError], None]) -> None:
        """Look at those that are due."""
        wanted = {endpoint for endpoint in self._registry if self._is_asked_for(endpoint)}
        self._looks = {e: look for e, look in self._looks.items() if e in wanted}
        kept = {endpoint.id for endpoint in wanted}
        before = self._found
        self._found = {number: ways for number, ways in before.items() if number in kept}
        now = asyncio.get_running_loop().time()
        first, most = WAIT_S
        for endpoint in wanted:
            due, wait = self._looks.get(endpoint, (now, first))
            if now < due:
                continue
            self._looks[endpoint] = (now + wait, min(2 * wait, most))
            try:
                self._found[endpoint.id] = await self._look(endpoint)
            except VxnetError as error:
                self._found.pop(endpoint.id, None)  # gone meanwhile, mostly
                if wait == most:
                    report(error)
        if self._found != before:
            self._names.tell()

    async def _look(self, endpoint: Endpoint) -> tuple[int, ...]:
        assert endpoint.sandbox is not None
        return await self._host.ways_out(endpoint.sandbox.path, endpoint.ifname)

    def _is_asked_for(self, endpoint: Endpoint) -> bool:
        """Whether it is a member with a published port, in a sandbox that can be looked into."""
        if (
            endpoint.state is not EndpointState.JOINED
            or endpoint.sandbox is None
            or endpoint.is_for_vm
            or not endpoint.ifname
            or endpoint.id in self._registry.absent
        ):
            return False
        rows = (self._services.catalogue.get(name) for name in endpoint.services)
        return any(row is not None and row.is_published for row in rows)
