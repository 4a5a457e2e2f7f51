"""What a host remembers of the gossip: who it is, how often it started, and whom it knew."""

import contextlib
import ipaddress
import os
import tempfile
import time
from pathlib import Path
from random import SystemRandom
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from vxnet.errors import UNREADABLE, HostError

__all__ = ["State", "read_state", "write_state"]

PEERS_MAX = 64


Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Epoch = Annotated[int, Meta(ge=0, le=2**48 - 2)]  # 48 bits on the wire, and the next is higher
Port = Annotated[int, Meta(ge=1, le=2**16 - 1)]


class State(Struct, frozen=True):
    """`peers` are addresses and ports of gossip; `keys` are ids, never the keys themselves."""

    node_id: Number
    epoch: Epoch
    keys: tuple[str, ...] = ()
    peers: tuple[tuple[str, Port], ...] = ()

    def __post_init__(self) -> None:
        for host, _ in self.peers:
            ipaddress.ip_address(host)


def read_state(path: Path) -> State:
    """Begin another life: the identity of the last one, and a higher epoch; new where none was.

    A file that does not read is as good as none: the host gets another identity, and its old one
    is found dead. Raises HostError where the file exists and may not be read.
    """
    epoch = time.time_ns() // 1_000_000
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except (FileNotFoundError, *UNREADABLE):
        return State(SystemRandom().randrange(1, 2**63), epoch)
    except OSError as error:
        raise HostError(f"the gossip state {path} cannot be read: {error.strerror}") from None
    return msgspec.structs.replace(state, epoch=max(state.epoch + 1, epoch))


def write_state(path: Path, state: State) -> None:
    """Replace the file in one step, so that a crash leaves the old one or the new one.

    Raises HostError where the system refuses.
    """
    data = msgspec.json.encode(msgspec.structs.replace(state, peers=state.peers[:PEERS_MAX]))
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise HostError(f"the gossip state {path} cannot be written: {error.strerror}") from None
