"""Finds ports that are joined outside: a station seems to be behind one, then behind another."""

from vxnet.switch.actions import PortId
from vxnet.switch.limits import Limits

__all__ = ["Flaps"]


class Flaps:
    """One station's changes between ports, while they follow each other closely."""

    __slots__ = ("_count", "_home", "_limits", "_since")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._count = 0
        self._since = 0.0
        self._home: PortId | None = None

    def note(self, before: PortId, after: PortId, now: float) -> PortId | None:
        """Count a change. Returns the port to block, once there were too many.

        It is the one where the station was not in the beginning.
        """
        if self._home is None or now - self._since > self._limits.flaps_within_s:
            self._count, self._since, self._home = 0, now, before
        self._count += 1
        if self._count < self._limits.flaps_max:
            return None
        home, self._home = self._home, None
        return before if after == home else after
