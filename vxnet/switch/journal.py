"""What the switch saw and has yet to tell: a bounded queue of events."""

from vxnet.switch.actions import SwitchEvent

__all__ = ["Journal"]


class Journal:
    """Events in order. What does not fit is refused, so that nobody believes it was told."""

    def __init__(self, events_max: int) -> None:
        self._events_max = events_max
        self._events: list[SwitchEvent] = []
        self.refused = 0  # what was not learned because a limit was reached, so there is no event

    @property
    def is_full(self) -> bool:
        """Whether nothing new should happen until `drain` was called."""
        return len(self._events) >= self._events_max

    def tell(self, event: SwitchEvent) -> None:
        """Add an event; one that only takes back another (Forgotten) is taken even when full."""
        self._events.append(event)

    def drain(self) -> list[SwitchEvent]:
        """All events since the last call."""
        events, self._events = self._events, []
        return events
