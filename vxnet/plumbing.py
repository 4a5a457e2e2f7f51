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
        self._lent: dict[EndpointId, Interface] = {}
        """Of devices that are on their way into a sandbox by another's hand."""

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

    async def lend(self, endpoint: Endpoint) -> str | None:
        """Make the endpoint's device for another to put into the sandbox; returns what it is here.

        After an error there is no device left.
        """
        network = self.network_of(endpoint)
        driver = self._networks.driver(network)
        try:
            await driver.create_endpoint(network, endpoint)
            attachment = await driver.join(network, endpoint)
            if attachment.device is not None:
                self._lent[endpoint.id] = _interface(endpoint, attachment)
                await self._host.prepare(attachment.device, self._lent[endpoint.id])
        except BaseException:
            await self.unmake(endpoint)
            raise
        return attachment.device

    async def settle(self, endpoint: Endpoint) -> Endpoint | None:
        """Look after a device that was lent from now on; None while it has not arrived."""
        if endpoint.sandbox is None or self._host.is_here(device_name(endpoint.id)):
            return None
        # Up comes last. Who gives it an address before whoever moves it does is in the way.
        path, alias = endpoint.sandbox.path, device_alias(endpoint.id)
        name = await self._host.find(path, alias, up=True)
        if name is None:
            return None
        located = replace(endpoint, ifname=name)
        lent = self._lent.get(endpoint.id)
        if lent is not None:
            located = await self._registry.keep(located, located.state)
            await self._watch_over(located, replace(lent, name=located.ifname))
            self._lent.pop(endpoint.id, None)
        return located

    async def take_back(self, endpoint: Endpoint) -> Endpoint:
        """Stop the traffic of an endpoint whose device another takes out of the sandbox."""
        self._interfaces.pop(endpoint.id, None)
        self._lent.pop(endpoint.id, None)
        network = self.network_of(endpoint)
        # Nothing that outlives the daemon is changed before it is saved that it left.
        await self._networks.driver(network).leave(network, endpoint)
        endpoint = replace(endpoint, sandbox=None, ifname="", published=())
        return await self._registry.keep(endpoint, EndpointState.CREATED)

    async def adopt(self, endpoint: Endpoint) -> None:
        """Take up a device that is in its sandbox already, and let the traffic flow."""
        network = self.network_of(endpoint)
        driver = self._networks.driver(network)
        await driver.adopt(network, endpoint)
        attachment = await driver.join(network, endpoint)
        if attachment.device is not None and endpoint.sandbox is not None:
            interface = _interface(endpoint, attachment)
            path, alias = endpoint.sandbox.path, device_alias(endpoint.id)
            if not endpoint.lent or await self._host.find(path, alias, up=True) is not None:
                await self._host.restore(path, interface)
            await self._watch_over(endpoint, interface)

    async def locate(self, endpoint: Endpoint) -> Endpoint | None:
        """The endpoint with its device's name in the sandbox; None where the device is not there.

        Raises StateError where the sandbox is gone.
        """
        if endpoint.sandbox is None:
            return None
        path, alias = endpoint.sandbox.path, device_alias(endpoint.id)
        if endpoint.lent:
            name = await self._host.find(path, alias)
            return None if name is None else replace(endpoint, ifname=name)
        return endpoint if await self._host.has(path, endpoint.ifname, alias) else None

    async def unmake(self, endpoint: Endpoint) -> None:
        """Stop the traffic and remove the device, wherever it is and whoever made it."""
        self._interfaces.pop(endpoint.id, None)
        self._lent.pop(endpoint.id, None)
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
        endpoint.addresses if attachment.addressed else (),
        () if endpoint.lent else attachment.gateways,  # routes are set by whoever moves it
        attachment.gso_max_bytes,
        alias=device_alias(endpoint.id),
        on_link_default=attachment.on_link_default,
        metric=METRIC - endpoint.priority,
    )
