"""How much processor time the whole machine spent on something.

Overlays spend their time in many places: a daemon, the sender's own system call, soft interrupts,
kernel threads. Counting a process or a control group misses most of what the kernel does, and
would flatter kernel VXLAN. So the whole machine is counted: every tick of every core that was not
idle, the traffic tools included, which are the same for every peer. On a bed that is otherwise
quiet this is the fair number; the runner measures and reports how quiet the machine was.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Meter", "background_share", "busy_s", "metered"]

STAT = Path("/proc/stat")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def busy_s(stat: str) -> float:
    """Seconds all cores together were busy since boot, by the text of /proc/stat.

    user, nice, system, irq and softirq count; idle and iowait do not, nor does steal, in which
    another machine ran. guest is already within user.
    """
    user, nice, system, _idle, _iowait, irq, softirq = map(int, stat.split(None, 8)[1:8])
    return (user + nice + system + irq + softirq) * TICK_S


class Meter:
    """What was spent between its two readings."""

    busy_s: float = 0.0
    elapsed_s: float = 0.0


@contextmanager
def metered() -> Iterator[Meter]:
    """Measure what happens inside."""
    meter = Meter()
    before, start = busy_s(STAT.read_text()), time.monotonic()
    yield meter
    meter.busy_s = busy_s(STAT.read_text()) - before
    meter.elapsed_s = time.monotonic() - start


def background_share(seconds: float) -> float:
    """How busy the machine is with other things: the share of all its cores while we sleep."""
    with metered() as meter:
        time.sleep(seconds)
    return meter.busy_s / (meter.elapsed_s * (os.cpu_count() or 1))
