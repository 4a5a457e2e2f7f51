"""The host driver: the sandbox is the host's own namespace, and nothing is put into it."""

from dataclasses import replace

from vxnet.cnm.driver import About, Attachment, Scope, refuse_unknown
from vxnet.cnm.model import Endpoint, Network
from vxnet.errors import StateError
from vxnet.host.base import HostNetwork

__all__ = ["HostDriver"]


class HostDriver:
    """A network that is the host's, for what shall not be set apart."""

    name = "host"
    scope = Scope.LOCAL
    uses_vni = False
    about = About(
        purpose="processes that use the host's own devices and addresses",
        limits="no separation; the sandbox has to be the host's namespace",
        own_mac=False,
        own_ip=False,
        crosses_hosts=True,
        way_out="the host's",
    )

    def __init__(self, host: HostNetwork) -> None:
        self._host = host

    async def lacks(self) -> str | None:
        return None

    async def complete(self, network: Network) -> Network:
        refuse_unknown(network, frozenset())
        return replace(network, subnets=())

    async def create_network(self, network: Network) -> None:
        """The host has it already."""

    async def delete_network(self, network: Network) -> None:
        """The host keeps it."""

    async def create_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        """There is no device to make."""

    async def delete_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        """There is no device to remove."""

    async def join(self, network: Network, endpoint: Endpoint) -> Attachment:
        sandbox = endpoint.sandbox
        if sandbox is not None and not await self._host.is_own(sandbox.path):
            raise StateError(
                f"{sandbox} is not the host's own namespace, which is all that network "
                f"{network.name} can be; use --path /proc/1/ns/net, or another network"
            )
        return Attachment(None, network.mtu)

    async def leave(self, network: Network, endpoint: Endpoint) -> None:
        """There is no traffic of ours to stop."""

    async def adopt(self, network: Network, endpoint: Endpoint) -> None:
        """There is no device to take up."""

    async def close(self, *, keep_devices: bool) -> None:
        """There is nothing to let go of."""
