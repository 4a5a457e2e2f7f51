"""The overlay driver: one Ethernet across all hosts, a TAP an endpoint, VXLAN between them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vxnet.cnm.driver import Attachment, Scope
from vxnet.cnm.model import Endpoint, EndpointId, Network, device_name
from vxnet.datapath.base import Port, Segment
from vxnet.errors import StateError
from vxnet.forwarding import Forwarding
from vxnet.link.base import Link
from vxnet.switch.actions import PortId
from vxnet.wire.addr import Vni

__all__ = ["LinkOpener", "OverlayDriver"]

LinkOpener = Callable[[str], Awaitable[Link]]
"""Makes a link whose device has this name. Raises HostError where the system refuses."""

OPTIONS = frozenset({"learning", "flood_unknown", "suppress_neighbours", "vlan", "strict_reserved"})


@dataclass(frozen=True, slots=True)
class _Tap:
    """What one endpoint has in the datapath."""

    port: PortId
    vni: Vni
    device: str


class OverlayDriver:
    """Networks that reach every host of the cluster."""

    name = "overlay"
    scope = Scope.GLOBAL

    def __init__(self, forwarding: Forwarding, open_link: LinkOpener, gso_max_bytes: int) -> None:
        self._forwarding = forwarding
        self._open_link = open_link
        self._gso_max_bytes = gso_max_bytes
        self._taps: dict[EndpointId, _Tap] = {}
        self._last_port = 0

    def check(self, network: Network) -> None:
        _segment(network, _vni(network))

    async def create_network(self, network: Network) -> None:
        """A host carries a network from its first endpoint on, so there is nothing to make yet."""

    async def delete_network(self, network: Network) -> None:
        if network.vni is not None:
            self._forwarding.remove_segment(network.vni)

    async def create_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        if endpoint.id in self._taps:
            return
        vni = _vni(network)
        link = await self._open_link(device_name(endpoint.id))
        self._last_port += 1
        tap = _Tap(PortId(self._last_port), vni, link.name)
        try:
            self._forwarding.add_segment(_segment(network, vni))
            self._forwarding.add_port(Port(tap.port, vni, endpoint.mac, endpoint.ips), link)
        except BaseException:
            link.close()
            self._release(vni)
            raise
        self._taps[endpoint.id] = tap

    async def delete_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        tap = self._taps.pop(endpoint.id, None)
        if tap is not None:
            self._forwarding.remove_port(tap.port)
            self._release(tap.vni)

    async def join(self, network: Network, endpoint: Endpoint) -> Attachment:
        tap = self._taps.get(endpoint.id)
        if tap is None:
            raise StateError(f"endpoint {endpoint.name} has no device on this host")
        self._forwarding.announce(tap.vni, endpoint.mac, endpoint.ips, tap.port)
        return Attachment(
            tap.device,
            network.mtu,
            gateways=tuple(s.gateway for s in network.subnets if s.gateway is not None),
            gso_max_bytes=self._gso_max_bytes,
        )

    async def leave(self, network: Network, endpoint: Endpoint) -> None:
        tap = self._taps.get(endpoint.id)
        if tap is not None:
            self._forwarding.withdraw(tap.vni, endpoint.mac)

    def port_of(self, endpoint: EndpointId) -> PortId | None:
        """The endpoint's port of the switch, while it has one."""
        tap = self._taps.get(endpoint)
        return None if tap is None else tap.port

    def _release(self, vni: Vni) -> None:
        """The last endpoint takes the network off this host."""
        if all(tap.vni != vni for tap in self._taps.values()):
            self._forwarding.remove_segment(vni)


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
