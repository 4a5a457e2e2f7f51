"""Addresses as the wire has them: octets, never text, until a person reads them."""

import ipaddress
from typing import NamedTuple, NewType

from vxnet.errors import WireError

__all__ = [
    "BROADCAST",
    "PROBE_VNI",
    "VNI_MAX",
    "Ip",
    "Mac",
    "Vni",
    "Vtep",
    "format_ip",
    "format_mac",
    "is_group",
    "parse_ip",
    "parse_mac",
    "parse_vni",
]

Mac = NewType("Mac", bytes)
"""Six octets in network order."""

Ip = NewType("Ip", bytes)
"""Four octets (IPv4) or sixteen (IPv6) in network order."""

Vni = NewType("Vni", int)
"""A VXLAN network identifier, 0 to 2**24 - 1 (RFC 7348 §5)."""

VNI_MAX = 2**24 - 1

PROBE_VNI = Vni(VNI_MAX)
"""What hosts probe the way to each other in; no network may have it."""
BROADCAST = Mac(b"\xff" * 6)


class Vtep(NamedTuple):
    """Where a VXLAN tunnel ends: an underlay address and the UDP port it listens on."""

    ip: Ip
    port: int

    def __str__(self) -> str:
        text = format_ip(self.ip)
        return f"[{text}]:{self.port}" if len(self.ip) == 16 else f"{text}:{self.port}"


def is_group(mac: bytes) -> bool:
    """Whether a MAC names more than one station: broadcast or multicast (IEEE 802 I/G bit)."""
    return bool(mac[0] & 1)


def parse_mac(text: str) -> Mac:
    """Read `02:42:0a:09:00:02` (or with dashes). Raises WireError for anything else."""
    parts = text.replace("-", ":").split(":")
    if len(parts) != 6 or not all(len(p) == 2 for p in parts):
        raise WireError(f"{text!r} is not a MAC address; write it like 02:42:0a:09:00:02")
    try:
        return Mac(bytes(int(p, 16) for p in parts))
    except ValueError:
        raise WireError(f"{text!r} is not a MAC address; write it like 02:42:0a:09:00:02") from None


def format_mac(mac: bytes) -> str:
    """`02:42:0a:09:00:02`."""
    return mac.hex(":")


def parse_ip(text: str) -> Ip:
    """Read an IPv4 or IPv6 address. Raises WireError for anything else."""
    try:
        return Ip(ipaddress.ip_address(text).packed)
    except ValueError:
        raise WireError(f"{text!r} is not an IP address") from None


def format_ip(ip: bytes) -> str:
    """The address as people write it. Raises WireError unless it is 4 or 16 octets."""
    if len(ip) == 4:
        return f"{ip[0]}.{ip[1]}.{ip[2]}.{ip[3]}"
    try:
        return str(ipaddress.ip_address(ip))
    except ValueError:
        raise WireError(f"an IP address of {len(ip)} octets; 4 or 16 are needed") from None


def parse_vni(value: int) -> Vni:
    """Check a number. Raises WireError outside 0 to 2**24 - 1."""
    if not 0 <= value <= VNI_MAX:
        raise WireError(f"VNI {value} is out of range; it is 0 to {VNI_MAX}")
    return Vni(value)
