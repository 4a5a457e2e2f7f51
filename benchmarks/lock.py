"""One benchmark at a time on a machine: two would measure each other."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["LOCK", "alone"]

LOCK = Path("/run/lock/vxnet-benchmark.lock")


@contextmanager
def alone(on_wait: Callable[[], None], path: Path = LOCK) -> Iterator[None]:
    """Hold the machine's lock; waits for the run that has it, after telling so.

    The file stays: removing it would let two runs hold two files of one name.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
