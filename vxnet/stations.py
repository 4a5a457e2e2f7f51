"""Stations that a host has for itself in networks: overlay endpoints that no sandbox asked for."""

import hashlib
from typing import Final

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

__all__ = [
    "GATEWAY_PREFIX",
    "gateway_station",
    "give_up",
    "host_station",
    "relay_station",
    "take_up",
]

GATEWAY_PREFIX: Final = "vxg"
"""What the names of gateways' devices begin with, so that one rule of a host lets them all pass."""


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


def gateway_station(network: Network, addresses: tuple[IpInterface, ...]) -> Endpoint:
    """A network's gateway: the same on every host."""
    digest = hashlib.blake2s(network.id.encode(), digest_size=16).hexdigest()
    # device_name puts "vx" in front.
    number = EndpointId(f"{GATEWAY_PREFIX[2:]}{digest[1:]}")
    return host_station(number, f"gateway of {network.name}", network, addresses, anycast=True)


def relay_station(
    network: Network, owner: int, addresses: tuple[IpInterface, ...] = ()
) -> Endpoint:
    """By which a host passes on what comes to its published ports: every host knows its MAC."""
    digest = hashlib.blake2s(f"ingress/{network.id}/{owner}".encode(), digest_size=16).hexdigest()
    return host_station(EndpointId(digest), f"ingress of {owner:x}", network, addresses)


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
