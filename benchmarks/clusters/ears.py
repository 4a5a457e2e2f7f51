"""Hears what agents say on their standard outputs, and knows who of them knows what since when.

Every agent, whatever its make, is heard the same way: the time of a saying is when it was read
here. Nothing is polled, so that listening costs the machine little.
"""

import os
import selectors
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO

from vxnet.errors import HostError

__all__ = ["Ears", "Kind", "Knowledge", "Saying", "Understand"]

CHUNK = 1 << 18
LAST_WORDS = 5  # lines of an agent that are kept to be shown when it fails


class Kind(StrEnum):
    """What an agent can say."""

    UP = "up"  # a member is alive
    DOWN = "down"  # a member is taken for dead
    HEARD = "heard"  # anything else there is to know


@dataclass(frozen=True, slots=True)
class Saying:
    """One thing that an agent said. `what` is a member's name, or what was heard."""

    kind: Kind
    what: str


Understand = Callable[[str], Saying | None]
"""Makes a saying of a line; None of one that says nothing of interest."""


@dataclass(slots=True)
class Knowledge:
    """What one agent knows, each with the time at which it said so."""

    alive: dict[str, float] = field(default_factory=dict)
    dead: dict[str, float] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)

    def learn(self, saying: Saying, now: float) -> None:
        """Take in what it said."""
        match saying.kind:
            case Kind.UP:
                self.dead.pop(saying.what, None)
                self.alive.setdefault(saying.what, now)
            case Kind.DOWN:
                self.alive.pop(saying.what, None)
                self.dead.setdefault(saying.what, now)
            case Kind.HEARD:
                self.heard[saying.what] = now


class _Voice:
    """An agent's output, as far as it was read."""

    def __init__(self) -> None:
        self.knowledge = Knowledge()
        self.rest = b""
        self.last: deque[str] = deque(maxlen=LAST_WORDS)
        self.ended = False


class Ears:
    """A thread that reads; all others ask under `wait`. Close it before the pipes."""

    def __init__(self, understand: Understand) -> None:
        self._understand = understand
        self._voices: dict[int, _Voice] = {}
        self._selector = selectors.DefaultSelector()
        self._news = threading.Condition()
        self._closed = False
        self.deaths: Counter[str] = Counter()  # by how many agents each was ever taken for dead
        self._thread = threading.Thread(target=self._listen, name="ears")
        self._thread.start()

    def listen_to(self, agent: int, output: IO[bytes]) -> None:
        """From now on, to this agent too."""
        os.set_blocking(output.fileno(), False)
        with self._news:
            self._voices[agent] = _Voice()
        self._selector.register(output, selectors.EVENT_READ, agent)

    def knowledge(self, agent: int) -> Knowledge:
        """What an agent knows; it grows while one looks at it outside of `wait`."""
        return self._voices[agent].knowledge

    def wait(self, holds: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait until it holds. Raises HostError after `timeout_s`."""
        with self._news:
            if not self._news.wait_for(holds, timeout_s):
                raise HostError(f"{what} did not happen within {timeout_s:g} s")

    def last_words(self, agent: int) -> str:
        """For an error message."""
        return "\n".join(self._voices[agent].last)

    def has_ended(self, agent: int) -> bool:
        """Whether its output is closed: it is gone."""
        return self._voices[agent].ended

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        self._thread.join()
        self._selector.close()

    def _listen(self) -> None:
        while not self._closed:
            ready = self._selector.select(timeout=0.1)
            if not ready:
                continue
            with self._news:
                for key, _ in ready:
                    self._read(key)
                self._news.notify_all()

    def _read(self, key: selectors.SelectorKey) -> None:
        voice = self._voices[key.data]
        data = os.read(key.fd, CHUNK)
        now = time.monotonic()
        if not data:
            voice.ended = True
            self._selector.unregister(key.fileobj)
            return
        *lines, voice.rest = (voice.rest + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").strip()
            voice.last.append(text)
            saying = self._understand(text)
            if saying is not None:
                voice.knowledge.learn(saying, now)
                if saying.kind is Kind.DOWN:
                    self.deaths[saying.what] += 1
