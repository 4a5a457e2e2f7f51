"""Stations that a host has for itself in networks: overlay endpoints that no sandbox asked for."""

from vxnet.cnm.driver import NetworkDriver
from vxnet.cnm.model import (
    Endpoint,
    EndpointId,
    EndpointState,
    IpInterface,
    Network,
    derive_mac,
    device_alias,
)
from vxnet.host.base import Interface

__all__ = ["give_up", "host_station", "take_up"]


def host_station(
    number: EndpointId,
    name: str,
    network: Network,
    addresses: tuple[IpInterface, ...],
    *,
    anycast: bool = False,
) -> Endpoint:
    """One of this number; `anycast` where every host has the same."""
    return Endpoint(
        number,
        name,
        network.id,
        derive_mac(network.id, number),
        addresses,
        state=EndpointState.JOINED,
        anycast=anycast,
    )


async def take_up(
    overlay: NetworkDriver, network: Network, station: Endpoint, ifname: str
) -> Interface:
    """Join it to its network; returns the interface as it is to be placed. Raises VxnetError."""
    await overlay.create_endpoint(network, station)
    attachment = await overlay.join(network, station)
    return Interface(
        ifname,
        station.mac,
        network.mtu,
        station.addresses,
        gso_max_bytes=attachment.gso_max_bytes,
        alias=device_alias(station.id),
    )


async def give_up(overlay: NetworkDriver, network: Network, station: Endpoint) -> None:
    """Take it off its network. Raises VxnetError."""
    await overlay.leave(network, station)
    await overlay.delete_endpoint(network, station)
