"""The none driver: a sandbox with loopback only; also the template for a new driver."""

from dataclasses import replace

from vxnet.cnm.driver import About, Attachment, Scope, refuse_unknown
from vxnet.cnm.model import Endpoint, Network

__all__ = ["NoneDriver"]


class NoneDriver:
    """A network that is none, for what shall reach nobody."""

    name = "none"
    scope = Scope.LOCAL
    uses_vni = False
    about = About(
        purpose="sandboxes that reach nobody",
        limits="loopback only",
        own_mac=False,
        own_ip=False,
        crosses_hosts=False,
        way_out="none",
    )

    async def lacks(self) -> str | None:
        return None

    async def complete(self, network: Network) -> Network:
        refuse_unknown(network, frozenset())
        return replace(network, subnets=())

    async def create_network(self, network: Network) -> None:
        """There is nothing to make."""

    async def delete_network(self, network: Network) -> None:
        """There is nothing to remove."""

    async def create_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        """There is no device to make."""

    async def delete_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        """There is no device to remove."""

    async def join(self, network: Network, endpoint: Endpoint) -> Attachment:
        return Attachment(None, network.mtu)

    async def leave(self, network: Network, endpoint: Endpoint) -> None:
        """There is no traffic to stop."""

    async def adopt(self, network: Network, endpoint: Endpoint) -> None:
        """There is no device to take up."""

    async def close(self, *, keep_devices: bool) -> None:
        """There is nothing to let go of."""
