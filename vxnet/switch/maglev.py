"""Maglev's consistent hashing (Eisenbud et al., NSDI 2016, §3.4): whose is which slot.

Everybody who knows the same members has the same table, so a flow is taken to the same member
whichever host it enters at; when a member goes, hardly any slot changes but its own.
"""

from collections.abc import Sequence
from hashlib import blake2s
from typing import Final

__all__ = ["SLOTS", "table"]

SLOTS: Final = 65_537
"""A prime. With 100 members fewer than 2 % of the slots change when one of them goes."""


def table(members: Sequence[bytes], slots: int = SLOTS) -> list[int]:
    """For each slot the index of its member. None where there are no members."""
    if not members:
        return []
    orders = []
    for member in members:
        digest = blake2s(member, digest_size=16).digest()
        offset = int.from_bytes(digest[:8]) % slots
        skip = int.from_bytes(digest[8:]) % (slots - 1) + 1
        orders.append((offset, skip))
    found = [-1] * slots
    at = [offset for offset, _ in orders]
    # Turns are taken in an order that is the members' own, not that in which they came.
    turns = sorted(range(len(members)), key=lambda index: members[index])
    left = slots
    while True:
        for index in turns:
            skip, place = orders[index][1], at[index]
            while found[place] >= 0:
                place = (place + skip) % slots
            found[place] = index
            at[index] = (place + skip) % slots
            left -= 1
            if not left:
                return found
