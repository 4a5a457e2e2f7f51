"""What takes a while to make is made once, and kept outside the repository."""

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from tests.lab.command import run

__all__ = ["made_once"]


def made_once(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` filled, once for each key.

    It lies in VXNET_LAB_CACHE, or in the user's cache directory. Who else wants it meanwhile waits.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(os.environ.get("VXNET_LAB_CACHE") or Path(home) / "vxnet-lab")
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            # What was interrupted may have file systems mounted still: those are not ours.
            run("rm", "-rf", "--one-file-system", folder)
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder
