"""Child processes that are always ended: asked first, forced after a while."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["end_all", "end_pids", "pids_in_namespaces", "pids_mentioning"]

PATIENCE_S = 6.0
"""How long a process has to end after SIGTERM; a daemon says goodbye for about a second."""


def end_all(children: Sequence[subprocess.Popen[bytes]], patience_s: float = PATIENCE_S) -> None:
    """End children of this process and reap them; those that ended already are only reaped."""
    for child in children:
        if child.poll() is None:
            # A stopped process takes no SIGTERM until it continues.
            child.send_signal(signal.SIGTERM)
            child.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + patience_s
    for child in children:
        try:
            child.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    for child in children:
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def end_pids(pids: Iterable[int], patience_s: float = PATIENCE_S) -> None:
    """End processes that may be nobody's children here, as `end_all` does for children."""
    left = {pid for pid in pids if _signal(pid, signal.SIGTERM) and _signal(pid, signal.SIGCONT)}
    deadline = time.monotonic() + patience_s
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = {pid for pid in left if _is_running(pid)}
    for pid in left:
        _signal(pid, signal.SIGKILL)
    deadline = time.monotonic() + patience_s
    while any(_is_running(pid) for pid in left) and time.monotonic() < deadline:
        time.sleep(0.02)


def pids_in_namespaces(paths: Iterable[Path]) -> list[int]:
    """Who lives in these network namespaces (`/run/netns/NAME`)."""
    wanted = set()
    for path in paths:
        try:
            wanted.add(_identity(path))
        except OSError:
            continue  # gone meanwhile
    found = []
    for pid in _all_pids():
        try:
            if _identity(Path(f"/proc/{pid}/ns/net")) in wanted:
                found.append(pid)
        except OSError:
            continue  # ended meanwhile
    return found


def pids_mentioning(text: str) -> list[int]:
    """Processes other than this one that have an argument with `text` in it."""
    needle = text.encode()
    found = []
    for pid in _all_pids():
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if needle in arguments and pid != os.getpid():
            found.append(pid)
    return found


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _is_running(pid: int) -> bool:
    """Whether the process is there and not merely waiting to be reaped by its parent."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in ("Z", "X")
