"""Work that is done again and again: where something woke it, and now and then in any case."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from vxnet.errors import VxnetError

__all__ = ["keep_tending", "woken"]


async def woken(awake: asyncio.Event, within_s: float) -> bool:
    """Wait until something wakes, or for so long; whether something did. The event is cleared."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await awake.wait()
    was_woken = awake.is_set()
    awake.clear()
    return was_woken


async def keep_tending(
    awake: asyncio.Event,
    every_s: float,
    tend: Callable[[], Awaitable[None]],
    report: Callable[[VxnetError], None],
) -> None:
    """Tend until cancelled; failures are reported."""
    while True:
        await woken(awake, every_s)
        try:
            await tend()
        except VxnetError as error:
            report(error)
