"""What the daemon must be allowed, looked at before anything is opened."""

import os
import resource
from pathlib import Path
from typing import Final

from vxnet.errors import HostError

__all__ = ["check_privileges", "raise_descriptor_limit"]

TUN: Final = "/dev/net/tun"
NEEDED: Final = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}  # linux/capability.h


def check_privileges() -> None:
    """Raises HostError, in a sentence each, for what is missing."""
    mask = _effective_capabilities()
    missing = [name for name, bit in NEEDED.items() if not mask >> bit & 1]
    if missing:
        raise HostError(
            f"the daemon lacks {' and '.join(missing)}, for devices and namespaces; "
            "run it as root, or from the systemd unit"
        )
    if not Path(TUN).exists():
        raise HostError(
            f"{TUN} does not exist; load it with: modprobe tun (in a container: --device {TUN})"
        )
    if not os.access(TUN, os.R_OK | os.W_OK):
        raise HostError(f"{TUN} may not be opened; allow the device to this service")


def raise_descriptor_limit() -> int:
    """Allow as many open files as this process may have; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
