"""Sights: frames and what became of them, for whoever captures; kept only while somebody does."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vxnet.switch.actions import DropReason, PortId
from vxnet.wire.addr import Ip, Vni, Vtep
from vxnet.wire.ethernet import Buffer

__all__ = ["SNAP_MAX", "End", "Recorder", "Sight", "Verb", "Watcher"]

SNAP_MAX: Final = 65_550
"""Octets of the longest frame there is."""

SIGHTS_MAX: Final = 8192
OCTETS_MAX: Final = 16 << 20


class Verb(StrEnum):
    """What became of a frame."""

    DROPPED = "dropped"
    DELIVERED = "delivered"
    SENT = "sent"
    FLOODED = "flooded"
    REPLIED = "replied"


@dataclass(frozen=True, slots=True)
class End:
    """What became of a frame, and whom it went to: what the verb needs is there."""

    verb: Verb
    reason: DropReason | None = None
    port: PortId | None = None
    vtep: Vtep | None = None
    ports: int = 0
    vteps: int = 0


@dataclass(frozen=True, slots=True)
class Sight:
    """A frame, or a super-frame that stands for several, which met its end."""

    at_ns: int
    """Unix time."""
    vni: Vni
    """Its network, or what its VXLAN header said."""
    entrance: PortId | Ip
    """The port that sent it, or the outer source it came from."""
    end: End
    frames: int
    length: int
    octets: bytes
    """Its first ones."""


Watcher = Callable[[Sequence[Sight], int], None]
"""Is told sights, and how many more were missed for lack of room."""


class Recorder:
    """What a datapath has seen and not told yet. `on` is looked at before anything is noted."""

    def __init__(self) -> None:
        self.on = False
        self._snap = 0
        self._sights: list[Sight] = []
        self._octets = 0
        self._missed = 0

    def set(self, snap: int) -> None:
        """Keep this many octets of each frame from now on; 0: nothing, and forget all."""
        self.on, self._snap = snap > 0, snap
        self.take()

    def note(
        self,
        vni: Vni,
        entrance: PortId | Ip,
        end: End,
        frame: Buffer,
        frames: int = 1,
        at_ns: int | None = None,
    ) -> None:
        """A frame met its end, now or at `at_ns`."""
        kept = min(len(frame), self._snap)
        if len(self._sights) >= SIGHTS_MAX or self._octets + kept > OCTETS_MAX:
            self._missed += 1
            return
        self._octets += kept
        octets = bytes(frame[:kept])
        at_ns = time.time_ns() if at_ns is None else at_ns
        self._sights.append(Sight(at_ns, vni, entrance, end, frames, len(frame), octets))

    def take(self) -> tuple[list[Sight], int]:
        """What was seen since the last time, and how many were missed."""
        taken = self._sights, self._missed
        self._sights, self._octets, self._missed = [], 0, 0
        return taken
