"""Who has what only one member should have: a name, a VTEP, an address."""

from collections.abc import Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vxnet.gossip.member import Peer

__all__ = ["Holders"]


class Holders:
    """Nearly always it is one, and then there is no list: every host keeps this of every other."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[Hashable, Peer | tuple[Peer, ...]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def of(self, thing: Hashable) -> "tuple[Peer, ...]":
        """All that have it, in the order in which they came."""
        found = self._held.get(thing, ())
        return found if isinstance(found, tuple) else (found,)

    def latest(self, thing: Hashable) -> "Peer | None":
        """Who has it; of several, who is there, and came last."""
        found = self._held.get(thing)
        if isinstance(found, tuple):
            return max(found, key=lambda peer: (peer.forwards, peer.epoch))
        return found

    def add(self, thing: Hashable, peer: "Peer") -> None:
        """It has it too."""
        others = self.of(thing)
        self._held[thing] = (*others, peer) if others else peer

    def discard(self, thing: Hashable, peer: "Peer") -> None:
        """It has it no longer."""
        others = tuple(other for other in self.of(thing) if other is not peer)
        if len(others) > 1:
            self._held[thing] = others
        elif others:
            self._held[thing] = others[0]
        else:
            del self._held[thing]
