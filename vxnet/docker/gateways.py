"""The way out of Docker's networks: a gateway on every host, NAT, published ports.

A network's gateway is a station that every host has one of, with the same MAC and address, so a
container leaves by the host it is on, as it does with Docker's bridge. It is a TAP in the host's
namespace; the kernel routes, and the packet filter translates.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from vxnet.cnm.driver import NetworkDriver
from vxnet.cnm.model import (
    Endpoint,
    EndpointState,
    IpAddress,
    IpInterface,
    Network,
    NetworkId,
    device_alias,
    device_name,
)
from vxnet.cnm.subnets import overlap
from vxnet.drivers.outlets import Outlet, rules
from vxnet.errors import VxnetError
from vxnet.host.base import Firewall, ForwardPass, HostNetwork, Links
from vxnet.stations import GATEWAY_PREFIX, gateway_station, give_up, take_up

__all__ = ["HERE", "Gateways"]

HERE: Final = "/proc/self/ns/net"

_log = logging.getLogger(__name__)


class Gateways:
    """Opens one for a network with its first container here, and closes it with the last."""

    def __init__(
        self,
        overlay: NetworkDriver,
        host: HostNetwork,
        links: Links,
        firewall: Firewall,
        forward: ForwardPass,
        endpoints: Callable[[], Iterable[Endpoint]],
    ) -> None:
        self._overlay = overlay
        self._host = host
        self._links = links
        self._firewall = firewall
        self._forward = forward
        self._endpoints = endpoints
        self._open: dict[NetworkId, tuple[Network, Endpoint]] = {}
        self._turn = asyncio.Lock()
        """Of opening and closing: containers come and go at the same time."""
        self._applying = asyncio.Lock()
        self._asked = self._applied = 0

    async def open(
        self, network: Network, addresses: tuple[IpInterface, ...]
    ) -> tuple[IpAddress, ...]:
        """Have a gateway; returns its addresses, none where this host cannot be one."""
        async with self._turn:
            if network.id not in self._open:
                gateway = gateway_station(network, addresses)
                if not addresses or not await self._is_free(network, gateway):
                    return ()
                await self._make(network, gateway)
            _, gateway = self._open[network.id]
            return tuple(address.ip for address in gateway.addresses)

    async def close_unused(self, network: NetworkId) -> None:
        """Have no gateway any more where no container is left in the network. Idempotent."""
        async with self._turn:
            if any(e.lent and e.network == network for e in self._endpoints()):
                return
            opened = self._open.pop(network, None)
            if opened is not None:
                await self._unmake(*opened)
                await self.apply()

    async def sweep(self) -> None:
        """Remove what a daemon that was killed has left, of networks without containers."""
        async with self._turn:
            wanted = {device_name(gateway.id) for _, gateway in self._open.values()}
            for name in await self._links.names(GATEWAY_PREFIX):
                if name not in wanted:
                    await self._links.remove(name)

    async def close_all(self) -> None:
        """The daemon ends; packets that are on their way are the kernel's."""
        while self._open:
            _, opened = self._open.popitem()
            await self._unmake(*opened)
        await self._firewall.remove()
        await self._forward.remove()

    async def apply(self) -> None:
        """Have the packet filter do what open gateways and published ports ask for.

        Those who ask while it is being changed are served together.
        """
        self._asked += 1
        mine = self._asked
        async with self._applying:
            if self._applied < mine:
                asked = self._asked
                await self._apply()
                self._applied = asked

    async def _apply(self) -> None:
        if not self._open:
            await self._firewall.remove()
            await self._forward.remove()
            return
        outlets = [
            Outlet(device_name(gateway.id), tuple(a.network for a in gateway.addresses))
            for _, gateway in self._open.values()
        ]
        joined = [
            endpoint
            for endpoint in self._endpoints()
            if endpoint.network in self._open and endpoint.state is EndpointState.JOINED
        ]
        await self._firewall.replace(rules(outlets, joined))
        await self._forward.ensure()

    async def restore(self) -> None:
        """Put back what somebody changed, or dockerd made anew."""
        if not self._open:
            return
        async with self._applying:
            changed = await self._firewall.restore()
            await self._forward.ensure()
        if changed:
            _log.warning("somebody changed the packet filter rules of Docker's networks; restored")

    def networks(self) -> list[NetworkId]:
        """Those that have one."""
        return list(self._open)

    async def _make(self, network: Network, gateway: Endpoint) -> None:
        device = device_name(gateway.id)
        try:
            interface = await take_up(self._overlay, network, gateway, device)
            await self._host.prepare(device, interface)
            await self._host.restore(HERE, interface)
            await self._links.set_forwarding({address.version for address in gateway.addresses})
            self._open[network.id] = (network, gateway)
            await self.apply()
        except BaseException:
            self._open.pop(network.id, None)
            await self._unmake(network, gateway)
            raise

    async def _unmake(self, network: Network, gateway: Endpoint) -> None:
        await give_up(self._overlay, network, gateway)
        await self._host.remove(None, device_name(gateway.id), device_alias(gateway.id))

    async def _is_free(self, network: Network, gateway: Endpoint) -> bool:
        """Whether this host has no other way to the network's addresses."""
        # One that a killed daemon left is ours, and made anew.
        await self._host.remove(None, device_name(gateway.id), device_alias(gateway.id))
        try:
            routed = await self._host.prefixes()
        except VxnetError as error:
            _log.warning("no gateway", {"network": network.name, "reason": error})
            return False
        for address in gateway.addresses:
            for prefix in routed:
                if overlap(address.network, prefix):
                    _log.warning(
                        "no gateway of ours on this host: it routes the network's addresses "
                        "elsewhere; Docker's own gateway bridge is used",
                        {"network": network.name, "subnet": address.network, "route": prefix},
                    )
                    return False
        return True
