"""The lock on the state directory: one daemon uses it at a time."""

import fcntl
import os
from pathlib import Path

from vxnet.errors import HostError

__all__ = ["lock"]


def lock(state: Path) -> int:
    """Hold the state directory for as long as the descriptor is open. Raises HostError."""
    try:
        state.mkdir(mode=0o750, parents=True, exist_ok=True)
        held = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise HostError(
            f"the state directory {state} cannot be used: {error.strerror}; "
            "choose another node.state_dir"
        ) from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise HostError(
            f"another daemon uses the state directory {state}; stop it, or choose another "
            "node.state_dir"
        ) from None
    return held
