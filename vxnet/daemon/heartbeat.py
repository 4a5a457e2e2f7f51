"""What systemd hears of a daemon that runs: that its event loop turns, and what it has to do."""

import asyncio
from collections.abc import Callable
from typing import Final

from vxnet.host.systemd import is_listening, notify, watchdog_s

__all__ = ["beat"]

STATUS_EVERY_S: Final = 5.0
BEATS: Final = 3
"""How often in the time that systemd allows: a single late one is no reason to be killed."""


async def beat(status: Callable[[], str]) -> None:
    """Tell until cancelled; in a task of the event loop, so that a loop that is stuck is silent."""
    if not is_listening():
        return
    allowed_s = watchdog_s()
    every_s = STATUS_EVERY_S if allowed_s is None else min(STATUS_EVERY_S, allowed_s / BEATS)
    told = ""
    while True:
        lines = [] if allowed_s is None else ["WATCHDOG=1"]
        if (now := status()) != told:
            lines.append(f"STATUS={now}")
        if not lines or notify("\n".join(lines)):
            told = now
        await asyncio.sleep(every_s)
