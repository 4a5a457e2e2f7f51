"""`vxnet top`: networks, endpoints and peers as they are now, with their rates, again and again."""

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from vxnet.cli.options import DEFAULT_SOCKET, Json, Socket, connect

__all__ = ["top"]


def top(
    interval: Annotated[
        float, typer.Option("--interval", "-i", min=0.2, help="Seconds from one view to the next.")
    ] = 1.0,
    count: Annotated[
        int | None, typer.Option("--count", "-c", min=1, help="End after so many views.")
    ] = None,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Watch rates, round trips, losses and drops, live.

    Ctrl-C ends it. Without a terminal, or with --json, one view follows the other.
    """
    from rich.console import Console
    from rich.live import Live

    from vxnet.cli.dashboard import Dashboard
    from vxnet.cli.output import print_json

    dashboard = Dashboard(connect(socket))
    console = Console()
    try:
        if json or not console.is_terminal:
            for _ in _beats(interval, count):
                view = dashboard.look()
                print_json(view) if json else console.print(dashboard.draw(view, console.size))
            return
        with Live(console=console, screen=True, auto_refresh=False) as live:
            for _ in _beats(interval, count):
                view = dashboard.look()
                live.update(dashboard.draw(view, console.size), refresh=True)
    except KeyboardInterrupt:
        pass


def _beats(interval: float, count: int | None) -> Iterator[None]:
    """Now for the first time, then once an interval, whatever the drawing takes."""
    at, number = time.monotonic(), 0
    while True:
        yield
        number += 1
        if number == count:
            return
        at = max(at + interval, time.monotonic())
        time.sleep(at - time.monotonic())
