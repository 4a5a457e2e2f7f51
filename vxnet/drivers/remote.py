"""The remote driver: a network of a third party's libnetwork plugin, found where Docker finds it.

The protocol is libnetwork's remote driver API: JSON posted to `/NetworkDriver.Verb`; `Err` in an
answer is what went wrong.
"""

import ipaddress
from typing import Any, Final, Protocol

from vxnet.cnm.driver import About, Attachment, Scope
from vxnet.cnm.model import Endpoint, IpAddress, Network, device_alias
from vxnet.errors import HostError, StateError
from vxnet.host.base import HostNetwork
from vxnet.wire.addr import format_mac

__all__ = ["Plugin", "RemoteDriver"]

GENERIC: Final = "com.docker.network.generic"


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
        await self._call(
            "CreateNetwork",
            {
                "NetworkID": network.id,
                "Options": {
                    GENERIC: network.options,
                    "com.docker.network.enable_ipv6": bool(_pools(network, 6)),
                },
                "IPv4Data": _pools(network, 4),
                "IPv6Data": _pools(network, 6),
            },
        )

    async def delete_network(self, network: Network) -> None:
        await self._call("DeleteNetwork", {"NetworkID": network.id})

    async def create_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        addresses = {address.version: str(address) for address in endpoint.addresses}
        await self._call(
            "CreateEndpoint",
            {
                **_names(network, endpoint),
                "Interface": {
                    "Address": addresses.get(4, ""),
                    "AddressIPv6": addresses.get(6, ""),
                    "MacAddress": format_mac(endpoint.mac),
                },
                "Options": {},
            },
        )

    async def delete_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        await self._call("DeleteEndpoint", _names(network, endpoint))

    async def join(self, network: Network, endpoint: Endpoint) -> Attachment:
        path = "" if endpoint.sandbox is None else endpoint.sandbox.path
        answer = await self._call(
            "Join", {**_names(network, endpoint), "SandboxKey": path, "Options": {}}
        )
        source = (answer.get("InterfaceName") or {}).get("SrcName", "")
        if not isinstance(source, str) or not source:
            raise StateError(f"the plugin {self.name} named no device for {endpoint.name}")
        gateways = tuple(
            self._gateway(str(answer[key])) for key in ("Gateway", "GatewayIPv6") if answer.get(key)
        )
        return Attachment(source, network.mtu, gateways)

    async def leave(self, network: Network, endpoint: Endpoint) -> None:
        """A plugin expects its device back on the host before it removes it."""
        await self._call("Leave", _names(network, endpoint))
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
        implements = (await self._plugin.call("Plugin.Activate", {})).get("Implements") or []
        if "NetworkDriver" not in implements:
            raise StateError(f"the plugin {self.name} is no network driver")
        capabilities = await self._call("GetCapabilities", {})
        if capabilities.get("Scope") == "global":
            self.scope = Scope.GLOBAL
        self._active = True

    async def _call(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._plugin.call(f"NetworkDriver.{verb}", body)
        if error := answer.get("Err"):
            raise StateError(f"the plugin {self.name} refuses {verb}: {error}")
        return answer

    def _gateway(self, text: str) -> IpAddress:
        try:
            return ipaddress.ip_address(text)
        except ValueError:
            raise StateError(f"the plugin {self.name} gave {text!r} as a gateway") from None


def _names(network: Network, endpoint: Endpoint) -> dict[str, Any]:
    return {"NetworkID": network.id, "EndpointID": endpoint.id}


def _pools(network: Network, version: int) -> list[dict[str, Any]]:
    return [
        {
            "AddressSpace": "vxnet",
            "Pool": str(subnet.prefix),
            "Gateway": ""
            if subnet.gateway is None
            else f"{subnet.gateway}/{subnet.prefix.prefixlen}",
            "AuxAddresses": {},
        }
        for subnet in network.subnets
        if subnet.prefix.version == version
    ]
