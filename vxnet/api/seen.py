"""What travels over the daemon's socket to who looks for faults: ways, facts, traces, frames."""

from typing import Any

from msgspec import Struct

__all__ = [
    "AlarmView",
    "FactsView",
    "ProbeView",
    "SightView",
    "StepView",
    "TraceBody",
    "TraceView",
    "UnreadableView",
]


class ProbeView(Struct, frozen=True):
    """What was found out about the ways to a host, by asking it."""

    peer: str
    state: str
    vtep: str
    gossip: str
    letter_arrives: bool
    """Whether gossip over UDP gets there."""
    letter_returns: bool
    connects: bool
    """Whether the gossip's TCP port takes a connection."""
    frame_arrives: bool
    """Whether VXLAN gets there."""
    frame_returns: bool
    largest_arrives: int
    """Octets of the largest outer IP packet that gets there, and that comes back; 0: none."""
    largest_returns: int
    expected: int
    """Octets of the largest one by this host's underlay MTU."""
    rtt_ms: float | None
    clock_ahead_ms: float | None
    """How far its clock is ahead of this host's."""


class TraceBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Follow a frame from an endpoint of this host to a station."""

    network: str
    source: str
    target: str


class StepView(Struct, frozen=True):
    """One thing that is so, or was decided, on a host."""

    host: str
    text: str
    ok: bool


class TraceView(Struct, frozen=True):
    """What became of a frame, step by step."""

    steps: tuple[StepView, ...]
    delivered: bool


class AlarmView(Struct, frozen=True):
    """Something that was wrong in the cluster."""

    kind: str
    text: str
    age_s: float


class UnreadableView(Struct, frozen=True):
    """Somebody whose gossip this host cannot open."""

    address: str
    why: str
    age_s: float


class FactsView(Struct, frozen=True):
    """What the daemon alone knows of itself, for `vxnet doctor`."""

    settings: dict[str, Any]
    alarms: tuple[AlarmView, ...]
    unreadable: tuple[UnreadableView, ...]
    table: tuple[str, ...]
    """How the forwarding table differs from what it must be."""
    seeds: tuple[str, ...]
    """The addresses of the seeds, resolved."""


class SightView(Struct, frozen=True):
    """A frame, or a super-frame that stands for several, and what became of it."""

    host: str
    at_ns: int
    """Unix time."""
    vni: int
    network: str
    """Its name; empty where this host knows no network of this VNI."""
    outbound: bool
    """Whether an endpoint of this host sent it; otherwise it came out of a tunnel."""
    source: str
    """The endpoint's name, or the peer's, or the address of one that is no peer."""
    verb: str
    """`delivered`, `sent`, `flooded`, `replied` or `dropped`."""
    target: str
    """The endpoint or peer that it went to."""
    vtep: str
    """The other end of the tunnel, where it came out of one or went into one."""
    reason: str
    """Why it was dropped."""
    ports: int
    vteps: int
    """How many endpoints and hosts got a flooded frame."""
    frames: int
    length: int
    octets: bytes
    """Its first ones, in Base64."""
    missed: int
    """How many frames before this one were not told for lack of room."""
