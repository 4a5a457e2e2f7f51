"""The ipvlan driver: endpoints with addresses of their own behind the MAC of a host's device."""

from dataclasses import replace
from typing import Final

from vxnet.cnm.driver import About, Attachment, Scope, read_choice, refuse_unknown
from vxnet.cnm.model import Endpoint, EndpointId, Network, device_name
from vxnet.drivers.parent import ParentDevice
from vxnet.errors import StateError
from vxnet.host.base import Ipvlan, Links

__all__ = ["IpvlanDriver"]

OPTIONS: Final = frozenset({"parent", "vlan", "mode"})
MODES: Final = ("l2", "l3", "l3s")


class IpvlanDriver:
    """Networks for segments that allow one MAC a port; each host brings its own parent device."""

    name = "ipvlan"
    scope = Scope.GLOBAL
    uses_vni = False
    about = About(
        purpose="endpoints on the host's own segment where it allows one MAC a port",
        limits="no MAC of its own, one mode a parent; l3 and l3s need routes, carry no broadcast",
        own_mac=False,
        own_ip=True,
        crosses_hosts=True,
        way_out="l2: the segment's router, given as the gateway; l3, l3s: through the host",
    )

    def __init__(self, links: Links) -> None:
        self._links = links
        self._parent = ParentDevice(links)
        self._modes: dict[EndpointId, tuple[str, str]] = {}
        """The parent and the mode of every endpoint there is."""

    async def lacks(self) -> str | None:
        return await self._links.lacks("ipvlan")

    async def complete(self, network: Network) -> Network:
        refuse_unknown(network, OPTIONS)
        mode = read_choice(network, "mode", MODES)
        if mode != "l2" and any(subnet.gateway for subnet in network.subnets):
            raise StateError(f"ipvlan's mode {mode} has no gateway: the host routes; leave it out")
        parent = await self._parent.check(network)
        return replace(network, mtu=network.mtu or parent.mtu)

    async def create_network(self, network: Network) -> None:
        """A host needs the parent from its first endpoint on."""

    async def delete_network(self, network: Network) -> None:
        await self._parent.release(network)

    async def create_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        mode = self._mode(network)
        parent = await self._parent.ensure(network)
        await self._links.add(Ipvlan(device_name(endpoint.id), parent, mode))
        self._modes[endpoint.id] = (parent, mode)

    async def delete_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        await self._links.remove(device_name(endpoint.id))
        self._modes.pop(endpoint.id, None)

    async def join(self, network: Network, endpoint: Endpoint) -> Attachment:
        return Attachment(
            device_name(endpoint.id),
            network.mtu,
            tuple(s.gateway for s in network.subnets if s.gateway is not None),
            own_mac=False,
            on_link_default=read_choice(network, "mode", MODES) != "l2",
        )

    async def leave(self, network: Network, endpoint: Endpoint) -> None:
        """The traffic ends with the device."""

    async def adopt(self, network: Network, endpoint: Endpoint) -> None:
        """The kernel carried on by itself."""
        mode = read_choice(network, "mode", MODES)
        self._modes[endpoint.id] = (self._parent.name(network), mode)

    async def close(self, *, keep_devices: bool) -> None:
        """The kernel carries on by itself."""

    def _mode(self, network: Network) -> str:
        """The network's mode. Raises StateError where its parent is in use in another one.

        The kernel has one mode a parent: it would change that of all endpoints that are there.
        """
        mode, parent = read_choice(network, "mode", MODES), self._parent.name(network)
        for used, other in self._modes.values():
            if used == parent and other != mode:
                raise StateError(
                    f"{parent} is in use in mode {other}, and ipvlan has one mode a parent; "
                    f"choose another parent for {network.name}, or --opt mode={other}"
                )
        return mode
