"""The bridge driver: endpoints of one host on a kernel bridge, a way out, published ports."""

import ipaddress
from dataclasses import replace
from typing import Final

from vxnet.cnm.driver import About, Attachment, Scope, read_flag, refuse_unknown
from vxnet.cnm.model import Endpoint, EndpointId, IpAddress, Network, NetworkId, Subnet, device_name
from vxnet.drivers.outlets import Outlet, rules
from vxnet.errors import StateError
from vxnet.host.base import Bridge, Firewall, ForwardPass, Links, Veth

__all__ = ["PREFIX", "BridgeDriver"]

OPTIONS: Final = frozenset({"internal", "icc"})
MTU: Final = 1500
PREFIX: Final = "vxb"
"""What the names of the bridges begin with."""


class BridgeDriver:
    """Networks of this host alone. The rules of all of them are one table, replaced as a whole."""

    name = "bridge"
    scope = Scope.LOCAL
    uses_vni = False
    about = About(
        purpose="containers of one host, with NAT to the outside and published ports",
        limits="one host; the host routes (ip_forward is set)",
        own_mac=True,
        own_ip=True,
        crosses_hosts=False,
        way_out="NAT through the host, unless the network is internal",
    )

    def __init__(self, links: Links, firewall: Firewall, forward: ForwardPass) -> None:
        self._links = links
        self._firewall = firewall
        self._forward = forward
        self._networks: dict[NetworkId, Network] = {}
        self._endpoints: dict[EndpointId, Endpoint] = {}

    async def lacks(self) -> str | None:
        return await self._links.lacks("bridge") or await self._links.lacks("veth")

    async def complete(self, network: Network) -> Network:
        refuse_unknown(network, OPTIONS)
        for option in OPTIONS:
            read_flag(network, option, default=False)
        subnets = tuple(
            subnet if subnet.gateway is not None else replace(subnet, gateway=_first(subnet))
            for subnet in network.subnets
        )
        return replace(network, mtu=network.mtu or MTU, subnets=subnets)

    async def create_network(self, network: Network) -> None:
        await self._links.add(Bridge(_bridge(network), network.mtu, _gateways(network)))
        try:
            if not _is_internal(network):
                await self._links.set_forwarding((4, 6))
            self._networks[network.id] = network
            await self._apply()
        except BaseException:
            self._networks.pop(network.id, None)
            await self._links.remove(_bridge(network))
            raise

    async def delete_network(self, network: Network) -> None:
        self._networks.pop(network.id, None)
        await self._apply()
        await self._links.remove(_bridge(network))

    async def create_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        self._check_ports(network, endpoint)
        isolated = not read_flag(network, "icc", default=True)
        veth = Veth(
            _port(endpoint), device_name(endpoint.id), _bridge(network), network.mtu, isolated
        )
        try:
            await self._links.add(veth)
        except BaseException:
            await self._links.remove(_port(endpoint))
            raise

    async def delete_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        await self._links.remove(_port(endpoint))

    async def join(self, network: Network, endpoint: Endpoint) -> Attachment:
        self._endpoints[endpoint.id] = endpoint
        if endpoint.published:
            await self._apply()
        internal = _is_internal(network)
        gateways = () if internal else tuple(address.ip for address in _gateways(network))
        return Attachment(device_name(endpoint.id), network.mtu, gateways)

    async def leave(self, network: Network, endpoint: Endpoint) -> None:
        if self._endpoints.pop(endpoint.id, None) is not None and endpoint.published:
            await self._apply()

    async def adopt(self, network: Network, endpoint: Endpoint) -> None:
        """The kernel carried on by itself."""

    async def close(self, *, keep_devices: bool) -> None:
        """The kernel carries on by itself."""

    async def restore(self) -> bool:
        """Put the rules back where somebody flushed them; says whether that was so."""
        if self._networks:
            await self._forward.ensure()  # Docker may have come meanwhile
        return await self._firewall.restore()

    def _check_ports(self, network: Network, endpoint: Endpoint) -> None:
        if endpoint.published and _is_internal(network):
            raise StateError(f"network {network.name} is internal; nothing of it can be published")
        for other in self._endpoints.values():
            taken = {(p.host_port, p.protocol) for p in other.published}
            for port in endpoint.published:
                if other.id != endpoint.id and (port.host_port, port.protocol) in taken:
                    raise StateError(
                        f"port {port.host_port}/{port.protocol} of this host is published by "
                        f"endpoint {other.name}"
                    )

    async def _apply(self) -> None:
        if self._networks:
            outlets = [
                Outlet(_bridge(n), tuple(s.prefix for s in n.subnets), internal=_is_internal(n))
                for n in self._networks.values()
            ]
            known = [e for e in self._endpoints.values() if e.network in self._networks]
            await self._firewall.replace(rules(outlets, known))
            await self._forward.ensure()
        else:
            await self._firewall.remove()
            await self._forward.remove()


def _first(subnet: Subnet) -> IpAddress:
    prefix = subnet.prefix
    if prefix.num_addresses < 4:
        raise StateError(f"the subnet {prefix} is too small for a gateway and a station")
    return prefix.network_address + 1


def _gateways(network: Network) -> tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...]:
    return tuple(
        ipaddress.ip_interface(f"{s.gateway}/{s.prefix.prefixlen}")
        for s in network.subnets
        if s.gateway is not None
    )


def _is_internal(network: Network) -> bool:
    return read_flag(network, "internal", default=False)


def _bridge(network: Network) -> str:
    return f"{PREFIX}{network.id[:12]}"


def _port(endpoint: Endpoint) -> str:
    return f"vxp{endpoint.id[:12]}"
