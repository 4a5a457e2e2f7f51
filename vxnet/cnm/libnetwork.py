"""The messages of libnetwork's remote driver and remote IPAM protocols, as JSON has them.

Docker posts them to a plugin (`vxnet.docker` answers), and vxnet to a third party's (the remote
driver asks). Answers that say nothing are `{}`; one with `Err` says what went wrong.
"""

from typing import Any, Final

from msgspec import Struct, field

__all__ = [
    "ENABLE_IPV6",
    "GATEWAY_REQUEST",
    "GENERIC",
    "INTERNAL",
    "MTU",
    "PORT_MAP",
    "REQUEST_TYPE",
    "Activated",
    "AddressAnswer",
    "AddressRelease",
    "AddressRequest",
    "AddressSpaces",
    "AllocateAnswer",
    "Capabilities",
    "CreateEndpoint",
    "CreateEndpointAnswer",
    "CreateNetwork",
    "EndpointNames",
    "InfoAnswer",
    "Interface",
    "InterfaceName",
    "IpamCapabilities",
    "IpamData",
    "Join",
    "JoinAnswer",
    "NetworkNames",
    "PoolAnswer",
    "PoolRelease",
    "PoolRequest",
    "PortBinding",
    "ProgramConnectivity",
]

GENERIC: Final = "com.docker.network.generic"
ENABLE_IPV6: Final = "com.docker.network.enable_ipv6"
INTERNAL: Final = "com.docker.network.internal"
PORT_MAP: Final = "com.docker.network.portmap"
MTU: Final = "com.docker.network.driver.mtu"
REQUEST_TYPE: Final = "RequestAddressType"
GATEWAY_REQUEST: Final = "com.docker.network.gateway"


class Activated(Struct, frozen=True, rename="pascal"):
    """What a plugin can be used for."""

    implements: tuple[str, ...] | None = None


class Capabilities(Struct, frozen=True, rename="pascal"):
    """How far a driver's networks reach: `local` or `global`."""

    scope: str = "local"
    connectivity_scope: str = ""


class IpamData(Struct, frozen=True, rename="pascal"):
    """A subnet of a network, with its gateway (`10.9.0.1/24`)."""

    address_space: str = ""
    pool: str = ""
    gateway: str = ""
    aux_addresses: dict[str, str] | None = None


class NetworkNames(Struct, frozen=True):
    """Which network is meant."""

    network: str = field(name="NetworkID")


class CreateNetwork(NetworkNames, frozen=True):
    """A network, as it was asked for. Of AllocateNetwork too, whose options are flat."""

    options: dict[str, Any] | None = field(name="Options", default=None)
    ipv4: tuple[IpamData, ...] | None = field(name="IPv4Data", default=())
    ipv6: tuple[IpamData, ...] | None = field(name="IPv6Data", default=())


class AllocateAnswer(Struct, frozen=True, rename="pascal"):
    """The options every node's CreateNetwork gets, in place of the user's."""

    options: dict[str, str]


class EndpointNames(NetworkNames, frozen=True):
    """Which endpoint is meant."""

    endpoint: str = field(name="EndpointID")


class Interface(Struct, frozen=True, omit_defaults=True):
    """What an endpoint has, or shall have; "": the other side chooses."""

    address: str = field(name="Address", default="")
    address_ipv6: str = field(name="AddressIPv6", default="")
    mac: str = field(name="MacAddress", default="")


class CreateEndpoint(EndpointNames, frozen=True):
    """An endpoint, as it was asked for."""

    interface: Interface | None = field(name="Interface", default=None)
    options: dict[str, Any] | None = field(name="Options", default=None)


class CreateEndpointAnswer(Struct, frozen=True, rename="pascal"):
    """What the driver chose beyond what it was told."""

    interface: Interface


class Join(EndpointNames, frozen=True):
    """An endpoint goes into the namespace that the key is the file of."""

    sandbox: str = field(name="SandboxKey", default="")
    options: dict[str, Any] | None = field(name="Options", default=None)


class InterfaceName(Struct, frozen=True, rename="pascal"):
    """The device to move, and what its name in the sandbox begins with."""

    src_name: str = ""
    dst_prefix: str = ""


class JoinAnswer(Struct, frozen=True):
    """What to move into the sandbox, and its ways out."""

    interface_name: InterfaceName | None = field(name="InterfaceName", default=None)
    gateway: str = field(name="Gateway", default="")
    gateway_ipv6: str = field(name="GatewayIPv6", default="")
    static_routes: tuple[dict[str, Any], ...] | None = field(name="StaticRoutes", default=())
    disable_gateway_service: bool = field(name="DisableGatewayService", default=False)


class PortBinding(Struct, frozen=True):
    """A port to be published; protocols by their IP numbers, a host port of 0 is chosen."""

    protocol: int = field(name="Proto", default=6)
    port: int = field(name="Port", default=0)
    host_ip: str = field(name="HostIP", default="")
    host_port: int = field(name="HostPort", default=0)
    host_port_end: int = field(name="HostPortEnd", default=0)


class ProgramConnectivity(EndpointNames, frozen=True):
    """An endpoint becomes its sandbox's way out, and its ports are published."""

    options: dict[str, Any] | None = field(name="Options", default=None)


class InfoAnswer(Struct, frozen=True, rename="pascal"):
    """What a driver says of an endpoint, for people."""

    value: dict[str, Any]


class IpamCapabilities(Struct, frozen=True):
    """What an IPAM driver wants to be told."""

    requires_mac: bool = field(name="RequiresMACAddress", default=False)
    requires_replay: bool = field(name="RequiresRequestReplay", default=False)


class AddressSpaces(Struct, frozen=True, rename="pascal"):
    """What an IPAM driver calls its pools of one host, and of all."""

    local_default_address_space: str
    global_default_address_space: str


class PoolRequest(Struct, frozen=True, rename="pascal"):
    """A subnet is wanted: a certain one, or the driver's choice."""

    address_space: str = ""
    pool: str = ""
    sub_pool: str = ""
    options: dict[str, str] | None = None
    v6: bool = False


class PoolAnswer(Struct, frozen=True):
    """The subnet, and what it is called from now on."""

    pool_id: str = field(name="PoolID")
    pool: str = field(name="Pool")
    data: dict[str, str] = field(name="Data", default_factory=dict)


class PoolRelease(Struct, frozen=True):
    """A subnet is not used any more."""

    pool_id: str = field(name="PoolID")


class AddressRequest(Struct, frozen=True):
    """An address is wanted: a certain one, or the driver's choice."""

    pool_id: str = field(name="PoolID")
    address: str = field(name="Address", default="")
    options: dict[str, str] | None = field(name="Options", default=None)


class AddressAnswer(Struct, frozen=True, rename="pascal"):
    """The address, with the subnet's length."""

    address: str
    data: dict[str, str] = {}


class AddressRelease(Struct, frozen=True):
    """An address is not used any more."""

    pool_id: str = field(name="PoolID")
    address: str = field(name="Address", default="")
