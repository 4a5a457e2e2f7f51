"""Asks another host whether what we send arrives there, by each way, and how large it may be.

A question travels by gossip or as a frame; it is answered by both, so that it is known which of the
two directions of a way is broken.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Final

from vxnet.control.base import ControlPlane
from vxnet.errors import StateError, WireError
from vxnet.gossip.events import Event, LetterReceived, Member, NodeId
from vxnet.gossip.limit import Bucket
from vxnet.probe.channel import Channel
from vxnet.wire.probe import (
    FRAME_MIN,
    Answer,
    Ask,
    Message,
    decode,
    decode_frame,
    encode,
    encode_frame,
    mac_of,
)

__all__ = ["Found", "Prober"]

TRIES: Final = 4
TRY_EVERY_S: Final = 0.15
PATIENCE_S: Final = 1.0
"""How long an answer may take; each round of the size sweep waits half of it."""

SWEEP_STEPS: Final = 24
TCP_S: Final = 1.5
AT_ONCE: Final = 16
ANSWERS_PER_S: Final = 500.0
ASKED_MAX: Final = 4096

Hear = Callable[[NodeId, Message], None]


@dataclass(slots=True)
class Found:
    """What was found out about the ways to a host. `largest` are octets of inner frames."""

    member: Member
    letter_arrives: bool = False
    letter_returns: bool = False
    frame_arrives: bool = False
    frame_returns: bool = False
    connects: bool = False
    largest_arrives: int = 0
    largest_returns: int = 0
    clock_ahead_s: float | None = None
    rtt_s: float | None = None


@dataclass(slots=True)
class _Asked:
    """A question that waits for its answers."""

    size: int
    at_ns: int
    found: Found
    arrived: bool = False
    returned: bool = False
    by_letter: list[tuple[int, int]] = field(default_factory=list)  # round trip and skew, in ns


class Prober:
    """Asks and answers. `hear` is told the letters that are no questions and no answers."""

    def __init__(self, control: ControlPlane, channel: Channel) -> None:
        self._control = control
        self._channel = channel
        self._random = SystemRandom()
        self._asked: dict[int, _Asked] = {}
        self._answers = Bucket(ANSWERS_PER_S, ANSWERS_PER_S, time.monotonic())
        self._busy = asyncio.Semaphore(AT_ONCE)
        self.refused = 0
        self.listeners: list[Hear] = []
        control.subscribe(self._hear)

    def open(self) -> None:
        """Answer from now on, frames too."""
        self._channel.open(self._frame)

    @property
    def frame_max(self) -> int:
        """Octets of the largest frame that the underlay's MTU has room for."""
        return 14 + self._channel.mtu

    async def probe(self, member: Member) -> Found:
        """Find out all about the ways to a member."""
        found = Found(member)
        async with self._busy:
            connecting = asyncio.create_task(_connects(member.gossip))
            letters = await self._ask(found, [0, FRAME_MIN, self.frame_max])
            _judge(found, letters)
            if 0 < found.largest_returns < self.frame_max:
                await self._sweep(found)
            found.connects = await connecting
        return found

    async def _sweep(self, found: Found) -> None:
        """Find the largest frame that arrives, and the largest whose equal comes back."""
        low, high = found.largest_returns or FRAME_MIN, self.frame_max
        while high - low > 1:
            step = max(1, (high - low) // SWEEP_STEPS)
            sizes = list(range(low + step, high, step))
            asked = await self._ask(found, sizes, patience_s=PATIENCE_S / 2)
            _judge(found, asked)
            passed = [one.size for one in asked if one.returned]
            best = max(passed, default=low)
            low, high = best, min([high, *(size for size in sizes if size > best)])

    async def _ask(
        self, found: Found, sizes: Sequence[int], patience_s: float = PATIENCE_S
    ) -> list[_Asked]:
        """Ask for each size, 0 as a letter, until all is answered or patience ends."""
        asked: dict[int, list[_Asked]] = {size: [] for size in sizes}
        tokens: list[int] = []
        deadline = time.monotonic() + patience_s
        tries = 0
        while time.monotonic() < deadline:
            if tries < TRIES:
                tries += 1
                for size, earlier in asked.items():
                    if not any(one.arrived and one.returned for one in earlier):
                        token, one = self._send(found, size)
                        tokens.append(token)
                        earlier.append(one)
            await asyncio.sleep(TRY_EVERY_S if tries < TRIES else 0.05)
            if all(any(o.arrived and o.returned for o in some) for some in asked.values()):
                break
        for token in tokens:
            self._asked.pop(token, None)
        return [one for some in asked.values() for one in some]

    def _send(self, found: Found, size: int) -> tuple[int, _Asked]:
        token = self._random.getrandbits(64)
        one = _Asked(size, time.time_ns(), found)
        if len(self._asked) < ASKED_MAX:
            self._asked[token] = one
            self._say(found.member.id, Ask(token, size), size)
        return token, one

    def _say(self, to: NodeId, message: Ask | Answer, size: int) -> None:
        """By letter where `size` is 0, otherwise in a frame of so many octets."""
        if size == 0:
            with suppress(StateError):  # it left meanwhile
                self._control.write(to, encode(message))
        else:
            with suppress(BlockingIOError):  # as if it were lost on the way
                self._channel.send(encode_frame(message, self._channel.mac, mac_of(to), size))

    # ── what comes in ───────────────────────────────────────────────────────────────────────

    def _hear(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, LetterReceived):
                try:
                    message = decode(event.body)
                except WireError:
                    self.refused += 1
                else:
                    self._letter(event.sender, message)

    def _letter(self, sender: NodeId, message: Message) -> None:
        match message:
            case Ask():
                self._answer(sender, message, as_frame_of=FRAME_MIN)
            case Answer():
                self._answered(message, by_letter=True)
            case _:
                for listener in self.listeners:
                    listener(sender, message)

    def _frame(self, frame: bytes) -> None:
        try:
            source, message = decode_frame(frame)
        except WireError:
            self.refused += 1
            return
        if isinstance(message, Answer):
            self._answered(message, by_letter=False)
            return
        for member in self._control.members():
            if mac_of(member.id) == source and not member.local:
                # The answer is as large as the question: it is to show whether that comes back.
                self._answer(member.id, message, as_frame_of=max(FRAME_MIN, len(frame)))

    def _answer(self, to: NodeId, ask: Ask, as_frame_of: int) -> None:
        if not self._answers.take(time.monotonic()):
            self.refused += 1
            return
        answer = Answer(ask.token, ask.size, time.time_ns())
        self._say(to, answer, 0)
        self._say(to, answer, min(as_frame_of, self.frame_max))

    def _answered(self, answer: Answer, *, by_letter: bool) -> None:
        one = self._asked.get(answer.token)
        if one is None:
            return
        one.arrived = True
        found = one.found
        if by_letter:
            found.letter_returns = True
            now_ns = time.time_ns()
            middle_ns = (one.at_ns + now_ns) // 2
            one.by_letter.append((now_ns - one.at_ns, answer.wall_ns - middle_ns))
        else:
            found.frame_returns = True
        if by_letter == (one.size == 0):
            one.returned = True


def _judge(found: Found, asked: Iterable[_Asked]) -> None:
    """What the answers to these questions say."""
    for one in asked:
        for rtt_ns, ahead_ns in one.by_letter:
            if found.rtt_s is None or rtt_ns < found.rtt_s * 1e9:
                found.rtt_s, found.clock_ahead_s = rtt_ns / 1e9, ahead_ns / 1e9
        if one.size == 0:
            found.letter_arrives |= one.arrived
            continue
        found.frame_arrives |= one.arrived
        if one.arrived:
            found.largest_arrives = max(found.largest_arrives, one.size)
        if one.returned:
            found.largest_returns = max(found.largest_returns, one.size)


async def _connects(address: tuple[str, int]) -> bool:
    """Whether the gossip's TCP port takes a connection."""
    try:
        async with asyncio.timeout(TCP_S):
            _, writer = await asyncio.open_connection(*address)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
