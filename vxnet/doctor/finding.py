"""A finding: what is wrong, where, in one sentence that ends in the command that mends it."""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

__all__ = ["HERE", "Finding", "Findings"]

HERE: Final = "this host"


class Finding(Struct, frozen=True):
    """Something that is wrong, or (`advice`) that only could be better."""

    name: str
    where: str
    """A peer's name, or `this host`."""
    text: str
    mend: str
    advice: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.name}: {self.text}; {self.mend}"


Findings = Iterator[Finding]
