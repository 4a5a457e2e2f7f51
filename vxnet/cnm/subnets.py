"""Which subnet a network gets where nobody said, and which addresses a subnet has."""

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from vxnet.cnm.model import IpAddress, IpInterface, IpNetwork, Network, Subnet
from vxnet.errors import StateError

__all__ = ["bounds", "choose_subnets", "overlap", "place_address", "resolvers_of"]

POOL_V4: Final = ipaddress.IPv4Network("10.128.0.0/9")
SUBNET_V4_BITS: Final = 20
SUBNET_V6_BITS: Final = 64
RESOLVED_MIN: Final = 32
"""Addresses of the smallest subnet that has one to spare for a resolver."""


def choose_subnets(name: str, taken: Iterable[IpNetwork]) -> tuple[Subnet, ...]:
    """An IPv4 and an IPv6 subnet for a network of this name that overlap none of those taken.

    Hosts that know the same choose the same. Raises StateError where the pool is used up.
    """
    used = list(taken)
    return tuple(
        Subnet(_first_free(candidates, used, name))
        for candidates in (_ipv4_candidates(name), _ipv6_candidates(name))
    )


def place_address(network: Network, address: IpAddress) -> IpInterface:
    """A requested address with its subnet's length. Raises StateError outside the network."""
    for subnet in network.subnets:
        if address in subnet.prefix:
            first, last = bounds(subnet.prefix)
            position = int(address) - int(subnet.prefix.network_address)
            if not first <= position <= last:
                raise StateError(
                    f"{address} names the subnet {subnet.prefix} itself; choose one inside it"
                )
            if address == subnet.gateway:
                raise StateError(f"{address} is the gateway of network {network.name}")
            if address in (own.ip for own in resolvers_of(network)):
                raise StateError(f"{address} is the resolver of network {network.name}")
            return _with_prefix(address, subnet.prefix)
    subnets = ", ".join(str(subnet.prefix) for subnet in network.subnets) or "no subnet"
    raise StateError(f"{address} is outside network {network.name}, which has {subnets}")


def resolvers_of(network: Network) -> tuple[IpInterface, ...]:
    """Where a network's names are asked for, on every host: the last address of each subnet.

    None in a subnet too small to spare one, and none in networks that say `resolver = off`.
    """
    if network.vni is None or network.options.get("resolver") == "off":
        return ()
    return tuple(
        _with_prefix(_last(subnet), subnet.prefix)
        for subnet in network.subnets
        if subnet.prefix.num_addresses >= RESOLVED_MIN
    )


def bounds(prefix: IpNetwork) -> tuple[int, int]:
    """First and last offset that a station may have (RFC 3021 and RFC 6164 for the smallest)."""
    size = prefix.num_addresses
    if size <= 2:
        return 0, size - 1
    return 1, size - 2 if prefix.version == 4 else size - 1


def _last(subnet: Subnet) -> IpAddress:
    last = subnet.prefix.network_address + bounds(subnet.prefix)[1]
    return last if last != subnet.gateway else last - 1


def _with_prefix(address: IpAddress, prefix: IpNetwork) -> IpInterface:
    return ipaddress.ip_interface(f"{address}/{prefix.prefixlen}")


def _first_free(candidates: Iterator[IpNetwork], used: list[IpNetwork], name: str) -> IpNetwork:
    for candidate in candidates:
        if not any(overlap(candidate, other) for other in used):
            return candidate
    raise StateError(f"no subnet is left for network {name}; choose one with --subnet")


def overlap(one: IpNetwork, other: IpNetwork) -> bool:
    """Whether two subnets share an address."""
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return one.overlaps(other)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return one.overlaps(other)
    return False


def _ipv4_candidates(name: str) -> Iterator[IpNetwork]:
    slots = 1 << (SUBNET_V4_BITS - POOL_V4.prefixlen)
    start = int.from_bytes(hashlib.blake2s(name.encode(), digest_size=8).digest()) % slots
    size = 1 << (32 - SUBNET_V4_BITS)
    for slot in chain(range(start, slots), range(start)):
        yield ipaddress.IPv4Network((int(POOL_V4.network_address) + slot * size, SUBNET_V4_BITS))


def _ipv6_candidates(name: str) -> Iterator[IpNetwork]:
    """Unique local prefixes (RFC 4193 §3.2.1: fd, then 40 random bits, here the name's hash)."""
    for attempt in range(16):
        digest = hashlib.blake2s(f"{name}\0{attempt}".encode(), digest_size=7).digest()
        yield ipaddress.IPv6Network((b"\xfd" + digest + bytes(8), SUBNET_V6_BITS))
