"""A token bucket: so many at once, so many a second after that."""

__all__ = ["TokenBucket"]


class TokenBucket:
    """Holds `burst` tokens when full, and gains `per_s` of them every second."""

    __slots__ = ("_at", "_burst", "_per_s", "_tokens")

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._at = 0.0

    def take(self, now: float, count: float = 1.0) -> bool:
        """Take `count` tokens if there are as many; else none, and say no."""
        tokens = self._tokens + (now - self._at) * self._per_s
        self._at = now
        if tokens > self._burst:
            tokens = self._burst
        if tokens < count:
            self._tokens = tokens
            return False
        self._tokens = tokens - count
        return True
