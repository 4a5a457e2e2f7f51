"""What a peer is: something that gives two ends on two hosts one network."""

from contextlib import AbstractContextManager
from typing import Protocol

from benchmarks.bed import Bed, Pair

__all__ = ["Peer"]


class Peer(Protocol):
    """One overlay under test."""

    @property
    def name(self) -> str:
        """What `--peer` calls it."""
        ...

    @property
    def title(self) -> str:
        """What tables and plots call it."""
        ...

    def install(self) -> None:
        """Bring in what it needs. Raises HostError where that fails."""
        ...

    def missing(self) -> str | None:
        """Why it cannot run here, in a sentence; None when it can."""
        ...

    def joined(self, bed: Bed) -> AbstractContextManager[Pair]:
        """Start it on both hosts, give the ends, and stop it.

        The ends may not reach each other yet. Raises HostError with what went wrong.
        """
        ...
