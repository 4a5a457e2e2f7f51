"""Whether the books balance: what entered anywhere went somewhere, or is counted as dropped."""

from collections.abc import Iterable, Iterator, Mapping

from vxnet.datapath.base import Counters, Stats

__all__ = ["Place", "differences", "unbalanced"]

Place = tuple[str, object]
"""A kind of place (`port`, `network`, `peer`), and which."""


def differences(stats: Stats) -> dict[Place, int]:
    """Frames that entered less those that ended, for each place."""
    return {place: _difference(counters) for place, counters in _places(stats)}


def unbalanced(samples: Iterable[Mapping[Place, int]]) -> dict[Place, int]:
    """The places whose books never balanced in a row of samples, and by how much at best.

    While frames are under way, and counted by threads at work, a single look may be off by some
    either way; frames that are lost for good, or counted twice, stay so in all of them.
    """
    seen: dict[Place, list[int]] = {}
    for sample in samples:
        for place, difference in sample.items():
            seen.setdefault(place, []).append(difference)
    return {
        place: min(found, key=abs)
        for place, found in seen.items()
        if min(found) > 0 or max(found) < 0
    }


def _places(stats: Stats) -> Iterator[tuple[Place, Counters]]:
    for port, counters in stats.ports.items():
        yield ("port", port), counters
    for vni, counters in stats.tunnels.items():
        yield ("network", vni), counters
    for vtep, counters in stats.peers.items():
        yield ("peer", vtep), counters


def _difference(counters: Counters) -> int:
    ended = counters.delivered + counters.sent + counters.flooded + counters.replied
    return counters.received - ended - sum(counters.drops.values())
