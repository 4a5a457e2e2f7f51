"""What the switch decides about a frame, and what it tells of what it saw: values."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from vxnet.wire.addr import Ip, Mac, Vni, Vtep
from vxnet.wire.rewrite import Edit

__all__ = [
    "Action",
    "Deliver",
    "Drop",
    "DropReason",
    "DuplicateIp",
    "Flood",
    "Forgotten",
    "Learned",
    "Looped",
    "Moved",
    "PortId",
    "Reply",
    "Rewrite",
    "Send",
    "Stranger",
    "SwitchEvent",
]

PortId = NewType("PortId", int)
"""A port of this host's switch: one per endpoint, never used again while the daemon runs."""


class DropReason(StrEnum):
    """Why a frame went nowhere. The text is the counter's name, in the API and in the metrics."""

    # the datagram
    VXLAN_SHORT = "vxlan_short"  # RFC 7348 §5: fewer than 8 + 14 octets
    VXLAN_NO_VNI_FLAG = "vxlan_no_vni_flag"  # the I flag is 0
    VXLAN_RESERVED = "vxlan_reserved"  # reserved bits set, and strict_reserved asked for
    UNKNOWN_VNI = "unknown_vni"
    UNKNOWN_VTEP = "unknown_vtep"
    # the frame
    FRAME_SHORT = "frame_short"
    FRAME_MALFORMED = "frame_malformed"  # its headers contradict its length
    VLAN_TAGGED = "vlan_tagged"
    SOURCE_MAC_INVALID = "source_mac_invalid"  # group, zero, or one of our own from a tunnel
    PORT_SECURITY = "port_security"
    LOOPED = "looped"  # its port is blocked, as it is joined to another behind our back
    ECN_CONGESTED = "ecn_congested"  # RFC 6040: outer CE on an inner Not-ECT
    # the decision
    SAME_PORT = "same_port"  # its destination is where it came from
    UNKNOWN_UNICAST = "unknown_unicast"  # unknown destination, and flooding is off
    NO_RECEIVER = "no_receiver"  # flooded, and nobody else has this network
    SPLIT_HORIZON = "split_horizon"  # from a tunnel, its destination is behind a tunnel
    PORT_UNKNOWN = "port_unknown"
    SERVICE_CLOSED = "service_closed"  # to a service's address, but none of its ports or flows
    SERVICE_EMPTY = "service_empty"  # no member could take it
    SERVICE_REFUSED = "service_refused"  # a member takes no connections: another one is tried
    SERVICE_FRAGMENT = "service_fragment"  # the first of its packet's fragments was not seen
    RATE_LIMITED = "rate_limited"
    # the way out
    TOO_BIG = "too_big"
    LINK_DOWN = "link_down"
    LINK_FULL = "link_full"
    UNDERLAY_FULL = "underlay_full"  # EAGAIN or ENOBUFS: the socket's buffer
    UNDERLAY_ERROR = "underlay_error"  # any other refusal


@dataclass(frozen=True, slots=True)
class Deliver:
    """To one port of this host."""

    port: PortId


@dataclass(frozen=True, slots=True)
class Send:
    """To one other host."""

    vtep: Vtep


@dataclass(frozen=True, slots=True)
class Flood:
    """A copy to each of these ports and each of these hosts; at least one in all."""

    ports: tuple[PortId, ...]
    vteps: tuple[Vtep, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """Answered here: this frame goes back to the port that asked."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Drop:
    """Nowhere, and why."""

    reason: DropReason


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Changed first, and then to one port or host.

    An `Edit` changes addresses and ports where they are; octets are the whole frame as it shall be.
    Without `has_ports` there are only addresses to change.
    """

    change: Edit | bytes
    then: Deliver | Send
    has_ports: bool = True


Action = Deliver | Send | Flood | Reply | Drop | Rewrite


@dataclass(frozen=True, slots=True)
class Learned:
    """A station was seen first, or with another address, behind a port of this host."""

    vni: Vni
    mac: Mac
    port: PortId
    ip: Ip | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A station that the control plane holds at `vtep` was seen behind a port of this host."""

    vni: Vni
    mac: Mac
    vtep: Vtep
    port: PortId


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A learned station is no longer behind `port`: silent too long, moved, or the port is gone."""

    vni: Vni
    mac: Mac
    port: PortId


@dataclass(frozen=True, slots=True)
class DuplicateIp:
    """Two stations say they have one address; `other` had it before `mac` said so."""

    vni: Vni
    ip: Ip
    mac: Mac
    at: PortId | Vtep
    other: Mac
    other_at: PortId | Vtep


@dataclass(frozen=True, slots=True)
class Looped:
    """A station kept changing between two ports: they are joined outside. `port` is blocked now."""

    vni: Vni
    mac: Mac
    port: PortId
    other: PortId


@dataclass(frozen=True, slots=True)
class Stranger:
    """A VTEP that is no peer of a network sends into it, and the network learns its VTEPs."""

    vni: Vni
    ip: Ip


SwitchEvent = Learned | Moved | Forgotten | DuplicateIp | Looped | Stranger
