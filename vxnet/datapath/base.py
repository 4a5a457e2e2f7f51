"""What a datapath is: links on one side, VXLAN on the other, and the switch's decisions between.

Both implementations keep to this protocol and pass one contract suite (tests/datapath). `pure` is
the specification. All methods are called on the event loop's thread; none blocks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vxnet.link.base import Link
from vxnet.switch.actions import DropReason, PortId, SwitchEvent
from vxnet.wire.addr import Ip, Mac, Vni, Vtep

__all__ = [
    "Change",
    "Counters",
    "Datapath",
    "FdbRow",
    "Listener",
    "Peer",
    "Port",
    "RemoveEntry",
    "Segment",
    "SetEntry",
    "SetPeers",
    "Stats",
]


@dataclass(frozen=True, slots=True)
class Segment:
    """One network on this host. `mtu` is the inner IP MTU in octets."""

    vni: Vni
    mtu: int
    learning: bool = True  # learn stations from data, for peers that say so
    flood_unknown: bool = True
    suppress_neighbours: bool = True  # answer ARP and ND for known addresses here
    vlan_transparent: bool = False
    strict_reserved: bool = False


@dataclass(frozen=True, slots=True)
class Port:
    """One endpoint. `mac` and `ips` are what vxnet assigned; None and () where any may speak."""

    id: PortId
    vni: Vni
    mac: Mac | None = None
    ips: tuple[Ip, ...] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """Another VTEP that has a network."""

    vtep: Vtep
    learning: bool = False  # a foreign VTEP: its stations are learned from what it sends


@dataclass(frozen=True, slots=True)
class SetEntry:
    """A station is behind `vtep`, says the control plane; replaces what was known of it."""

    vni: Vni
    mac: Mac
    vtep: Vtep
    ips: tuple[Ip, ...] = ()
    router: bool = False  # the R flag of ND answers given on its behalf


@dataclass(frozen=True, slots=True)
class RemoveEntry:
    """The control plane no longer holds this station."""

    vni: Vni
    mac: Mac


@dataclass(frozen=True, slots=True)
class SetPeers:
    """All VTEPs that have this network now: who may send into it, and who is flooded to."""

    vni: Vni
    peers: tuple[Peer, ...]


Change = SetEntry | RemoveEntry | SetPeers


@dataclass(frozen=True, slots=True)
class FdbRow:
    """A line of the forwarding table, for people. Exactly one of `vtep` and `port` is set."""

    vni: Vni
    mac: Mac
    vtep: Vtep | None
    port: PortId | None
    ips: tuple[Ip, ...]
    source: str  # "control", "learned" or "local"
    age_s: float | None = None  # since last seen; None where it does not age


@dataclass(slots=True)
class Counters:
    """Frames that entered at one place, and what became of them; octets are of inner frames.

    A super-frame counts as the frames it stands for. At rest
    `received == delivered + sent + flooded + replied + sum(drops.values())`.
    """

    received: int = 0
    received_bytes: int = 0
    delivered: int = 0
    sent: int = 0
    flooded: int = 0
    replied: int = 0
    drops: dict[DropReason, int] = field(default_factory=dict)
    out: int = 0  # frames that left here (to the link, or to the peer), copies included
    out_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """Everything counted since the start.

    `ports` counts what each port's link sent, `tunnels` what arrived for each VNI from the
    underlay; `segments` is the sum of both by VNI. `stray` counts datagrams that belong to no
    network here. `io` holds the machinery's own counters (gso_fallbacks, truncated, …).
    """

    ports: Mapping[PortId, Counters]
    tunnels: Mapping[Vni, Counters]
    peers: Mapping[Vtep, Counters]
    stray: Mapping[DropReason, int]
    io: Mapping[str, int]


Listener = Callable[[Sequence[SwitchEvent]], None]


class Datapath(Protocol):
    """Moves frames; owns the links it was given and the VXLAN sockets, from `start` to `close`."""

    @property
    def name(self) -> str:
        """`pure` or `native`."""
        ...

    async def start(self) -> None:
        """Open the VXLAN sockets. Raises HostError where the system refuses (port in use)."""
        ...

    async def close(self) -> None:
        """Stop, close every link and socket. What is queued is dropped. Idempotent."""
        ...

    def set_segment(self, segment: Segment) -> None:
        """Add a network, or change its settings."""
        ...

    def remove_segment(self, vni: Vni) -> None:
        """Forget a network and its entries. Raises StateError while it has ports."""
        ...

    def add_port(self, port: Port, link: Link) -> None:
        """Take a link into service. Raises StateError where the VNI is unknown or the id taken."""
        ...

    def remove_port(self, port_id: PortId) -> None:
        """Take a link out of service and close it. Unknown ids are ignored."""
        ...

    def program(self, changes: Sequence[Change]) -> None:
        """Apply what the control plane says, in order. Unknown VNIs are ignored."""
        ...

    def fdb(self) -> list[FdbRow]:
        """The forwarding table as it is."""
        ...

    def stats(self) -> Stats:
        """The counters as they are."""
        ...

    def subscribe(self, listener: Listener) -> None:
        """Have what the switch saw told, in batches, from the event loop."""
        ...
