"""Finds addresses that two stations claim."""

from vxnet.switch.limits import Limits
from vxnet.wire.addr import Ip

__all__ = ["Contention"]


class Contention:
    """When the addresses of one network changed hands, or were claimed though they had an owner."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._claims: dict[Ip, tuple[int, float]] = {}  # how often, since when

    def note(self, ip: Ip, now: float, *, is_fixed: bool) -> bool:
        """Count a claim by somebody who did not have it. Returns whether to raise an alarm now.

        An address that was assigned is nobody else's, so its first claim is one too many; others
        may move. Either way there is one alarm in `claims_within_s`.
        """
        count, since = self._claims.pop(ip, (0, now))
        if now - since > self._limits.claims_within_s:
            count, since = 0, now
        count += 1
        if len(self._claims) >= self._limits.contended_max:
            del self._claims[next(iter(self._claims))]  # the one not claimed for longest
        self._claims[ip] = (count, since)
        return count == (1 if is_fixed else self._limits.claims_max)
