"""Files of a named namespace over /etc's, as `ip netns exec` has it."""

import ctypes
import os
from pathlib import Path
from typing import Final

from vxnet.errors import HostError
from vxnet.host.resolvconf import DIRECTORY

__all__ = ["use_files_of"]

CLONE_NEWNS: Final = 0x00020000  # linux/sched.h
MS_BIND: Final = 4096  # linux/mount.h, here and below
MS_REC: Final = 16384
MS_SLAVE: Final = 1 << 19


def use_files_of(name: str, directory: Path = DIRECTORY) -> None:
    """Have this process, and what it starts, see a namespace's own files. Raises HostError."""
    files = sorted((directory / name).glob("[!.]*")) if (directory / name).is_dir() else []
    if not files:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.unshare(CLONE_NEWNS) == 0
    done = done and libc.mount(b"", b"/", b"none", MS_REC | MS_SLAVE, None) == 0
    for file in files:
        target = Path("/etc") / file.name
        if done and target.exists():
            done = libc.mount(os.fsencode(file), os.fsencode(target), b"none", MS_BIND, None) == 0
    if not done:
        reason = os.strerror(ctypes.get_errno())
        raise HostError(f"the files of {directory / name} cannot be put in place: {reason}")
