"""Unix sockets that only root and its group may use."""

import os
import socket
import stat
from pathlib import Path
from typing import Final

from vxnet.errors import HostError

__all__ = ["listen"]

SOCKET_MODE: Final = 0o660


def listen(path: Path, setting: str) -> socket.socket:
    """A listening socket at this path, which a setting named; a dead daemon's is replaced.

    Raises HostError where another daemon has it, or it cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _clear(path, setting)
        mask = os.umask(0o777 & ~SOCKET_MODE)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise HostError(
            f"the socket {path} cannot be made: {error.strerror or error}; choose another {setting}"
        ) from None
    except BaseException:
        listener.close()
        raise
    return listener


def _clear(path: Path, setting: str) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise HostError(f"{path} is there and is not a socket; choose another {setting}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its queue is full, so somebody listens
    raise HostError(f"another daemon answers on {path}; stop it, or choose another {setting}")
