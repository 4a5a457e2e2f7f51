"""The machine a result was measured on, so that a reader can judge what the numbers mean."""

import os
import platform
from pathlib import Path

import msgspec

from benchmarks.cpu import background_share

__all__ = ["Machine", "look"]


class Machine(msgspec.Struct, frozen=True):
    """Its shape, and how busy it was with other things when the run began."""

    processor: str
    cores: int
    memory_gb: float
    kernel: str
    system: str
    python: str
    background_percent: float

    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.cores} cores of {self.processor}, {self.memory_gb:.0f} GB, "
            f"Linux {self.kernel}, {self.system}, Python {self.python}; "
            f"{self.background_percent:.0f} % busy with other things at the start"
        )


def look(seconds: float = 1.0) -> Machine:
    """Look at this machine for a moment."""
    release = platform.freedesktop_os_release()
    return Machine(
        processor=_processor(Path("/proc/cpuinfo").read_text()),
        cores=os.cpu_count() or 1,
        memory_gb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9,
        kernel=platform.release(),
        system=release.get("PRETTY_NAME", release.get("NAME", "Linux")),
        python=platform.python_version(),
        background_percent=100 * background_share(seconds),
    )


def _processor(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
