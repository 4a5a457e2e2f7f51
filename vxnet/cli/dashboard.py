"""What `vxnet top` shows: counters become rates, and rates become tables."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct
from rich import box
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from vxnet.api.client import Client
from vxnet.api.model import CountersView, MemberView, NetworkView, StatusView
from vxnet.cli.show import duration

__all__ = ["Dashboard", "Rates", "View"]

LINES_OF_OTHERS: Final = 24
"""Lines that are not rows of the table of endpoints, when everything else is short."""

ROWS_MIN: Final = 3
LOSS_OVER_S: Final = 60.0
WIDE: Final = 105
"""Columns of a terminal that has room for frames beside bits."""
UNITS: Final = ("", "k", "M", "G", "T")


class Rates(Struct, frozen=True):
    """Of one place, per second. `in` is what entered the datapath there, `out` what left it."""

    kind: str
    name: str
    in_frames: float
    in_bits: float
    out_frames: float
    out_bits: float
    drops: float
    dropped: int
    """Since the daemon's start."""


class PeerRow(Struct, frozen=True):
    """Another host."""

    name: str
    state: str
    for_s: float
    rtt_ms: float | None
    lost_percent: float | None
    """Of the gossip's questions to it in the last minute, how many got no answer in time."""
    rates: Rates | None


class View(Struct, frozen=True):
    """One view of everything."""

    status: StatusView
    networks: tuple[NetworkView, ...]
    places: tuple[Rates, ...]
    peers: tuple[PeerRow, ...]
    drops: dict[str, float]
    """By reason, per second."""
    over_s: float


class Dashboard:
    """Looks at a daemon again and again; the first view has no rates yet."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._at: float | None = None
        self._places: dict[tuple[str, str], CountersView] = {}
        self._drops: dict[str, int] = {}
        self._pings: dict[str, deque[tuple[float, int, int]]] = {}

    def look(self) -> View:
        """Everything as it is, and how it changed since the last time."""
        client = self._client
        status, stats = client.status(), client.stats()
        now = self._clock()
        over_s = 0.0 if self._at is None else now - self._at
        self._at = now
        places = {(place.kind, place.name): place.counters for place in stats.places}
        rates = tuple(
            _rates(kind, name, counters, self._places.get((kind, name)), over_s)
            for (kind, name), counters in places.items()
        )
        drops = {
            reason: (count - self._drops.get(reason, 0)) / over_s if over_s else 0.0
            for reason, count in status.drops.items()
        }
        self._places, self._drops = places, status.drops
        peers = tuple(self._peer(m, rates, now) for m in client.peers() if not m.local)
        return View(status, tuple(client.networks()), rates, peers, drops, over_s)

    def _peer(self, member: MemberView, rates: Sequence[Rates], now: float) -> PeerRow:
        """A host, and how many questions of the last minute it left unanswered."""
        asked = self._pings.setdefault(member.id, deque())
        if asked and member.pings < asked[-1][1]:
            asked.clear()  # it was forgotten meanwhile, and is counted anew
        asked.append((now, member.pings, member.pings_lost))
        while now - asked[0][0] > LOSS_OVER_S:
            asked.popleft()
        pings, lost = member.pings - asked[0][1], member.pings_lost - asked[0][2]
        return PeerRow(
            member.name,
            member.state,
            member.for_s,
            member.rtt_ms,
            min(100.0, 100.0 * lost / pings) if pings else None,
            next((r for r in rates if r.kind == "peer" and r.name == member.name), None),
        )

    def draw(self, view: View, size: ConsoleDimensions) -> RenderableType:
        """The view as tables that fit the terminal."""
        others = len(view.networks) + len(view.peers) + len(view.drops) + len(view.status.alarms)
        room = max(ROWS_MIN, size.height - LINES_OF_OTHERS - others)
        parts: list[RenderableType] = [_head(view)]
        parts += [Text(f"ALARM {alarm}", style="bold red") for alarm in view.status.alarms]
        wide = size.width >= WIDE
        tables = (
            _networks(view, wide=wide),
            _endpoints(view, room, wide=wide),
            _peers(view, wide=wide),
            _drops(view),
        )
        for table in tables:
            parts += [Text(), table]
        return Group(*parts)


def _rates(
    kind: str, name: str, now: CountersView, before: CountersView | None, over_s: float
) -> Rates:
    dropped = sum(now.drops.values())
    if before is None or not over_s or now.received < before.received:
        return Rates(kind, name, 0.0, 0.0, 0.0, 0.0, 0.0, dropped)
    return Rates(
        kind,
        name,
        in_frames=(now.received - before.received) / over_s,
        in_bits=(now.received_bytes - before.received_bytes) * 8 / over_s,
        out_frames=(now.out - before.out) / over_s,
        out_bits=(now.out_bytes - before.out_bytes) * 8 / over_s,
        drops=(dropped - sum(before.drops.values())) / over_s,
        dropped=dropped,
    )


def _head(view: View) -> Text:
    status = view.status
    text = Text()
    text.append(f"vxnet {status.version} on {status.name}", style="bold")
    text.append(f"  {status.datapath} datapath  {status.vtep} on {status.underlay_device}")
    text.append(f"  up {duration(status.uptime_s)}")
    members = ", ".join(f"{count} {state}" for state, count in status.members.items())
    text.append(f"\ncluster {status.cluster}: {members}")
    return text


def _networks(view: View, *, wide: bool) -> Table:
    by_name = {rates.name: rates for rates in view.places if rates.kind == "network"}
    grid = _grid("NETWORK", "VNI", "MTU", "HERE", "HOSTS", *_columns("RX", "TX", wide=wide))
    for network in view.networks:
        rates = by_name.get(network.name)
        grid.add_row(
            network.name,
            "-" if network.vni is None else str(network.vni),
            str(network.mtu),
            str(len(network.endpoints)),
            str(len(network.hosts)),
            *_cells(rates, wide=wide),
        )
    return grid


def _endpoints(view: View, room: int, *, wide: bool) -> Table:
    """The busiest first, as many as there is room for."""
    here = [rates for rates in view.places if rates.kind == "endpoint"]
    here.sort(key=lambda rates: (-(rates.in_bits + rates.out_bits), rates.name))
    columns = _columns("SENDS", "GETS", wide=wide)
    grid = _grid("ENDPOINT", *columns)
    for rates in here[:room]:
        grid.add_row(rates.name, *_cells(rates, wide=wide))
    if len(here) > room:
        grid.add_row(f"and {len(here) - room} more", *[""] * len(columns))
    return grid


def _peers(view: View, *, wide: bool) -> Table:
    grid = _grid("PEER", "STATE", "FOR", "RTT", "LOSS", *_columns("RX", "TX", wide=wide))
    for peer in view.peers:
        style = {"alive": "green", "suspect": "yellow", "dead": "red"}.get(peer.state, "")
        lost = "-" if peer.lost_percent is None else f"{peer.lost_percent:.0f} %"
        grid.add_row(
            peer.name,
            Text(peer.state, style=style),
            duration(peer.for_s),
            "-" if peer.rtt_ms is None else f"{peer.rtt_ms:.2f} ms",
            Text(lost, style="yellow" if peer.lost_percent else ""),
            *_cells(peer.rates, wide=wide),
        )
    return grid


def _drops(view: View) -> Table:
    grid = _grid("DROPPED", "PER SECOND", "SINCE START")
    ordered = sorted(view.drops.items(), key=lambda item: (-item[1], item[0]))
    for reason, rate in ordered:
        style = "yellow" if rate else ""
        grid.add_row(Text(reason, style=style), number(rate), str(view.status.drops.get(reason, 0)))
    if not ordered:
        grid.add_row("nothing", "", "")
    return grid


def _columns(one: str, other: str, *, wide: bool) -> tuple[str, ...]:
    """Two directions, in bits and, where there is room, in frames."""
    if wide:
        return f"{one} bit/s", f"{one} fr/s", f"{other} bit/s", f"{other} fr/s", "DROP/s"
    return f"{one} bit/s", f"{other} bit/s", "DROP/s"


def _grid(first: str, *others: str) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    grid.add_column(first, overflow="ellipsis", no_wrap=True, min_width=16)
    for name in others:
        grid.add_column(name, justify="right", no_wrap=True)
    return grid


def _cells(rates: Rates | None, *, wide: bool) -> Sequence[str | Text]:
    if rates is None:
        return ["-"] * (5 if wide else 3)
    shown = [rates.in_bits, rates.in_frames, rates.out_bits, rates.out_frames]
    values = shown if wide else shown[::2]
    drops = Text(number(rates.drops), style="yellow" if rates.drops else "")
    return [*map(number, values), drops]


def number(value: float) -> str:
    """Three figures and a unit: `0`, `12.3`, `1.23k`, `940M`."""
    for unit in UNITS:
        if value < 999.5 or unit == UNITS[-1]:
            break
        value /= 1000
    if value == 0:
        return "0"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{unit}"
