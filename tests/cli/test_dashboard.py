"""`vxnet top`: counters become rates, and what it draws fits the terminal."""

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
from rich.console import Console, ConsoleDimensions

from vxnet.api.model import (
    CountersView,
    MemberView,
    NetworkView,
    PlaceView,
    StatsView,
    StatusView,
)
from vxnet.cli.dashboard import Dashboard, View, number

if TYPE_CHECKING:
    from vxnet.api.client import Client

NETWORK = NetworkView("id", "blue", "overlay", 42, 1450, (), {}, 0, ("web",), ("b",))


@dataclass
class Told:
    """A daemon that says what it is told to; a second passes with each look."""

    received: int = 0
    dropped: int = 0
    pings: int = 10
    lost: int = 1
    endpoints: int = 1
    now: float = 0.0
    alarms: tuple[str, ...] = ()
    drops: dict[str, int] = field(default_factory=dict)

    def clock(self) -> float:
        self.now += 1.0
        return self.now

    def status(self) -> StatusView:
        return StatusView(
            "a", "0.1.0", 1, 75.0, "192.0.2.1:4789", "eth0", 1500, "native", "it was built", True,
            "lab", {"alive": 2}, 1, self.endpoints, self.alarms, {"too_big": self.dropped},
        )  # fmt: skip

    def stats(self) -> StatsView:
        counters = CountersView(
            self.received, self.received * 1000, 0, 0, 0, 0, {"too_big": self.dropped}, 7, 7000
        )
        places = [PlaceView("network", "blue", counters), PlaceView("peer", "b", counters)]
        places += [PlaceView("endpoint", f"web{n}", counters) for n in range(self.endpoints)]
        return StatsView(tuple(places), {}, {}, {})

    def networks(self) -> list[NetworkView]:
        return [NETWORK]

    def peers(self) -> list[MemberView]:
        here, there = "192.0.2.1:4789", "192.0.2.2:4789"
        gossip = "192.0.2.2:7947"
        return [
            MemberView("1", "a", "alive", here, gossip, 75.0, None, "0.1.0", "native", True),
            MemberView("2", "b", "alive", there, gossip, 75.0, 0.21, "0.1.0", "native", False,
                       pings=self.pings, pings_lost=self.lost),
        ]  # fmt: skip


def dashboard(told: Told) -> Dashboard:
    return Dashboard(cast("Client", told), told.clock)


def drawn(board: Dashboard, view: View, width: int, height: int = 40) -> str:
    """What a terminal of this size would show."""
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(board.draw(view, ConsoleDimensions(width, height)))
    return cast("io.StringIO", console.file).getvalue()


def test_counters_become_rates_from_the_second_look_on() -> None:
    told = Told(received=100)
    board = dashboard(told)
    first = board.look()
    assert {rates.in_frames for rates in first.places} == {0.0}
    told.received, told.dropped, told.pings, told.lost = 350, 5, 30, 6
    second = board.look()
    blue = second.places[0]
    assert (blue.name, blue.in_frames, blue.in_bits, blue.drops) == ("blue", 250.0, 2e6, 5.0)
    assert second.drops == {"too_big": 5.0}
    [peer] = second.peers
    assert (peer.name, peer.rtt_ms, peer.lost_percent) == ("b", 0.21, 25.0)


def test_a_daemon_that_was_restarted_has_no_negative_rates() -> None:
    told = Told(received=100, pings=50)
    board = dashboard(told)
    board.look()
    told.received, told.pings, told.lost = 3, 1, 0
    view = board.look()
    assert {rates.in_frames for rates in view.places} == {0.0}
    assert view.peers[0].lost_percent is None


@pytest.mark.parametrize("width", [80, 105, 200])
def test_everything_is_shown_and_nothing_is_cut_at_usual_widths(width: int) -> None:
    told = Told(received=100, alarms=("two hosts are called a",))
    board = dashboard(told)
    board.look()
    told.received, told.dropped = 1350, 5
    text = drawn(board, board.look(), width)
    for word in ("blue", "42", "web0", "0.21 ms", "10.0M", "too_big", "ALARM two hosts", "alive"):
        assert word in text
    assert "…" not in text
    assert ("1.25k" in text) == (width >= 105), "frames are shown where there is room"


def test_endpoints_beyond_the_terminal_are_counted() -> None:
    told = Told(endpoints=300)
    board = dashboard(told)
    text = drawn(board, board.look(), 120, height=40)
    assert len(text.splitlines()) <= 40
    assert "more" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.5, "0.50"), (12.34, "12.3"), (999.4, "999"), (999.6, "1.00k"), (1.5e9, "1.50G")],
)
def test_numbers_have_three_figures(value: float, text: str) -> None:
    assert number(value) == text
