"""The remote driver: a network of a third party's libnetwork plugin, found where Docker finds it.

The protocol is libnetwork's remote driver API: JSON posted to `/NetworkDriver.Verb`; `Err` in an
answer is what went wrong.
"""

import ipaddress
from typing import Any, Protocol, TypeVar

import msgspec

from vxnet.cnm.driver import About, Attachment, Scope
from vxnet.cnm.libnetwork import (
    ENABLE_IPV6,
    GENERIC,
    Activated,
    Capabilities,
    CreateEndpoint,
    CreateNetwork,
    EndpointNames,
    Interface,
    IpamData,
    Join,
    JoinAnswer,
    NetworkNames,
)
from vxnet.cnm.model import Endpoint, IpAddress, Network, device_alias
from vxnet.errors import HostError, StateError
from vxnet.host.base import HostNetwork
from vxnet.wire.addr import format_mac

__all__ = ["Plugin", "RemoteDriver"]

T = TypeVar("T", bound=msgspec.Struct)


class Plugin(Protocol):
    """Whoever answers a plugin's calls."""

    async def call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """Post a body, and return the answer. Raises HostError where there is none."""
        ...


class RemoteDriver:
    """One plugin. What it says in `Err` is passed on as a StateError."""

    uses_vni = False

    def __init__(self, name: str, plugin: Plugin, host: HostNetwork) -> None:
        self.name = name
        self.scope = Scope.LOCAL
        self._plugin = plugin
        self._host = host
        self._active = False

    @property
    def about(self) -> About:
        """What is known of somebody else's driver."""
        return About(
            purpose=f"networks of the plugin {self.name}",
            limits="what the plugin cannot do",
            own_mac=True,
            own_ip=True,
            crosses_hosts=False,
            way_out="as the plugin says",
        )

    async def lacks(self) -> str | None:
        try:
            await self._activate()
        except (HostError, StateError) as error:
            return str(error)
        return None

    async def complete(self, network: Network) -> Network:
        await self._activate()
        if not network.subnets:
            raise StateError(
                f"network {network.name} needs a --subnet; vxnet hands out the plugin's addresses"
            )
        return network

    async def create_network(self, network: Network) -> None:
        await self._activate()
        ipv4, ipv6 = _pools(network, 4), _pools(network, 6)
        options = {GENERIC: network.options, ENABLE_IPV6: bool(ipv6)}
        await self._call("CreateNetwork", CreateNetwork(network.id, options, ipv4, ipv6))

    async def delete_network(self, network: Network) -> None:
        await self._call("DeleteNetwork", NetworkNames(network.id))

    async def create_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        addresses = {address.version: str(address) for address in endpoint.addresses}
        interface = Interface(addresses.get(4, ""), addresses.get(6, ""), format_mac(endpoint.mac))
        await self._call(
            "CreateEndpoint", CreateEndpoint(network.id, endpoint.id, interface, options={})
        )

    async def delete_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        await self._call("DeleteEndpoint", EndpointNames(network.id, endpoint.id))

    async def join(self, network: Network, endpoint: Endpoint) -> Attachment:
        path = "" if endpoint.sandbox is None else endpoint.sandbox.path
        joined = await self._ask(
            "Join", Join(network.id, endpoint.id, path, options={}), JoinAnswer
        )
        if joined.interface_name is None or not joined.interface_name.src_name:
            raise StateError(f"the plugin {self.name} named no device for {endpoint.name}")
        gateways = (joined.gateway, joined.gateway_ipv6)
        return Attachment(
            joined.interface_name.src_name,
            network.mtu,
            tuple(self._gateway(text) for text in gateways if text),
        )

    async def leave(self, network: Network, endpoint: Endpoint) -> None:
        """A plugin expects its device back on the host before it removes it."""
        await self._call("Leave", EndpointNames(network.id, endpoint.id))
        if endpoint.sandbox is not None:
            await self._host.take_back(
                endpoint.sandbox.path, endpoint.ifname, device_alias(endpoint.id)
            )

    async def adopt(self, network: Network, endpoint: Endpoint) -> None:
        """The plugin carried on by itself."""

    async def close(self, *, keep_devices: bool) -> None:
        """The plugin carries on by itself."""

    async def _activate(self) -> None:
        if self._active:
            return
        said = self._read(await self._plugin.call("Plugin.Activate", {}), Activated)
        if "NetworkDriver" not in (said.implements or ()):
            raise StateError(f"the plugin {self.name} is no network driver")
        capabilities = await self._ask("GetCapabilities", None, Capabilities)
        if capabilities.scope == "global":
            self.scope = Scope.GLOBAL
        self._active = True

    async def _call(self, verb: str, body: msgspec.Struct | None) -> dict[str, Any]:
        message = {} if body is None else msgspec.to_builtins(body)
        answer = await self._plugin.call(f"NetworkDriver.{verb}", message)
        if error := answer.get("Err"):
            raise StateError(f"the plugin {self.name} refuses {verb}: {error}")
        return answer

    async def _ask(self, verb: str, body: msgspec.Struct | None, kind: type[T]) -> T:
        return self._read(await self._call(verb, body), kind)

    def _read(self, answer: dict[str, Any], kind: type[T]) -> T:
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise StateError(f"the plugin {self.name} answered wrongly: {error}") from None

    def _gateway(self, text: str) -> IpAddress:
        try:
            return ipaddress.ip_address(text)
        except ValueError:
            raise StateError(f"the plugin {self.name} gave {text!r} as a gateway") from None


def _pools(network: Network, version: int) -> tuple[IpamData, ...]:
    return tuple(
        IpamData(
            "vxnet",
            str(subnet.prefix),
            "" if subnet.gateway is None else f"{subnet.gateway}/{subnet.prefix.prefixlen}",
            {},
        )
        for subnet in network.subnets
        if subnet.prefix.version == version
    )
