"""After a restart: what was saved becomes real again, and what was half-made is finished or undone.

Also what has to be made anew while the daemon runs: sandboxes that come back, networks whose
settings changed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from vxnet.addresses import Addresses
from vxnet.cnm.lifecycle import AFTER_CRASH, Recovery
from vxnet.cnm.model import Endpoint, Network
from vxnet.errors import StateError, VxnetError
from vxnet.network_table import NetworkTable
from vxnet.plumbing import Plumbing
from vxnet.registry import Registry

__all__ = ["Recoverer"]

DRIVEN_BY: Final = ("id", "driver", "vni", "mtu", "options")
"""The settings of a network that its endpoints' devices are made by."""

Report = Callable[[VxnetError], None]


class Recoverer:
    """Brings this host's endpoints to where their saved state says they are."""

    def __init__(
        self, table: NetworkTable, addresses: Addresses, registry: Registry, plumbing: Plumbing
    ) -> None:
        self._table = table
        self._addresses = addresses
        self._registry = registry
        self._plumbing = plumbing
        table.watchers.append(self._follow)

    async def load(self, report: Report) -> None:
        """Take up the endpoints from before a restart, each as far as its sandbox is there.

        Raises HostError where what was saved is damaged; what fails for one endpoint is reported.
        """
        async with self._table.turns:
            endpoints = await self._registry.load()
            for endpoint in endpoints:
                network = self._table.by_id(endpoint.network)
                if network is not None:
                    await self._addresses.resume(network, endpoint)
            for endpoint in endpoints:
                try:
                    await self._recover(endpoint)
                except VxnetError as error:
                    report(error)

    async def tend(self, report: Report) -> None:
        """Put endpoints into sandboxes that came back, and part those that lost an address."""
        lost = set(self._addresses.lost())
        for endpoint in list(self._registry):
            mine = {(endpoint.network, address.ip) for address in endpoint.addresses}
            if endpoint.sandbox is not None and mine & lost:
                async with self._table.turns:
                    report(await self._part(endpoint))
        for endpoint in list(self._registry):
            if endpoint.id not in self._registry.absent:
                continue
            async with self._table.turns:
                if endpoint.id in self._registry and await self._plumbing.is_there(endpoint):
                    try:
                        await self.rejoin(endpoint)
                    except VxnetError as error:
                        report(error)

    async def _part(self, endpoint: Endpoint) -> StateError:
        """Take an endpoint off the network whose address another host owns by now."""
        await self._plumbing.part(endpoint)
        addresses = ", ".join(str(address.ip) for address in endpoint.addresses)
        return StateError(
            f"endpoint {endpoint.name} was taken off its network: while this host was cut off, "
            f"another one reclaimed its address ({addresses}); remove it, and attach it anew"
        )

    async def _recover(self, endpoint: Endpoint) -> None:
        match AFTER_CRASH[endpoint.state]:
            case Recovery.DISCARD:
                await self._plumbing.discard(endpoint)
                await self._addresses.release(endpoint.network, endpoint.addresses)
            case Recovery.UNJOIN:
                await self._plumbing.part(endpoint)
            case Recovery.KEEP:
                await self._plumbing.unmake(endpoint)
            case Recovery.ADOPT:
                await self.rejoin(endpoint)

    async def rejoin(self, endpoint: Endpoint) -> None:
        """The device that is there goes on working; one that is not is made.

        Called in the endpoint's turn. Raises StateError where the sandbox is gone.
        """
        if not await self._plumbing.is_there(endpoint):
            self._registry.absent.add(endpoint.id)
            await self._plumbing.unmake(endpoint)
            raise StateError(
                f"endpoint {endpoint.name} waits for its sandbox, {endpoint.sandbox}, to come back"
            )
        self._registry.absent.discard(endpoint.id)
        located = await self._plumbing.locate(endpoint)
        if located is not None:
            await self._plumbing.adopt(await self._registry.keep(located, located.state))
            return
        await self._plumbing.unmake(endpoint)
        if not endpoint.ifname:
            raise StateError(
                f"the device of endpoint {endpoint.name} is not in {endpoint.sandbox}, "
                "and nobody knows what it was called there; start the container anew"
            )
        await self._plumbing.join(endpoint)

    async def _follow(self, before: Network, now: Network) -> None:
        """A network's settings changed: its endpoints here are made anew under those.

        Called in a turn of the networks.
        """
        if all(getattr(before, name) == getattr(now, name) for name in DRIVEN_BY):
            return
        driver = self._table.drivers.get(before.driver)
        for endpoint in self._registry.of_network(before.id):
            await driver.leave(before, endpoint)
            await driver.delete_endpoint(before, endpoint)
            moved = replace(endpoint, network=now.id)
            await self._registry.keep(moved, moved.state)
            await self._recover(moved)
