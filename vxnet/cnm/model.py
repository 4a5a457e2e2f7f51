"""The Container Network Model's nouns: Network, Sandbox, Endpoint, as values."""

import hashlib
import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from vxnet.wire.addr import Ip, Mac, Vni

__all__ = [
    "OWN_NAMESPACE",
    "Endpoint",
    "EndpointId",
    "EndpointState",
    "IpAddress",
    "IpInterface",
    "IpNetwork",
    "Network",
    "NetworkId",
    "PublishedPort",
    "Sandbox",
    "SandboxKind",
    "Subnet",
    "derive_mac",
    "device_alias",
    "device_name",
]

NetworkId = NewType("NetworkId", str)
"""32 hexadecimal digits; the same on every host."""

EndpointId = NewType("EndpointId", str)
"""32 hexadecimal digits."""

OWN_NAMESPACE = "/proc/self/ns/net"
"""Where the daemon lives, and a virtual machine's TAP with it."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet of a network. `gateway` is left out of what is handed out."""

    prefix: IpNetwork
    gateway: IpAddress | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """A named Ethernet, of one driver. `mtu` is the IP MTU inside, in octets."""

    id: NetworkId
    name: str
    driver: str
    mtu: int
    vni: Vni | None = None
    subnets: tuple[Subnet, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    created_ms: int = 0
    creator: int = 0  # the node that made it, whose its addresses were at first
    shared: bool = True  # known to every host


class SandboxKind(StrEnum):
    """How a network namespace is named."""

    NETNS = "netns"
    PID = "pid"
    PATH = "path"
    TAP = "tap"  # no namespace: a TAP of this name on the host, for a virtual machine


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A network namespace, by the name somebody gave it."""

    kind: SandboxKind
    value: str

    @property
    def path(self) -> str:
        """The file that stands for the namespace."""
        match self.kind:
            case SandboxKind.NETNS:
                return f"/run/netns/{self.value}"
            case SandboxKind.PID:
                return f"/proc/{self.value}/ns/net"
            case SandboxKind.PATH:
                return self.value
            case SandboxKind.TAP:
                return OWN_NAMESPACE

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


class EndpointState(StrEnum):
    """Where an endpoint is in its life. Each step is saved before it is driven."""

    CREATING = "creating"
    CREATED = "created"
    JOINING = "joining"
    JOINED = "joined"
    LEAVING = "leaving"
    REMOVING = "removing"


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the host that leads to one of an endpoint."""

    host_port: int
    port: int
    protocol: str = "tcp"  # tcp, udp or sctp
    host_ip: IpAddress | None = None  # None: any of the host's

    def __str__(self) -> str:
        ports = f"{self.host_port}:{self.port}/{self.protocol}"
        match self.host_ip:
            case None:
                return ports
            case ipaddress.IPv6Address():
                return f"[{self.host_ip}]:{ports}"
            case _:
                return f"{self.host_ip}:{ports}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A station of a network on this host. `sandbox` and `ifname` are set while it is joined."""

    id: EndpointId
    name: str
    network: NetworkId
    mac: Mac
    addresses: tuple[IpInterface, ...] = ()
    state: EndpointState = EndpointState.CREATED
    sandbox: Sandbox | None = None
    ifname: str = ""
    created_ms: int = 0
    published: tuple[PublishedPort, ...] = ()
    priority: int = 0  # the sandbox's way out leads through the endpoint with the highest
    lent: bool = False  # another (Docker) puts its device into the sandbox, and names it there
    anycast: bool = False  # every host has one of it, so that none tells the others
    aliases: tuple[str, ...] = ()  # what else it is called in its network
    services: tuple[str, ...] = ()  # what it is a member of

    @property
    def is_for_vm(self) -> bool:
        """Whether its device is a TAP on the host that a virtual machine opens."""
        return self.sandbox is not None and self.sandbox.kind is SandboxKind.TAP

    @property
    def ips(self) -> tuple[Ip, ...]:
        """Its addresses as the wire has them."""
        return tuple(Ip(address.ip.packed) for address in self.addresses)


def derive_mac(network: NetworkId, endpoint: EndpointId) -> Mac:
    """The MAC an endpoint has for ever: unicast, locally administered (IEEE 802 U/L bit)."""
    octets = hashlib.blake2s(f"{network}/{endpoint}".encode(), digest_size=6).digest()
    return Mac(bytes([octets[0] & 0xFC | 0x02]) + octets[1:])


def device_alias(endpoint: EndpointId) -> str:
    """What an endpoint's device carries wherever it is, so that it can be told from others."""
    return f"vxnet endpoint {endpoint}"


def device_name(endpoint: EndpointId) -> str:
    """What an endpoint's device is called on the host: at most 15 octets (IFNAMSIZ - 1)."""
    return f"vx{endpoint[:12]}"
