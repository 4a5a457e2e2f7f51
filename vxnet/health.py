"""Asks the members of services on this host how they are, and tells it by their rows."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Final

from vxnet.cnm.model import Endpoint, EndpointId, EndpointState
from vxnet.cnm.services import Health, ServiceRow
from vxnet.errors import StateError, VxnetError
from vxnet.names.rows import Serving
from vxnet.nameservice import NameService
from vxnet.registry import Registry
from vxnet.resolvers import Resolvers
from vxnet.services import Services

__all__ = ["HealthChecks"]

EVERY_S: Final = 1.0
WITHIN_S: Final = 2.0
FAILURES_MAX: Final = 2
"""So often in a row a member does not answer before it counts as failing."""
ANSWER_BYTES_MAX: Final = 4_096
AT_ONCE_MAX: Final = 64

Key = tuple[EndpointId, str]


class HealthChecks:
    """Checks each member where it is: its own host has the shortest way to it."""

    def __init__(
        self, names: NameService, registry: Registry, services: Services, resolvers: Resolvers
    ) -> None:
        self._names = names
        self._registry = registry
        self._services = services
        self._resolvers = resolvers
        self._failures: dict[Key, int] = {}
        self._draining: set[Key] = set()
        self._gate = asyncio.Semaphore(AT_ONCE_MAX)
        names.serving = self.serving
        services.watchers.append(names.tell)

    def serving(self, endpoint: Endpoint, service: str) -> Serving:
        """How a member of this host serves, as was last seen."""
        key = (endpoint.id, service)
        if key in self._draining:
            return Serving.DRAINING
        row = self._services.catalogue.get(service)
        if row is None or Health.parse(row.health) is None:
            return Serving.HEALTHY
        failures = self._failures.get(key)
        if failures is None:
            return Serving.STARTING
        return Serving.FAILING if failures >= FAILURES_MAX else Serving.HEALTHY

    def drain(self, endpoint: str, service: str, *, wanted: bool) -> Endpoint:
        """Give a member no new flows, or again. Raises StateError where it is none."""
        found = self._registry.get(endpoint)
        if service not in found.services:
            raise StateError(f"endpoint {found.name} is no member of service {service}")
        (self._draining.add if wanted else self._draining.discard)((found.id, service))
        self._names.tell()
        return found

    async def run(self, report: Callable[[VxnetError], None]) -> None:
        """Check again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.check()
            except VxnetError as error:
                report(error)

    async def check(self) -> None:
        """Ask every member of this host once."""
        due = list(self._due())
        keys = {(endpoint.id, row.name) for endpoint, row in due}
        self._failures = {key: n for key, n in self._failures.items() if key in keys}
        before = {key: self._failures.get(key) for key in keys}
        await asyncio.gather(*(self._ask(endpoint, row) for endpoint, row in due))
        if any(self._failures.get(key) != before[key] for key in keys):
            self._names.tell()

    def _due(self) -> Iterator[tuple[Endpoint, ServiceRow]]:
        for endpoint in self._registry:
            for name in endpoint.services:
                row = self._services.catalogue.get(name)
                if (
                    row is not None
                    and endpoint.state is EndpointState.JOINED
                    and Health.parse(row.health) is not None
                ):
                    yield endpoint, row

    async def _ask(self, endpoint: Endpoint, row: ServiceRow) -> None:
        health = Health.parse(row.health)
        ports = [port.target for port in row.ports if port.protocol == "tcp"]
        assert health is not None
        async with self._gate:
            well = bool(ports) and await self._answers(endpoint, ports[0], health.path)
        key = (endpoint.id, row.name)
        self._failures[key] = 0 if well else self._failures.get(key, FAILURES_MAX - 1) + 1

    async def _answers(self, endpoint: Endpoint, port: int, path: str) -> bool:
        door = self._resolvers.door(endpoint.network)
        if door is None or not endpoint.addresses:
            return False
        address = endpoint.addresses[0]
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        try:
            async with asyncio.timeout(WITHIN_S):
                made = await door.connecting(family)
                with contextlib.closing(made):
                    loop = asyncio.get_running_loop()
                    await loop.sock_connect(made, (str(address.ip), port))
                    if not path:
                        return True
                    ask = f"GET {path} HTTP/1.0\r\nHost: {endpoint.name}\r\n\r\n"
                    await loop.sock_sendall(made, ask.encode())
                    answer = b""
                    while b"\n" not in answer and len(answer) < ANSWER_BYTES_MAX:
                        if not (more := await loop.sock_recv(made, ANSWER_BYTES_MAX)):
                            break
                        answer += more
        except (OSError, TimeoutError, VxnetError):
            return False
        words = answer.split(maxsplit=2)
        return len(words) >= 2 and words[0].startswith(b"HTTP/") and words[1][:1] in b"23"
