"""The macvlan driver: endpoints with MACs of their own on the segment of a device of the host."""

from dataclasses import replace
from typing import Final

from vxnet.cnm.driver import About, Attachment, Scope, read_choice, refuse_unknown
from vxnet.cnm.model import Endpoint, Network, device_name
from vxnet.drivers.parent import ParentDevice
from vxnet.host.base import Links, Macvlan

__all__ = ["MacvlanDriver"]

OPTIONS: Final = frozenset({"parent", "vlan", "mode"})
MODES: Final = ("bridge", "private", "vepa", "passthru")


class MacvlanDriver:
    """Networks on a segment that is there already; each host brings its own parent device."""

    name = "macvlan"
    scope = Scope.GLOBAL
    uses_vni = False
    about = About(
        purpose="endpoints as stations of the host's own segment, at the kernel's speed",
        limits="the host itself is not reached through its parent; passthru takes one endpoint",
        own_mac=True,
        own_ip=True,
        crosses_hosts=True,
        way_out="the segment's router, given as the gateway",
    )

    def __init__(self, links: Links) -> None:
        self._links = links
        self._parent = ParentDevice(links)

    async def lacks(self) -> str | None:
        return await self._links.lacks("macvlan")

    async def complete(self, network: Network) -> Network:
        refuse_unknown(network, OPTIONS)
        read_choice(network, "mode", MODES)
        parent = await self._parent.check(network)
        return replace(network, mtu=network.mtu or parent.mtu)

    async def create_network(self, network: Network) -> None:
        """A host needs the parent from its first endpoint on."""

    async def delete_network(self, network: Network) -> None:
        await self._parent.release(network)

    async def create_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        parent = await self._parent.ensure(network)
        mode = read_choice(network, "mode", MODES)
        await self._links.add(Macvlan(device_name(endpoint.id), parent, mode))

    async def delete_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        await self._links.remove(device_name(endpoint.id))

    async def join(self, network: Network, endpoint: Endpoint) -> Attachment:
        gateways = tuple(s.gateway for s in network.subnets if s.gateway is not None)
        return Attachment(device_name(endpoint.id), network.mtu, gateways)

    async def leave(self, network: Network, endpoint: Endpoint) -> None:
        """The traffic ends with the device."""

    async def adopt(self, network: Network, endpoint: Endpoint) -> None:
        """The kernel carried on by itself."""

    async def close(self, *, keep_devices: bool) -> None:
        """The kernel carries on by itself."""
