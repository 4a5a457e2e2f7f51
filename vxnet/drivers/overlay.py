"""The overlay driver: one Ethernet across all hosts, a TAP an endpoint, VXLAN between them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from vxnet.cnm.driver import About, Attachment, Scope, read_choice, read_flag, refuse_unknown
from vxnet.cnm.model import Endpoint, EndpointId, Network, device_name
from vxnet.datapath.base import Port, Segment
from vxnet.errors import StateError
from vxnet.forwarding import Forwarding
from vxnet.link.base import Link
from vxnet.switch.actions import PortId
from vxnet.wire.addr import Vni

__all__ = ["MADE_BY", "OPTIONS", "Companion", "LinkOpener", "OverlayDriver"]


class Tap(Link, Protocol):
    """A link whose device can outlive the daemon."""

    def part(self, *, keep_device: bool) -> Callable[[], None]:
        """Have the device stay though the link is closed, until what is returned was called."""
        ...


LinkOpener = Callable[[str | None, str, bool], Awaitable[Tap]]
"""Makes or takes up the device of this name, in a sandbox (by its path) or on the host (None).

Where the last argument is true, it is a TAP that a virtual machine opens, and not we. The device
stays when the link is closed. Raises HostError where the system refuses.
"""


class Companion(Protocol):
    """What this host has in every network that it has endpoints in: the network's resolver."""

    async def arrive(self, network: Network, port: PortId) -> None:
        """The network came to this host; `port` is free to be taken. Raises nothing."""
        ...

    def depart(self, vni: Vni) -> None:
        """The network leaves this host. Unknown ones are ignored."""
        ...


MTU_MIN: Final = 576
MADE_BY: Final = "made_by"
"""Who made the network, and so removes it with its last user: docker."""
DSCP_MAX: Final = 63
OPTIONS: Final = frozenset(
    {
        "dscp",
        "flood_unknown",
        "learning",
        MADE_BY,
        "outer_dscp",
        "resolver",
        "strict_reserved",
        "suppress_neighbours",
        "unknown_vtep",
        "vlan",
    }
)


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

    uses_vni = True
    about = About(
        purpose="one Ethernet across all hosts, VXLAN between them",
        limits="carried by the daemon; the MTU is the underlay's less 50 octets (70 over IPv6)",
        own_mac=True,
        own_ip=True,
        crosses_hosts=True,
        way_out="none of its own; give the network a gateway, or the sandbox a bridge endpoint",
    )

    def __init__(
        self,
        forwarding: Forwarding,
        open_link: LinkOpener,
        *,
        mtu_max: int,
        gso_max_bytes: int,
        companion: Companion | None = None,
    ) -> None:
        """`mtu_max` is what the underlay leaves for inner IP packets."""
        self._forwarding = forwarding
        self._open_link = open_link
        self._mtu_max = mtu_max
        self._gso_max_bytes = gso_max_bytes
        self._companion = companion
        self._plugs: dict[EndpointId, _Plug] = {}
        self._last_port = 0

    async def lacks(self) -> str | None:
        return None

    async def complete(self, network: Network) -> Network:
        _segment(network, _vni(network))
        mtu = network.mtu or self._mtu_max
        if not MTU_MIN <= mtu <= self._mtu_max:
            raise StateError(
                f"an MTU of {mtu} does not fit: the underlay leaves {self._mtu_max} for inner "
                f"packets, and {MTU_MIN} is the least"
            )
        return replace(network, mtu=mtu)

    async def create_network(self, network: Network) -> None:
        """A host carries a network from its first endpoint on, so there is nothing to make yet."""

    async def delete_network(self, network: Network) -> None:
        if network.vni is not None:
            self._leave(network.vni)

    async def create_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        if endpoint.id not in self._plugs:
            await self._plug_in(network, endpoint, None, device_name(endpoint.id))

    async def delete_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        plug = self._plugs.pop(endpoint.id, None)
        if plug is not None:
            await self._unplug(plug, keep_device=False)

    async def adopt(self, network: Network, endpoint: Endpoint) -> None:
        if endpoint.sandbox is not None and endpoint.id not in self._plugs:
            await self._plug_in(network, endpoint, endpoint.sandbox.path, endpoint.ifname)

    async def close(self, *, keep_devices: bool) -> None:
        while self._plugs:
            _, plug = self._plugs.popitem()
            await self._unplug(plug, keep_device=keep_devices)

    async def join(self, network: Network, endpoint: Endpoint) -> Attachment:
        plug = self._plugs.get(endpoint.id)
        if plug is None:
            raise StateError(f"endpoint {endpoint.name} has no device on this host")
        if endpoint.anycast:
            self._forwarding.keep(plug.vni, endpoint.mac, endpoint.ips, plug.port)
        else:
            self._forwarding.announce(plug.vni, endpoint.mac, endpoint.ips, plug.port)
        if endpoint.is_for_vm:
            return Attachment(plug.link.name, network.mtu, own_mac=False, addressed=False)
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

    def descriptors(self) -> list[tuple[int, ...]]:
        """Those of each endpoint's device, for a daemon that follows this one."""
        return [plug.link.fds for plug in self._plugs.values()]

    def port_of(self, endpoint: EndpointId) -> PortId | None:
        """The endpoint's port of the switch, while it has one."""
        plug = self._plugs.get(endpoint)
        return None if plug is None else plug.port

    async def _plug_in(
        self, network: Network, endpoint: Endpoint, path: str | None, device: str
    ) -> None:
        vni = _vni(network)
        link = await self._open_link(path, device, endpoint.is_for_vm)
        self._last_port += 1
        plug = _Plug(PortId(self._last_port), vni, link)
        try:
            self._forwarding.add_segment(_segment(network, vni))
            self._forwarding.add_port(Port(plug.port, vni, endpoint.mac, endpoint.ips), link)
        except BaseException:
            await self._unplug(plug, keep_device=path is not None)
            raise
        is_first = all(other.vni != vni for other in self._plugs.values())
        self._plugs[endpoint.id] = plug
        if is_first and self._companion is not None:
            self._last_port += 1
            await self._companion.arrive(network, PortId(self._last_port))

    async def _unplug(self, plug: _Plug, *, keep_device: bool) -> None:
        """The last endpoint takes the network off this host."""
        let_go = plug.link.part(keep_device=keep_device)
        self._forwarding.remove_port(plug.port)
        plug.link.close()
        if all(other.vni != plug.vni for other in self._plugs.values()):
            self._leave(plug.vni)
        # Removing a device waits for a lock of the whole kernel, and then for its grace period.
        await asyncio.to_thread(let_go)

    def _leave(self, vni: Vni) -> None:
        if self._companion is not None:
            self._companion.depart(vni)
        self._forwarding.remove_segment(vni)


def _vni(network: Network) -> Vni:
    if network.vni is None:
        raise StateError(f"network {network.name} has no VNI; an overlay needs one")
    return network.vni


def _segment(network: Network, vni: Vni) -> Segment:
    """The network as the datapath knows it. Raises StateError for options that it has not."""
    refuse_unknown(network, OPTIONS)
    vlan = read_choice(network, "vlan", ("drop", "transparent"))
    read_choice(network, "resolver", ("on", "off"))
    return Segment(
        vni,
        network.mtu,
        learning=read_flag(network, "learning", default=True),
        flood_unknown=read_flag(network, "flood_unknown", default=True),
        suppress_neighbours=read_flag(network, "suppress_neighbours", default=True),
        vlan_transparent=vlan == "transparent",
        strict_reserved=read_flag(network, "strict_reserved", default=False),
        learn_vteps=read_choice(network, "unknown_vtep", ("drop", "learn")) == "learn",
        dscp=_dscp(network),
    )


def _dscp(network: Network) -> int | None:
    """RFC 2983: the pipe's own code point, or None where the inner one is copied out."""
    mode = read_choice(network, "dscp", ("pipe", "uniform"))
    text = network.options.get("outer_dscp", "0")
    if not (text.isascii() and text.isdigit() and int(text) <= DSCP_MAX):
        raise StateError(f"outer_dscp={text}: must be a number from 0 to {DSCP_MAX}")
    if mode == "uniform" and "outer_dscp" in network.options:
        raise StateError("outer_dscp is for dscp=pipe; with dscp=uniform the inner one is copied")
    return None if mode == "uniform" else int(text)
