"""What a datapath is: links on one side, VXLAN on the other, and the switch's decisions between.

Both implementations keep to this protocol and pass one contract suite (tests/datapath). `pure` is
the specification. All methods are called on the event loop's thread; none blocks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vxnet.datapath.sight import Watcher
from vxnet.link.base import Link
from vxnet.switch.actions import Action, DropReason, PortId, SwitchEvent
from vxnet.switch.flows import Tally
from vxnet.switch.model import (
    Change,
    FdbRow,
    Member,
    Peer,
    Port,
    RemoveEntry,
    Segment,
    Service,
    ServicePort,
    SetEntry,
    SetPeers,
    SetRelays,
    SetServices,
)
from vxnet.underlay.udp import UdpSettings
from vxnet.wire.addr import Ip, Mac, Vni, Vtep

__all__ = [
    "Change",
    "Counters",
    "Datapath",
    "DatapathSettings",
    "FdbRow",
    "Listener",
    "Member",
    "Peer",
    "Port",
    "RemoveEntry",
    "Segment",
    "Service",
    "ServicePort",
    "SetEntry",
    "SetPeers",
    "SetRelays",
    "SetServices",
    "Stats",
]


@dataclass(frozen=True, slots=True)
class DatapathSettings:
    """What every datapath may be told."""

    udp: UdpSettings = field(default_factory=UdpSettings)
    busy_poll_us: int = 200  # how long a thread looks again before it sleeps; pure has no threads
    remote_checksum: bool = True  # let other hosts leave inner checksums to this one; pure does not


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
    network here, `strangers` frames for one from VTEPs that are no peers of it, of so many
    addresses. `io` holds the machinery's own counters (gso_fallbacks, truncated, …).
    """

    ports: Mapping[PortId, Counters]
    tunnels: Mapping[Vni, Counters]
    peers: Mapping[Vtep, Counters]
    stray: Mapping[DropReason, int]
    io: Mapping[str, int]
    strangers: Mapping[Ip, int] = field(default_factory=dict)


Listener = Callable[[Sequence[SwitchEvent]], None]


class Datapath(Protocol):
    """Moves frames; owns the links it was given and the VXLAN sockets, from `start` to `close`."""

    @property
    def name(self) -> str:
        """`pure` or `native`."""
        ...

    @property
    def completes_checksums(self) -> bool:
        """Whether other hosts of the cluster may leave inner checksums to this one.

        VXLAN's remote checksum offload (draft-herbert-vxlan-rco), as Linux has it.
        """
        ...

    async def start(self, inherited: Sequence[int] = ()) -> None:
        """Open the VXLAN sockets, or go on with those a former daemon received on.

        Raises HostError where the system refuses (port in use).
        """
        ...

    def listeners(self) -> tuple[int, ...]:
        """The sockets that datagrams arrive at, for a daemon that follows this one."""
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

    def set_path(self, vtep: Vtep, frame_max_bytes: int | None) -> None:
        """What the way to a VTEP carries: octets of the longest inner frame; None: no less than
        the network's MTU. It stands until it is set again.
        """
        ...

    def flows(self, vni: Vni, vips: tuple[Ip, ...]) -> dict[Mac, Tally]:
        """The flows of this host's clients to these addresses of services, by member."""
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

    def watch(self, snap: int, watcher: Watcher) -> None:
        """Have every frame told from now on, with its first `snap` octets and what became of it.

        `snap` 0 ends that. A flooded frame is told once; copies are not.
        """
        ...

    def decide(self, port_id: PortId, frame: bytes) -> Action:
        """What the switch decides about a frame of this port, and learns from it; none is sent."""
        ...

    def inject(self, port_id: PortId, frame: bytes) -> None:
        """Carry a frame as if this port's link had sent it. Unknown ids are ignored."""
        ...
