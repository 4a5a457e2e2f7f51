"""What systemd is told of the daemon: sd_notify(3), without its library."""

import os
import socket

__all__ = ["is_listening", "notify", "watchdog_s"]


def notify(state: str) -> bool:
    """Send `READY=1` or the like to whoever started us; says whether that was heard."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_UNIX, kind) as sender:
        try:
            sender.sendto(state.encode(), address)
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
