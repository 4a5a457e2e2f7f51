"""Debian packages of the peers, and of the tools that make the traffic."""

import os
import shutil
from collections.abc import Iterable

from benchmarks.peers.base import Peer
from benchmarks.process import run
from vxnet.errors import HostError

__all__ = ["install", "lacking_tools"]

TOOLS = ("ip", "iperf3", "nsenter", "ping", "python3", "setpriv")
PATIENCE_S = 900


def lacking_tools() -> str | None:
    """A sentence about the traffic tools that are not there; None when all are."""
    absent = [name for name in TOOLS if shutil.which(name) is None]
    if not absent:
        return None
    return f"the benchmark needs {', '.join(absent)}; scripts/setup bench installs them"


def install(peers: Iterable[Peer]) -> list[str]:
    """Install what is missing, a peer at a time; a sentence for each that could not be.

    One at a time, because a package that this release does not have must not stop the others.
    """
    wanting = [peer for peer in peers if peer.packages and peer.missing() is not None]
    problems = []
    if wanting:
        run(["apt-get", "-qq", "update"], timeout_s=PATIENCE_S)
    for peer in wanting:
        try:
            _apt_get(peer.packages)
        except HostError as error:
            problems.append(f"{peer.name} could not be installed: {error}")
    return problems


def _apt_get(packages: Iterable[str]) -> None:
    words = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages]
    env = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"}
    run(words, timeout_s=PATIENCE_S, env=env)
