"""Bringing in what is measured: Debian packages, and Go programs built from their modules."""

import os
import shutil
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from benchmarks.peers.base import Peer
from benchmarks.process import run
from vxnet.errors import HostError

__all__ = [
    "TOOLS",
    "apt_get",
    "find",
    "go_install",
    "has_go",
    "install",
    "lacking",
    "lacking_tools",
]

TOOLS = ("ip", "iperf3", "nsenter", "ping", "python3", "setpriv")
PATIENCE_S = 900


def lacking_tools(tools: Sequence[str] = TOOLS) -> str | None:
    """A sentence about those of the tools that are not there; None when all are."""
    absent = [name for name in tools if shutil.which(name) is None]
    if not absent:
        return None
    return f"the benchmark needs {', '.join(absent)}; scripts/setup bench installs them"


def install(peers: Sequence[Peer]) -> Iterator[str]:
    """Have each peer that cannot run install what it needs; a sentence for each that could not.

    One at a time, because a package that this release does not have must not stop the others.
    """
    for peer in peers:
        if peer.missing() is None:
            continue
        try:
            peer.install()
        except HostError as error:
            yield f"{peer.name} could not be installed: {error}"


def lacking(*programs: str) -> str | None:
    """A sentence about those of the programs that are not there; None when all are."""
    absent = [name for name in programs if find(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def find(*names: str) -> str | None:
    """The path of the first of these programs that is there; one that was built comes first."""
    for name in names:
        built = _built() / name
        path = str(built) if built.exists() else shutil.which(name)
        if path is not None:
            return path
    return None


def apt_get(*packages: str) -> None:
    """Install Debian packages; some start a service, where an init system runs."""
    _update_packages()
    words = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages]
    env = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"}
    run(words, timeout_s=PATIENCE_S, env=env)


def has_go() -> bool:
    """Whether there is a Go toolchain: some peers are faster in versions newer than Debian's."""
    return shutil.which("go") is not None


def go_install(*modules: str) -> None:
    """Build programs from Go modules (`PATH@VERSION`) into a folder of our own."""
    _built().mkdir(parents=True, exist_ok=True)
    env = dict(os.environ) | {"GOBIN": str(_built())}
    run(["go", "install", *modules], timeout_s=PATIENCE_S, env=env)


@cache
def _update_packages() -> None:
    run(["apt-get", "-qq", "update"], timeout_s=PATIENCE_S)


def _built() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vxnet-benchmarks"
