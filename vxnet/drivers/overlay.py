"""The overlay driver: one Ethernet across all hosts, a TAP an endpoint, VXLAN between them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from vxnet.cnm.driver import Attachment, Scope
from vxnet.cnm.model import Endpoint, EndpointId, Network, device_name
from vxnet.datapath.base import Port, Segment
from vxnet.errors import StateError
from vxnet.forwarding import Forwarding
from vxnet.link.base import Link
from vxnet.switch.actions import PortId
from vxnet.wire.addr import Vni

__all__ = ["LinkOpener", "OverlayDriver"]


class Tap(Link, Protocol):
    """A link whose device can outlive the daemon."""

    def persist(self, wanted: bool) -> None:
        """Have the device stay when the link is closed, or not."""
        ...


LinkOpener = Callable[[str | None, str], Awaitable[Tap]]
"""Makes or takes up the device of this name, in a sandbox (by its path) or on the host (None).

The device stays when the link is closed. Raises HostError where the system refuses.
"""

OPTIONS = frozenset({"learning", "flood_unknown", "suppress_neighbours", "vlan", "strict_reserved"})


@dataclass(frozen=True, slots=True)
class _Plug:
    """What one endpoint has in the datapath."""

    port: PortId
    vni: Vni
    link: Tap


class OverlayDriver:
    """Networks that reach every host of the cluster."""

    name = "overlay"
    scope = Scope.GLOBAL

    def __init__(self, forwarding: Forwarding, open_link: LinkOpener, gso_max_bytes: int) -> None:
        self._forwarding = forwarding
        self._open_link = open_link
        self._gso_max_bytes = gso_max_bytes
        self._plugs: dict[EndpointId, _Plug] = {}
        self._last_port = 0

    def check(self, network: Network) -> None:
        _segment(network, _vni(network))

    async def create_network(self, network: Network) -> None:
        """A host carries a network from its first endpoint on, so there is nothing to make yet."""

    async def delete_network(self, network: Network) -> None:
        if network.vni is not None:
            self._forwarding.remove_segment(network.vni)

    async def create_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        if endpoint.id not in self._plugs:
            await self._plug_in(network, endpoint, None, device_name(endpoint.id))

    async def delete_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        plug = self._plugs.pop(endpoint.id, None)
        if plug is not None:
            self._unplug(plug, keep_device=False)

    async def adopt(self, network: Network, endpoint: Endpoint) -> None:
        if endpoint.sandbox is not None and endpoint.id not in self._plugs:
            await self._plug_in(network, endpoint, endpoint.sandbox.path, endpoint.ifname)

    async def close(self, *, keep_devices: bool) -> None:
        while self._plugs:
            _, plug = self._plugs.popitem()
            self._unplug(plug, keep_device=keep_devices)

    async def join(self, network: Network, endpoint: Endpoint) -> Attachment:
        plug = self._plugs.get(endpoint.id)
        if plug is None:
            raise StateError(f"endpoint {endpoint.name} has no device on this host")
        self._forwarding.announce(plug.vni, endpoint.mac, endpoint.ips, plug.port)
        return Attachment(
            plug.link.name,
            network.mtu,
            gateways=tuple(s.gateway for s in network.subnets if s.gateway is not None),
            gso_max_bytes=self._gso_max_bytes,
        )

    async def leave(self, network: Network, endpoint: Endpoint) -> None:
        plug = self._plugs.get(endpoint.id)
        if plug is not None:
            self._forwarding.withdraw(plug.vni, endpoint.mac)

    def port_of(self, endpoint: EndpointId) -> PortId | None:
        """The endpoint's port of the switch, while it has one."""
        plug = self._plugs.get(endpoint)
        return None if plug is None else plug.port

    async def _plug_in(
        self, network: Network, endpoint: Endpoint, path: str | None, device: str
    ) -> None:
        vni = _vni(network)
        link = await self._open_link(path, device)
        self._last_port += 1
        plug = _Plug(PortId(self._last_port), vni, link)
        try:
            self._forwarding.add_segment(_segment(network, vni))
            self._forwarding.add_port(Port(plug.port, vni, endpoint.mac, endpoint.ips), link)
        except BaseException:
            self._unplug(plug, keep_device=path is not None)
            raise
        self._plugs[endpoint.id] = plug

    def _unplug(self, plug: _Plug, *, keep_device: bool) -> None:
        """The last endpoint takes the network off this host."""
        if not keep_device:
            plug.link.persist(False)
        self._forwarding.remove_port(plug.port)
        plug.link.close()
        if all(other.vni != plug.vni for other in self._plugs.values()):
            self._forwarding.remove_segment(plug.vni)


def _vni(network: Network) -> Vni:
    if network.vni is None:
        raise StateError(f"network {network.name} has no VNI; an overlay needs one")
    return network.vni


def _segment(network: Network, vni: Vni) -> Segment:
    """The network as the datapath knows it. Raises StateError for options that it has not."""
    unknown = sorted(set(network.options) - OPTIONS)
    if unknown:
        raise StateError(
            f"the overlay driver has no option {', '.join(unknown)}; "
            f"it has {', '.join(sorted(OPTIONS))}"
        )
    vlan = network.options.get("vlan", "drop")
    if vlan not in ("drop", "transparent"):
        raise StateError(f"option vlan={vlan}: it is drop or transparent")
    return Segment(
        vni,
        network.mtu,
        learning=_flag(network, "learning", default=True),
        flood_unknown=_flag(network, "flood_unknown", default=True),
        suppress_neighbours=_flag(network, "suppress_neighbours", default=True),
        vlan_transparent=vlan == "transparent",
        strict_reserved=_flag(network, "strict_reserved", default=False),
    )


def _flag(network: Network, option: str, *, default: bool) -> bool:
    text = network.options.get(option)
    if text is None:
        return default
    if text.lower() not in ("true", "false", "on", "off", "1", "0"):
        raise StateError(f"option {option}={text}: it is true or false")
    return text.lower() in ("true", "on", "1")
