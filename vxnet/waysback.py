"""How answers to clients outside find the hosts that relay them, from members on this one."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from vxnet.cnm.model import EndpointState, Network, NetworkId
from vxnet.control.base import ControlPlane
from vxnet.datapath.base import SetRelays
from vxnet.errors import VxnetError
from vxnet.forwarding import Forwarding
from vxnet.networks import Networks
from vxnet.registry import Registry
from vxnet.services import PROTOCOLS, Services
from vxnet.stations import gateway_station, relay_station
from vxnet.tending import keep_tending
from vxnet.wire.addr import Ip, Mac, Vni

__all__ = ["WaysBack"]

TEND_EVERY_S: Final = 1.0


class WaysBack:
    """Tells the datapath whose frames are those of clients outside, and who may answer them."""

    def __init__(
        self,
        services: Services,
        networks: Networks,
        registry: Registry,
        forwarding: Forwarding,
        control: ControlPlane,
    ) -> None:
        self._services = services
        self._networks = networks
        self._registry = registry
        self._forwarding = forwarding
        self._control = control
        self._told: dict[Vni, SetRelays] = {}
        self._macs: dict[tuple[NetworkId, int], Mac] = {}
        services.watchers.append(self.renew)
        registry.watchers.append(self.renew)

    async def run(self, report: Callable[[VxnetError], None]) -> None:
        """Follow the hosts that come, until cancelled."""
        await keep_tending(asyncio.Event(), TEND_EVERY_S, self.tend, report)

    async def tend(self) -> None:
        """Tell what changed."""
        self.renew()

    def arrived(self) -> None:
        """A network came to this host: it is to be told anew."""
        self._told.clear()
        self.renew()

    def renew(self) -> None:
        """Tell what changed."""
        wanted = {change.vni: change for change in self._wanted()}
        for vni in self._told.keys() - wanted.keys():
            del self._told[vni]
            if self._forwarding.has(vni):
                self._forwarding.set_relays(SetRelays(vni))
        for vni, change in wanted.items():
            if self._told.get(vni) != change:
                self._told[vni] = change
                self._forwarding.set_relays(change)

    def _wanted(self) -> Iterator[SetRelays]:
        published = {row.network_id for row in self._services if row.is_published}
        for network_id in published:
            network = self._networks.by_id(network_id)
            if network is None or network.vni is None or not self._forwarding.has(network.vni):
                continue
            ports = frozenset(self._ports(network))
            if not ports:
                continue
            owners = [member.id for member in self._control.members()]
            yield SetRelays(
                network.vni,
                frozenset(self._relay(network, owner) for owner in owners),
                ports,
                gateway_station(network, ()).mac,
                tuple(Ip(s.gateway.packed) for s in network.subnets if s.gateway is not None),
            )

    def _relay(self, network: Network, owner: int) -> Mac:
        """The MAC of a host's relays in a network; made once, as there may be many hosts."""
        key = (network.id, owner)
        mac = self._macs.get(key)
        if mac is None:
            mac = self._macs[key] = relay_station(network, owner).mac
        return mac

    def _ports(self, network: Network) -> Iterator[tuple[Mac, int, int]]:
        """Where members here take what comes by published ports."""
        for endpoint in self._registry.of_network(network.id):
            if endpoint.state is not EndpointState.JOINED:
                continue
            for name in endpoint.services:
                row = self._services.catalogue.get(name)
                for port in () if row is None else row.ports:
                    if port.published:
                        yield endpoint.mac, PROTOCOLS[port.protocol], port.target
