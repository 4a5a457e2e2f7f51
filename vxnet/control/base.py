"""What a control plane promises the rest: announce, withdraw, attach, and tell what others did."""

from collections.abc import Callable, Sequence
from typing import Protocol

from vxnet.gossip.events import (
    Entry,
    EntryFlag,
    Event,
    Member,
    NodeId,
    Record,
    RecordKind,
)
from vxnet.wire.addr import Ip, Mac, Vni

__all__ = ["ControlPlane", "Listener"]

Listener = Callable[[Sequence[Event]], None]


class ControlPlane(Protocol):
    """Knows who has which MAC and where. Called on the event loop's thread; nothing blocks."""

    async def start(self) -> None:
        """Open sockets and join. Raises HostError where the system refuses (port in use)."""
        ...

    async def close(self) -> None:
        """Announce the leave, answer for a moment, then close. Idempotent."""
        ...

    def attach(self, vni: Vni) -> None:
        """This host has the network now: its entries are wanted, flooded frames too."""
        ...

    def detach(self, vni: Vni) -> None:
        """This host no longer has the network; its own entries in it are withdrawn."""
        ...

    def announce(
        self,
        vni: Vni,
        mac: Mac,
        ips: tuple[Ip, ...] = (),
        *,
        flags: EntryFlag = EntryFlag.NONE,
        moved: bool = False,
    ) -> None:
        """This host has the station. `moved`: it was elsewhere, so the sequence number is raised.

        Raises StateError where the row would not fit a packet or a bound is reached.
        """
        ...

    def withdraw(self, vni: Vni, mac: Mac) -> None:
        """This host no longer has the station."""
        ...

    def publish(self, kind: RecordKind, key: bytes, body: bytes) -> None:
        """Put a record into the catalogue, or replace it. Raises StateError as `announce` does."""
        ...

    def retract(self, kind: RecordKind, key: bytes) -> None:
        """Take a record of this host out of the catalogue."""
        ...

    def write(self, to: NodeId, body: bytes) -> None:
        """Say something to one member, which may be lost; it is told as a LetterReceived.

        Raises StateError for a member that is not known.
        """
        ...

    def members(self) -> list[Member]:
        """Every host known, this one first."""
        ...

    def entries(self, vni: Vni | None = None) -> list[Entry]:
        """The winning entries, this host's own included."""
        ...

    def records(self, kind: RecordKind) -> list[Record]:
        """The catalogue's records of one kind, every owner's."""
        ...

    def subscribe(self, listener: Listener) -> None:
        """Have every event told, in order, in batches."""
        ...
