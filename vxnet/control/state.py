"""What a host remembers of the gossip: who it is, how often it started, and whom it knew."""

import contextlib
import os
import tempfile
import time
from pathlib import Path
from random import SystemRandom

import msgspec
from msgspec import Struct

from vxnet.errors import HostError

__all__ = ["State", "read_state", "write_state"]

PEERS_MAX = 64


class State(Struct, frozen=True):
    """`peers` are addresses and ports of gossip; `keys` are ids, never the keys themselves."""

    node_id: int
    epoch: int
    keys: tuple[str, ...] = ()
    peers: tuple[tuple[str, int], ...] = ()


def read_state(path: Path) -> State:
    """Begin another life: the identity of the last one, and a higher epoch; new where none was.

    A file that does not read is as good as none: the host gets another identity, and its old one
    is found dead. Raises HostError where the file exists and may not be read.
    """
    epoch = time.time_ns() // 1_000_000
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except (FileNotFoundError, msgspec.MsgspecError):
        return State(SystemRandom().getrandbits(63) + 1, epoch)
    except OSError as error:
        raise HostError(f"the gossip state {path} cannot be read: {error.strerror}") from None
    return msgspec.structs.replace(state, epoch=max(state.epoch + 1, epoch))


def write_state(path: Path, state: State) -> None:
    """Replace the file in one step, so that a crash leaves the old one or the new one."""
    data = msgspec.json.encode(msgspec.structs.replace(state, peers=state.peers[:PEERS_MAX]))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
