"""What a network driver is: a small required core; what only some can do is asked for by type."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from vxnet.cnm.model import Endpoint, IpAddress, Network
from vxnet.errors import StateError

__all__ = [
    "About",
    "Attachment",
    "NetworkDriver",
    "Scope",
    "read_choice",
    "read_flag",
    "refuse_unknown",
]


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
    addressed: bool = True  # False: whoever uses the device gives itself the addresses
    own_mac: bool = True  # False: the device's MAC is its parent's
    on_link_default: bool = False  # the way out needs no gateway: a default route to the device


@dataclass(frozen=True, slots=True)
class About:
    """A driver in some words."""

    purpose: str
    limits: str
    own_mac: bool
    own_ip: bool
    crosses_hosts: bool
    way_out: str


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

    @property
    def uses_vni(self) -> bool:
        """Whether its networks have a VNI."""
        ...

    @property
    def about(self) -> About:
        """What it is for, for people."""
        ...

    async def complete(self, network: Network) -> Network:
        """Fill in what nobody asked for (an MTU of 0, gateways).

        Raises StateError where the driver cannot make such a network, naming each wrong option.
        """
        ...

    async def lacks(self) -> str | None:
        """Why this host cannot run the driver, a sentence; None where it can."""
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


def refuse_unknown(network: Network, options: frozenset[str]) -> None:
    """Raises StateError that names each option a driver does not have."""
    unknown = sorted(set(network.options) - options)
    if unknown:
        known = ", ".join(sorted(options)) or "none"
        raise StateError(
            f"the {network.driver} driver has no option {', '.join(unknown)}; it has {known}"
        )


def read_flag(network: Network, option: str, *, default: bool) -> bool:
    """An option that is true or false. Raises StateError for anything else."""
    text = network.options.get(option)
    if text is None:
        return default
    if text.lower() not in ("true", "false", "on", "off", "1", "0"):
        raise StateError(f"option {option}={text}: it is true or false")
    return text.lower() in ("true", "on", "1")


def read_choice(network: Network, option: str, choices: tuple[str, ...]) -> str:
    """An option that is one of some words, the first by default. Raises StateError."""
    text = network.options.get(option, choices[0])
    if text not in choices:
        raise StateError(
            f"option {option}={text}: it is {', '.join(choices[:-1])} or {choices[-1]}"
        )
    return text
