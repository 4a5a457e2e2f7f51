"""What a network driver is: a small required core; what only some can do is asked for by type."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from vxnet.cnm.model import Endpoint, IpAddress, Network

__all__ = ["Attachment", "NetworkDriver", "Scope"]


class Scope(StrEnum):
    """How far a driver's networks reach."""

    GLOBAL = "global"  # known on every host, by gossip
    LOCAL = "local"  # this host's own


@dataclass(frozen=True, slots=True)
class Attachment:
    """What to put into the sandbox. No device: there is nothing to put (host, none)."""

    device: str | None
    mtu: int
    gateways: tuple[IpAddress, ...] = ()
    gso_max_bytes: int | None = None


class NetworkDriver(Protocol):
    """Makes networks and endpoints real on this host.

    Every verb is idempotent, and either done or raised: StateError for what the caller got wrong,
    HostError for what the system refused. After an error nothing of the step is left behind.
    """

    @property
    def name(self) -> str:
        """What `--driver` calls it."""
        ...

    @property
    def scope(self) -> Scope:
        """Whether its networks travel by gossip."""
        ...

    def check(self, network: Network) -> None:
        """Raises StateError where the driver cannot make such a network, naming each option."""
        ...

    async def create_network(self, network: Network) -> None:
        """Make what all endpoints of the network share on this host."""
        ...

    async def delete_network(self, network: Network) -> None:
        """Take back what `create_network` made."""
        ...

    async def create_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        """Make the endpoint's device on the host."""
        ...

    async def delete_endpoint(self, network: Network, endpoint: Endpoint) -> None:
        """Remove the endpoint's device, wherever it is."""
        ...

    async def join(self, network: Network, endpoint: Endpoint) -> Attachment:
        """Let the endpoint's traffic flow; says what shall be moved into the sandbox."""
        ...

    async def leave(self, network: Network, endpoint: Endpoint) -> None:
        """Stop the endpoint's traffic, and tell the other hosts it is gone."""
        ...

    async def adopt(self, network: Network, endpoint: Endpoint) -> None:
        """Take up the device that a former daemon put into the sandbox, instead of making one."""
        ...

    async def close(self, *, keep_devices: bool) -> None:
        """Let go. Devices that are dead without the daemon are removed, unless they are to stay."""
        ...
