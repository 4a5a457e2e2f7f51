"""Rotating keys: install everywhere, use, remove; refused where it would lose a member."""

from collections.abc import Callable, Sequence

from vxnet.errors import StateError
from vxnet.gossip.events import MemberState, NodeId
from vxnet.gossip.roster import Roster
from vxnet.gossip.security import Keyring, Security

__all__ = ["Keys"]

NAMES_SHOWN = 5


class Keys:
    """`changed(now)` has the others told which keys this node accepts."""

    def __init__(
        self, roster: Roster, security: Security, changed: Callable[[float], None]
    ) -> None:
        self._roster = roster
        self._security = security
        self._changed = changed

    @property
    def ring(self) -> Keyring:
        """The keys. Raises StateError where gossip is not encrypted."""
        if self._security.keyring is None:
            raise StateError("gossip is not encrypted here; set gossip.key_file to use keys")
        return self._security.keyring

    def install(self, key: bytes, now: float) -> bytes:
        """Accept a key, and say so; its id."""
        kid = self.ring.install(key)
        self._changed(now)
        return kid

    def use(self, kid: bytes, now: float, *, force: bool = False) -> None:
        """Seal with a key. Raises StateError while a live member does not accept it."""
        ring = self.ring
        if ring.get(kid) is None:
            raise StateError(f"key {kid.hex()} is not installed here; install it first")
        lacking = [
            peer.name for peer in self._roster.live if not peer.info or kid not in peer.info.keys
        ]
        if lacking and not force:
            raise StateError(
                f"key {kid.hex()} is not installed on {_some(lacking)}; install it there first, or"
                " force it and lose them"
            )
        ring.use(kid)
        self._changed(now)

    def remove(self, kid: bytes, now: float, *, force: bool = False) -> None:
        """Accept a key no longer. Raises StateError while a member has no other one of ours.

        One that is thought dead counts too: it may only be asleep, and would never find back.
        """
        ring = self.ring
        others = set(ring.ids) - {kid}
        only = [
            peer.name
            for peer in self._roster
            if peer.state is not MemberState.LEFT
            and peer.info
            and kid in peer.info.keys
            and not others.intersection(peer.info.keys)
        ]
        if only and not force:
            raise StateError(
                f"key {kid.hex()} is the only one of ours that {_some(only)} accepts; install a"
                " newer one there first, or force it and lose them"
            )
        ring.remove(kid)
        self._changed(now)

    def restore(self, keys: Sequence[bytes], now: float) -> None:
        """Take a change back: `keys` as the ring gave them before."""
        self.ring.restore(keys)
        self._changed(now)

    def holders(self) -> dict[bytes, list[NodeId]]:
        """Which live members accept each of our keys."""
        return {
            kid: [peer.id for peer in self._roster.live if peer.info and kid in peer.info.keys]
            for kid in self.ring.ids
        }


def _some(names: list[str]) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(sorted(names)[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
