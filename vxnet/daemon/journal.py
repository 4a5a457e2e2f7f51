"""What is written down: the log's form, changes of the cluster in it, and alarms that stay up."""

import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from vxnet.gossip.events import Alarm, AlarmOver, Event, MemberChanged, MemberState
from vxnet.switch.actions import DuplicateIp, Looped, PortId, SwitchEvent
from vxnet.wire.addr import Ip, Vtep, format_ip, format_mac

__all__ = ["Journal", "set_up_logging"]

ALARMS_MAX: Final = 64
STRANGERS_MAX: Final = 3
"""Lines of log each time strangers are looked at."""

_log = logging.getLogger(__name__)

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
WORDS: Final = {
    MemberState.ALIVE: "member up",
    MemberState.SUSPECT: "member in doubt",
    MemberState.DEAD: "member down",
    MemberState.LEFT: "member left",
}


def set_up_logging(level: str, form: str) -> None:
    """Write to standard error, as `key=value` or JSON; libraries' own lines only from warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("vxnet").setLevel(LEVELS[level])


class _Text(logging.Formatter):
    """`time=… level=info event="member up" peer=host-b`, one line a record."""

    def format(self, record: logging.LogRecord) -> str:
        line = " ".join(f"{key}={_quoted(value)}" for key, value in _fields(record).items())
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Json(logging.Formatter):
    """The same as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode({key: _plain(value) for key, value in fields.items()}).decode()


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Our own records carry their fields as one dictionary; a library's are text."""
    ours = record.args if isinstance(record.args, dict) else {}
    event = record.msg if record.name.startswith("vxnet") else record.getMessage()
    when = datetime.fromtimestamp(record.created, tz=UTC)
    return {
        "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "event": event,
        **ours,
    }


def _plain(value: object) -> object:
    return value if isinstance(value, int | float) else str(value)


def _quoted(value: object) -> str:
    text = str(value)
    plain = text and all(c.isprintable() and c not in ' "=' for c in text)
    return text if plain else msgspec.json.encode(text).decode()


class Journal:
    """Hears the control plane; logs what an operator would tell a colleague, keeps alarms."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._alarms: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._strangers: dict[Ip, int] = {}

    def alarms(self) -> Sequence[str]:
        """The latest alarms, each once."""
        return list(self._alarms)

    def raised(self) -> Sequence[tuple[str, str, float]]:
        """The same with their kinds, and how many seconds ago each was raised last."""
        now = self._clock()
        return [(kind, text, now - at) for text, (kind, at) in self._alarms.items()]

    def see(self, events: Sequence[SwitchEvent]) -> None:
        """Take note of what the datapath saw."""
        for event in events:
            match event:
                case Looped(vni, mac, port, other):
                    self._raise_alarm(
                        "loop",
                        f"{format_mac(mac)} of VNI {vni} is behind port {port} and port {other}: "
                        f"they are joined outside, and port {port} is blocked for a minute",
                    )
                case DuplicateIp(vni, ip, mac, at, other, other_at):
                    self._raise_alarm(
                        "duplicate address",
                        f"{format_ip(ip)} of VNI {vni} is claimed by {format_mac(mac)} "
                        f"({_where(at)}) and is {format_mac(other)}'s ({_where(other_at)})",
                    )
                case _:
                    continue

    def meet(self, strangers: Mapping[Ip, int]) -> None:
        """Log who sends into networks without being a peer: a few at a time, by how much."""
        more = {ip: frames - self._strangers.get(ip, 0) for ip, frames in strangers.items()}
        self._strangers = dict(strangers)
        for ip in sorted(more, key=lambda ip: -more[ip])[:STRANGERS_MAX]:
            if more[ip]:
                _log.warning(
                    "frames from an unknown VTEP", {"source": format_ip(ip), "frames": more[ip]}
                )

    def hear(self, events: Sequence[Event]) -> None:
        """Take note of what happened."""
        for event in events:
            match event:
                case MemberChanged(member, previous) if not member.local:
                    calm = member.state in (MemberState.ALIVE, MemberState.LEFT)
                    _log.log(
                        logging.INFO if calm else logging.WARNING,
                        WORDS[member.state],
                        {
                            "peer": member.name,
                            "vtep": member.vtep,
                            "was": "unknown" if previous is None else previous,
                        },
                    )
                case Alarm(kind, text):
                    self._raise_alarm(kind, text)
                case AlarmOver(text) if text in self._alarms:
                    del self._alarms[text]
                    _log.info("alarm over", {"text": text})
                case _:
                    continue

    def _raise_alarm(self, kind: str, text: str) -> None:
        if text not in self._alarms:
            _log.warning("alarm", {"kind": kind, "text": text})
        self._alarms[text] = kind, self._clock()
        self._alarms.move_to_end(text)
        if len(self._alarms) > ALARMS_MAX:
            self._alarms.popitem(last=False)


def _where(place: PortId | Vtep) -> str:
    return f"at {place}" if isinstance(place, Vtep) else f"port {place} here"
