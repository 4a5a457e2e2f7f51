"""The search for what the way to one peer carries (RFC 8899): which sizes to try, and what follows.

Sizes are octets of outer IP packets. It reads no clock and sends nothing.
"""

from collections.abc import Iterable
from typing import Final

__all__ = ["LEAST", "Search"]

LEAST: Final = 1280
"""What every way carries: IPv6's least (RFC 8200 §5); gossip's own datagrams are smaller."""

COMMON: Final = (1400, 1420, 1450, 1460, 1472, 1480, 1492, 1500, 4000, 8000, 8950, 9000)
SIZES: Final = 8  # tried in one round
EXACT: Final = 4  # octets that may be left unused: RFC 8899 §5.3.2 leaves the step to us
ROUND_S: Final = 0.3
TRIES: Final = 2  # of each size of a round: a lost one does not end the search too low
MISSES: Final = 3  # of what was known to pass, until it is a black hole
RAISE_S: Final = 60.0  # RFC 8899 §5.1.1 says 600; a way that was mended should not wait for that
REST_S: Final = 5.0  # between attempts to reach one that answers nothing


class Search:
    """What is known of one way. `mtu` is None while nothing is, and `most` is tried first."""

    def __init__(self, most: int, now: float) -> None:
        self.mtu: int | None = None
        self._most = most
        self._low = 0  # answered in this search
        self._high = most + 1  # tried in vain, or above what may be tried
        self._tried: tuple[int, ...] = ()
        self._tries = self._misses = 0
        self._searching = True
        self._raise_at = now
        self.deadline = now

    def due(self, now: float, round_s: float) -> Iterable[int]:
        """The sizes to try now; their answers have `round_s`. To be called at `deadline`."""
        if self._searching:
            return self._next_round(now, round_s)
        if self._tried:
            if self._misses >= MISSES:
                self._begin(low=0, high=self._most + 1)
                return self._next_round(now, round_s)
            self._misses += 1
            self.deadline = now + round_s
            return self._tried
        assert self.mtu is not None
        if self.mtu < self._most and now >= self._raise_at:
            self._begin(low=self.mtu, high=self._most + 1)
            return self._next_round(now, round_s)
        self._tried, self._misses = (self.mtu,), 1
        self.deadline = now + round_s
        return self._tried

    def answered(self, size: int, now: float, confirm_s: float) -> None:
        """A packet of this size arrived there; what is known is confirmed again in `confirm_s`."""
        if self._searching:
            self._low = max(self._low, size)
        elif self.mtu is not None and size >= self.mtu:
            self._tried, self._misses = (), 0
            self.deadline = now + confirm_s
        if self.mtu is not None and size > self.mtu:
            self.mtu = size

    def _begin(self, low: int, high: int) -> None:
        self._searching, self._low, self._high = True, low, high
        self._tried, self._tries = (), 0

    def _next_round(self, now: float, round_s: float) -> Iterable[int]:
        self.deadline = now + round_s
        if self._tried:
            if self._tries < TRIES and self._low < self._tried[-1]:
                self._tries += 1
                return [size for size in self._tried if size > self._low]
            self._judge()
            if not self._low:
                self._tried = ()
                self.deadline = now + REST_S
                return ()
            if self._high - self._low <= EXACT or self._low >= self._most:
                return self._finish(now)
        self._tried, self._tries = self._sizes(), 1
        return self._tried

    def _judge(self) -> None:
        """A round is over: what was not answered and is above what was, does not pass."""
        above = [size for size in self._tried if size > self._low]
        if above and self._low:
            self._high = min(self._high, above[0])
        if self._low and (self.mtu is None or self.mtu >= self._high):
            self.mtu = self._low  # a black hole: what passes is used at once, and then more

    def _finish(self, now: float) -> Iterable[int]:
        self.mtu = self._low
        self._searching, self._tried, self._misses = False, (), 0
        self._raise_at = now + RAISE_S
        return ()

    def _sizes(self) -> tuple[int, ...]:
        """What to try next: the ends first, then what is common, then evenly."""
        low, high = self._low, self._high
        if high > self._most:
            return (LEAST, self._most) if low < LEAST < self._most else (self._most,)
        wanted = {size for size in COMMON if low < size < high}
        # Right behind what passed: a way that carries just so much is found to do so at once.
        wanted |= {low + EXACT} if low + EXACT < high else set()
        step = (high - low) / (SIZES + 1)
        wanted |= {low + round(step * n) for n in range(1, SIZES + 1)}
        return tuple(sorted(size for size in wanted if low < size < high))
