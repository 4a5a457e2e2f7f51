"""Questions that were passed on and are not answered yet: who waits, and what counts as an answer.

One question is asked upstream once, however many ask it: those who ask meanwhile wait for the same
answer. That is also why nothing loops. If a resolver of the host asks, by whatever way, what it was
just asked by us, its question joins the one that waits, and both end when that one's time is over.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from vxnet.names.query import DnsError, Fault, Query

__all__ = ["PENDING_MAX", "Pending", "Waiting"]

PENDING_MAX: Final = 2_048
WAITERS_MAX: Final = 64  # of one question
TRY_S: Final = 1.5
TRIES_MAX: Final = 3

_FLAGS_OF_QUESTION: Final = 12


@dataclass(slots=True)
class Waiting:
    """A question that was passed on."""

    id: int
    packet: bytes
    """As it was asked, with the id that upstream knows."""
    query: Query
    tries: int
    due: float
    answers: list[Callable[[bytes | None], None]] = field(default_factory=list)
    """Told the answer, or None where there is none."""


class Pending:
    """All of them. `random` draws ids, so that nobody can guess what to forge."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._by_id: dict[int, Waiting] = {}
        self._by_question: dict[bytes, Waiting] = {}
        self.joined = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def ask(
        self, packet: bytes, query: Query, now: float, tell: Callable[[bytes | None], None]
    ) -> Waiting | None:
        """Pass a question on; None where it waits for an answer already, or there is no room."""
        waiting = self._by_question.get(packet[2:])
        if waiting is not None:
            if len(waiting.answers) < WAITERS_MAX:
                self.joined += 1
                waiting.answers.append(tell)
            else:
                self.refused += 1
                tell(None)
            return None
        if len(self._by_id) >= PENDING_MAX:
            self.refused += 1
            tell(None)
            return None
        number = self._random.getrandbits(16)
        while number in self._by_id:
            number = self._random.getrandbits(16)
        waiting = Waiting(number, number.to_bytes(2) + packet[2:], query, 0, now + TRY_S, [tell])
        self._by_id[number] = self._by_question[packet[2:]] = waiting
        return waiting

    def hear(self, packet: bytes) -> Waiting:
        """An answer came: whose it is. Raises DnsError for one that answers nothing we asked."""
        if len(packet) < _FLAGS_OF_QUESTION:
            raise DnsError(Fault.MALFORMED, f"an answer of {len(packet)} octets")
        waiting = self._by_id.get(int.from_bytes(packet[:2]))
        if waiting is None or not packet[2] & 0x80:
            raise DnsError(Fault.SPOOFED, "an answer to no question of ours")
        end = waiting.query.end
        if packet[4:6] != b"\0\1" or packet[12:end].lower() != waiting.packet[12:end].lower():
            raise DnsError(Fault.SPOOFED, "an answer to another question than was asked")
        return waiting

    def settle(self, waiting: Waiting, packet: bytes | None) -> None:
        """Tell all who wait, each under the id it asked with."""
        self._by_id.pop(waiting.id, None)
        self._by_question.pop(waiting.packet[2:], None)
        for tell in waiting.answers:
            tell(packet)

    def overdue(self, now: float) -> list[Waiting]:
        """Those to be asked once more; those that were asked often enough are told and gone."""
        again = []
        for waiting in [one for one in self._by_id.values() if one.due <= now]:
            waiting.tries += 1
            if waiting.tries >= TRIES_MAX:
                self.settle(waiting, None)
            else:
                waiting.due = now + TRY_S
                again.append(waiting)
        return again
