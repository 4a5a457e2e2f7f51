"""What systemd is told of the daemon: sd_notify(3), without its library."""

import os
import socket

__all__ = ["notify"]


def notify(state: str) -> bool:
    """Send `READY=1` or the like to whoever started us; says whether anybody asked for it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(state.encode(), address)
        except OSError:
            return False
    return True
