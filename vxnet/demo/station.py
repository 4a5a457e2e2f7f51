"""A station of the demo: an endpoint in a sandbox, with what the network gave it."""

import ipaddress
import socket
from dataclasses import dataclass

from vxnet.demo.bed import Host
from vxnet.demo.namespace import Namespace

__all__ = ["Station"]


@dataclass(frozen=True, slots=True)
class Station:
    """Where it is, and how it is reached. `ipv4` and `ipv6` carry their prefix length."""

    label: str  # for people: h1/blue
    network: str
    host: Host
    sandbox: Namespace
    ifname: str
    endpoint: str
    mac: str
    ipv4: ipaddress.IPv4Interface
    ipv6: ipaddress.IPv6Interface

    @property
    def addresses(self) -> tuple[str, str]:
        """Its IPv4 and its IPv6 address as text."""
        return str(self.ipv4.ip), str(self.ipv6.ip)

    def socket(self, family: int, kind: int) -> socket.socket:
        """A socket that lives in the sandbox, usable from any thread."""
        return self.sandbox.inside(lambda: socket.socket(family, kind))

    def scope(self) -> int:
        """The index of its device, which link-local addresses need."""
        return self.sandbox.inside(lambda: socket.if_nametoindex(self.ifname))
