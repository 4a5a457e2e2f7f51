"""What systemd is told of the daemon, and keeps for it: sd_notify(3) and sd_listen_fds(3), without
their library."""

import array
import os
import socket
from collections.abc import Sequence

__all__ = ["forget", "is_listening", "keep", "kept", "notify", "watchdog_s"]

FIRST_FD = 3  # SD_LISTEN_FDS_START


def notify(state: str, fds: Sequence[int] = ()) -> bool:
    """Send `READY=1` or the like to whoever started us; says whether that was heard.

    With descriptors it waits for room in the other's queue: none of them may get lost.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(bool(fds))
        try:
            sender.sendmsg([state.encode()], ancillary, 0, address)
        except OSError:
            return False
    return True


def is_listening() -> bool:
    """Whether anybody wants to hear."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def watchdog_s() -> float | None:
    """Within how long systemd wants to hear `WATCHDOG=1` each time; None where it does not."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6 if microseconds.isdigit() and int(microseconds) else None


def keep(name: str, fds: Sequence[int]) -> bool:
    """Have descriptors kept while the daemon is restarted (the unit's FileDescriptorStoreMax)."""
    return notify(f"FDSTORE=1\nFDNAME={name}", fds)


def forget(name: str) -> None:
    """Have the descriptors of this name kept no longer."""
    notify(f"FDSTOREREMOVE=1\nFDNAME={name}")


def kept() -> list[tuple[str, int]]:
    """The descriptors that were kept for this process, by their names; they are the caller's.

    Asking again brings none.
    """
    count, names = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_FDNAMES", "")
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()) or not count.isdigit():
        return []
    fds = range(FIRST_FD, FIRST_FD + int(count))
    for fd in fds:
        os.set_inheritable(fd, False)
    known = names.split(":")
    return list(zip(known + ["unknown"] * (len(fds) - len(known)), fds, strict=False))
