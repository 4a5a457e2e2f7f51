"""Looks after what dockerd does not tell: names, and what it forgot that is still here."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from vxnet.cnm.libnetwork import NetworkNames
from vxnet.cnm.model import Endpoint, EndpointId
from vxnet.docker.answers import NOBODY
from vxnet.docker.driver import DockerDriver
from vxnet.docker.endpoints import DockerEndpoints
from vxnet.docker.engine import Engine, EngineAttachment, EngineNetwork
from vxnet.docker.gateways import Gateways
from vxnet.docker.ipam import IpamDriver
from vxnet.docker.ledger import Ledger
from vxnet.docker.networks import DockerNetworks
from vxnet.endpoints import Endpoints
from vxnet.errors import HostError, StateError, VxnetError
from vxnet.tending import woken

__all__ = ["Steward"]

LOOK_EVERY_S: Final = 15.0
DESCRIBE_EVERY_S: Final = 1.0
LABEL: Final = "vxnet.service"
"""Of a container: the services that it is a member of, with commas between."""
RETRY_S: Final = 0.05
RETRIES: Final = 40
ORPHAN_AFTER_MS: Final = 25_000
"""How long something has to be missing; two looks at least, so that nothing on its way is hit."""

_log = logging.getLogger(__name__)


class Steward:
    """Names what is unnamed at once; removes orphans within a minute, with a line each."""

    def __init__(
        self,
        ledger: Ledger,
        networks: DockerNetworks,
        docker_endpoints: DockerEndpoints,
        endpoints: Endpoints,
        driver: DockerDriver,
        ipam: IpamDriver,
        gateways: Gateways,
        engine: Engine | None,
        now_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._networks = networks
        self._docker_endpoints = docker_endpoints
        self._endpoints = endpoints
        self._driver = driver
        self._ipam = ipam
        self._gateways = gateways
        self._engine = engine
        self._now_ms = now_ms
        self._missing_since: dict[str, int] = {}
        self._described: set[str] = set()
        self._awake = networks.unnamed_event

    async def run(self, report: Callable[[VxnetError], None]) -> None:
        """Look after Docker's things until cancelled; failures are reported."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._revive(report))
            tasks.create_task(self._look_after(report))

    async def _revive(self, report: Callable[[VxnetError], None]) -> None:
        while self._engine is not None:
            if await self.revive(self._engine, report):
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look_after(self, report: Callable[[VxnetError], None]) -> None:
        loop = asyncio.get_running_loop()
        look_at = loop.time() + LOOK_EVERY_S
        while True:
            was_woken = await woken(self._awake, DESCRIBE_EVERY_S)
            try:
                if was_woken:
                    await self._name_networks(report)
                elif loop.time() < look_at:
                    await self.describe()
                else:
                    look_at = loop.time() + LOOK_EVERY_S
                    await self.look()
                    await self._ipam.release_unclaimed(self._now_ms() - ORPHAN_AFTER_MS)
                    await self._gateways.restore()
            except VxnetError as error:
                report(error)

    async def revive(self, engine: Engine, report: Callable[[VxnetError], None]) -> bool:
        """Start what Docker could not start while no daemon ran; says whether Docker answered.

        Docker tries once, when it starts itself; after that nobody else would.
        """
        if not self._ledger.networks:
            return True
        try:
            stopped = await engine.stopped(list(self._ledger.networks))
        except HostError:
            return False  # it is just starting, or not there
        for container in stopped:
            if container.starts_itself and NOBODY in container.state.error:
                try:
                    await engine.start(container.id)
                    _log.info("started what Docker could not", {"container": container.name})
                except HostError as error:
                    report(error)
        return True

    async def look(self) -> None:
        """Remove what has been an orphan for long enough, and note what is missing."""
        known = await self._ask()
        missing: dict[str, str] = {}
        for endpoint in self._docker_endpoints:
            if (reason := await self._why_orphan(endpoint, known)) is not None:
                missing[endpoint.id] = reason
        if known is not None:
            listed = {network.id for network in known}
            missing |= {
                n: "Docker has no such network" for n in self._ledger.networks if n not in listed
            }
            await self._describe(known)
        for pool in self._ledger.pools.values():
            if pool.network not in self._ledger.networks:
                missing[pool.id] = "no network of Docker's has it"
        now_ms = self._now_ms()
        self._missing_since = {key: self._missing_since.get(key, now_ms) for key in missing}
        for key, since_ms in self._missing_since.items():
            if now_ms - since_ms >= ORPHAN_AFTER_MS:
                await self._remove(key, missing[key])

    async def describe(self) -> None:
        """Name endpoints that are new, and say what services they are members of."""
        there = {endpoint.id for endpoint in self._docker_endpoints if endpoint.ifname}
        self._described &= there
        if not there - self._described:
            return
        known = await self._ask()
        if known is not None:
            await self._describe(known)

    async def _describe(self, known: list[EngineNetwork]) -> None:
        assert self._engine is not None
        names = {c.endpoint[:32]: c.name for n in known for c in (n.containers or {}).values()}
        await self._name_endpoints(names)
        endpoints = {endpoint.id: endpoint for endpoint in self._docker_endpoints}
        for network in known:
            for container_id, inside in (network.containers or {}).items():
                endpoint = endpoints.get(EndpointId(inside.endpoint[:32]))
                if endpoint is None or endpoint.id in self._described:
                    continue
                try:
                    container = await self._engine.container(container_id)
                except HostError:
                    return  # dockerd is down; it is asked again
                if container is None:
                    continue
                self._described.add(endpoint.id)
                attached = container.settings.networks.get(network.name, EngineAttachment())
                aliases = tuple(a for a in attached.aliases or () if container_id[:12] != a)
                label = (container.config.labels or {}).get(LABEL, "")
                services = tuple(s for s in map(str.strip, label.split(",")) if s)
                if (aliases, services) != (endpoint.aliases, endpoint.services):
                    try:
                        await self._endpoints.describe(endpoint.id, aliases, services)
                    except StateError as error:
                        _log.warning(
                            "a container's names are not taken up",
                            {"container": inside.name, "reason": error},
                        )

    async def _ask(self) -> list[EngineNetwork] | None:
        """What Docker has, of the networks that are ours; None where it cannot be asked."""
        if self._engine is None:
            return None
        try:
            ours = [n.id for n in await self._engine.networks() if n.id in self._ledger.networks]
            found = [await self._engine.network(network) for network in ours]
        except HostError:
            return None  # dockerd is down; its containers may well be running
        return [network for network in found if network is not None]

    async def _why_orphan(
        self, endpoint: Endpoint, known: list[EngineNetwork] | None
    ) -> str | None:
        if not await self._docker_endpoints.is_there(endpoint):
            return "its sandbox is gone"
        if known is None:
            return None
        ids = {c.endpoint[:32] for n in known for c in (n.containers or {}).values()}
        return None if endpoint.id in ids else "no container of Docker's has it"

    async def _remove(self, key: str, reason: str) -> None:
        kind, name = "pool", key
        if key in self._ledger.networks:
            kind, name = "network", self._ledger.networks[key].name or key
            await self._driver.delete_network(NetworkNames(key))
        elif key in self._ledger.pools:
            await self._ledger.drop_pool(key)
        else:
            endpoint = next((e for e in self._docker_endpoints if e.id == key), None)
            if endpoint is None:
                return
            kind, name = "endpoint", endpoint.name
            await self._driver.remove(endpoint)
        _log.warning("an orphan of Docker's was removed", {kind: name, "reason": reason})

    async def _name_networks(self, report: Callable[[VxnetError], None]) -> None:
        """dockerd lists a network some milliseconds after it was made."""
        if self._engine is None:
            return
        for _ in range(RETRIES):
            for network_id in self._networks.unnamed():
                found = await self._engine.network(network_id)
                if found is not None:
                    try:
                        await self._networks.bind(network_id, found.name)
                    except StateError as error:
                        report(error)
            if not self._networks.unnamed():
                return
            await asyncio.sleep(RETRY_S)

    async def _name_endpoints(self, names: dict[str, str]) -> None:
        """Endpoints are called like their containers as soon as that is known."""
        for endpoint in self._docker_endpoints:
            name = names.get(endpoint.id, "")
            if name and endpoint.id.startswith(endpoint.name):
                with contextlib.suppress(StateError):  # another network's of the same container
                    await self._endpoints.rename(endpoint.id, name)
