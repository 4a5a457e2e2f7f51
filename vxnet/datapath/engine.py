"""What the engine's words mean, and what Python does for it."""

import os
from collections.abc import Sequence
from typing import TypedDict

from vxnet._native import reasons
from vxnet.datapath.base import Counters, Segment
from vxnet.switch.actions import DropReason
from vxnet.wire import ecn, ethernet

__all__ = ["counters", "drops", "segment_settings", "workers"]


class SegmentSettings(TypedDict):
    """What `Engine.set_segment` wants to know."""

    frame_max: int
    learning: bool
    flood_unknown: bool
    vlan_transparent: bool
    strict_reserved: bool
    meets_strangers: bool
    class_mask: int
    class_fixed: int


_WORKERS_MAX = 4
_REASONS = tuple(DropReason(name) for name in reasons())


def counters(row: tuple[int, int, int, int, int, int, list[int], int, int]) -> Counters:
    received, octets, delivered, sent, flooded, replied, dropped, out, out_octets = row
    return Counters(
        received=received,
        received_bytes=octets,
        delivered=delivered,
        sent=sent,
        flooded=flooded,
        replied=replied,
        drops=drops(dropped),
        out=out,
        out_bytes=out_octets,
    )


def drops(counts: Sequence[int]) -> dict[DropReason, int]:
    """Those that were counted, by their reasons."""
    return {reason: count for reason, count in zip(_REASONS, counts, strict=True) if count}


def segment_settings(segment: Segment) -> SegmentSettings:
    """A network's settings, as the engine takes them."""
    tag = ethernet.TAG_BYTES if segment.vlan_transparent else 0
    return SegmentSettings(
        frame_max=ethernet.HEADER_BYTES + tag + segment.mtu,
        learning=segment.learning,
        flood_unknown=segment.flood_unknown,
        vlan_transparent=segment.vlan_transparent,
        strict_reserved=segment.strict_reserved,
        meets_strangers=segment.learn_vteps,
        class_mask=0xFF if segment.dscp is None else ecn.MASK,
        class_fixed=(segment.dscp or 0) << 2,
    )


def workers() -> int:
    """How many threads carry frames: half the cores are left to who makes and takes the frames.

    More than needed cost more than they bring: a thread that has both directions of a flow finds
    more frames at a time (docs/performance.md).
    """
    return max(1, min(_WORKERS_MAX, len(os.sched_getaffinity(0)) // 2))
