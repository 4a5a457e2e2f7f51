"""What every verb of an endpoint does with drivers and namespaces: join, adopt, part, unmake."""

from dataclasses import replace
from typing import Final

from vxnet.cnm.driver import Attachment
from vxnet.cnm.model import (
    Endpoint,
    EndpointId,
    EndpointState,
    Network,
    device_alias,
    device_name,
)
from vxnet.errors import StateError, VxnetError
from vxnet.host.base import HostNetwork, Interface, SandboxWatch
from vxnet.networks import Networks
from vxnet.registry import Registry

__all__ = ["PRIORITY_MAX", "Plumbing"]

METRIC: Final = 1024  # what the kernel gives to a route where nobody says
PRIORITY_MAX: Final = 1000


class Plumbing:
    """Moves one endpoint from state to state, saving each step before and after it is driven."""

    def __init__(
        self, networks: Networks, registry: Registry, host: HostNetwork, watch: SandboxWatch
    ) -> None:
        self._networks = networks
        self._registry = registry
        self._host = host
        self._watch = watch
        self._interfaces: dict[EndpointId, Interface] = {}

    def interface_of(self, endpoint: EndpointId) -> Interface | None:
        """What the endpoint's device shall be in its sandbox; None where it is in none."""
        return self._interfaces.get(endpoint)

    def network_of(self, endpoint: Endpoint) -> Network:
        """Its network. Raises StateError where that is gone."""
        network = self._networks.by_id(endpoint.network)
        if network is None:
            raise StateError(
                f"the network of endpoint {endpoint.name} is gone; remove it with: "
                f"vxnet endpoint rm {endpoint.name}"
            )
        return network

    async def join(self, endpoint: Endpoint) -> None:
        """Make the endpoint's device, let the traffic flow, move the device into the sandbox.

        After an error there is no device left, here or there.
        """
        network = self.network_of(endpoint)
        driver = self._networks.driver(network)
        try:
            await driver.create_endpoint(network, endpoint)
            attachment = await driver.join(network, endpoint)
            if attachment.device is not None and endpoint.sandbox is not None:
                interface = _interface(endpoint, attachment)
                await self._host.place(attachment.device, endpoint.sandbox.path, interface)
                await self._watch_over(endpoint, interface)
        except BaseException:
            await self.unmake(endpoint)
            raise

    async def adopt(self, endpoint: Endpoint) -> None:
        """Take up a device that is in its sandbox already, and let the traffic flow."""
        network = self.network_of(endpoint)
        driver = self._networks.driver(network)
        await driver.adopt(network, endpoint)
        attachment = await driver.join(network, endpoint)
        if attachment.device is not None and endpoint.sandbox is not None:
            interface = _interface(endpoint, attachment)
            await self._host.restore(endpoint.sandbox.path, interface)
            await self._watch_over(endpoint, interface)

    async def is_in_place(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint's device is in its sandbox. Raises StateError without a sandbox."""
        if endpoint.sandbox is None:
            return False
        alias = device_alias(endpoint.id)
        return await self._host.has(endpoint.sandbox.path, endpoint.ifname, alias)

    async def unmake(self, endpoint: Endpoint) -> None:
        """Stop the traffic and remove the device, wherever it is and whoever made it."""
        self._interfaces.pop(endpoint.id, None)
        network = self._networks.by_id(endpoint.network)
        if network is not None:
            driver = self._networks.driver(network)
            await driver.leave(network, endpoint)
            await driver.delete_endpoint(network, endpoint)
        alias, device = device_alias(endpoint.id), device_name(endpoint.id)
        await self._host.remove(None, device, alias)
        if endpoint.sandbox is not None:
            # A crash between moving and naming it leaves it there under its name on the host.
            for name in (endpoint.ifname, device):
                await self._host.remove(endpoint.sandbox.path, name, alias)

    async def part(self, endpoint: Endpoint) -> Endpoint:
        """Take the endpoint out of its sandbox, and remove its device."""
        endpoint = await self._registry.keep(endpoint, EndpointState.LEAVING)
        await self.unmake(endpoint)
        endpoint = replace(endpoint, sandbox=None, ifname="")
        return await self._registry.keep(endpoint, EndpointState.CREATED)

    async def discard(self, endpoint: Endpoint) -> None:
        """Remove the endpoint, and forget it."""
        endpoint = await self._registry.keep(endpoint, EndpointState.REMOVING)
        await self.unmake(endpoint)
        await self._registry.drop(endpoint.id)

    async def is_there(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint's sandbox exists."""
        if endpoint.sandbox is None:
            return False
        try:
            await self._host.check_sandbox(endpoint.sandbox.path)
        except VxnetError:
            return False
        return True

    async def _watch_over(self, endpoint: Endpoint, interface: Interface) -> None:
        if endpoint.sandbox is not None:
            self._interfaces[endpoint.id] = interface
            await self._watch.follow(endpoint.sandbox.path)


def _interface(endpoint: Endpoint, attachment: Attachment) -> Interface:
    return Interface(
        endpoint.ifname,
        endpoint.mac if attachment.own_mac else None,
        attachment.mtu,
        endpoint.addresses,
        attachment.gateways,
        attachment.gso_max_bytes,
        alias=device_alias(endpoint.id),
        on_link_default=attachment.on_link_default,
        metric=METRIC - endpoint.priority,
    )
