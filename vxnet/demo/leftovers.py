"""What beds that could not clean up after themselves left behind, and its removal."""

import re
import shutil
from contextlib import suppress
from pathlib import Path

from pyroute2 import netns

from vxnet.demo.bed import DIRECTORY
from vxnet.demo.drivers import PLUGINS
from vxnet.demo.namespace import NAMESPACES, require_root
from vxnet.demo.processes import end_pids, pids_in_namespaces, pids_mentioning
from vxnet.errors import StateError
from vxnet.host.resolvconf import withdraw

__all__ = ["leftovers", "prefixes", "remove"]

PREFIX = re.compile(r"vx[0-9a-f]{6}")


def prefixes() -> list[str]:
    """The prefixes of all beds that have a directory on this machine, in use or left behind.

    Raises HostError for anybody but root, as all here do: the directory is root's.
    """
    require_root()
    if not DIRECTORY.is_dir():
        return []
    return sorted(p.name for p in DIRECTORY.iterdir() if PREFIX.fullmatch(p.name))


def leftovers(prefix: str) -> list[str]:
    """All of this bed that is there: namespaces, files, processes; each a line for people."""
    _check(prefix)
    found = [f"namespace {name}" for name in _namespaces(prefix)]
    if _plugin(prefix).exists():
        found.append(f"plugin {_plugin(prefix)}")
    if (DIRECTORY / prefix).exists():
        found.append(f"directory {DIRECTORY / prefix}")
    return found + [f"process {pid}" for pid in _pids(prefix)]


def remove(prefix: str) -> list[str]:
    """Remove all of it; what was there. Raises StateError for a text that is no bed's prefix."""
    found = leftovers(prefix)
    end_pids(_pids(prefix))
    for name in _namespaces(prefix):
        netns.remove(name)
        withdraw(name)
    _plugin(prefix).unlink(missing_ok=True)
    shutil.rmtree(DIRECTORY / prefix, ignore_errors=True)
    with suppress(OSError):
        DIRECTORY.rmdir()
    return found


def _check(prefix: str) -> None:
    require_root()
    if not PREFIX.fullmatch(prefix):
        raise StateError(
            f"{prefix!r} is not the prefix of a demo; it is `vx` and six hexadecimal digits, "
            f"as in the names of {DIRECTORY}"
        )


def _plugin(prefix: str) -> Path:
    return PLUGINS / f"{prefix}.sock"


def _namespaces(prefix: str) -> list[str]:
    if not NAMESPACES.is_dir():
        return []
    return sorted(p.name for p in NAMESPACES.iterdir() if p.name.startswith(f"{prefix}-"))


def _pids(prefix: str) -> list[int]:
    """Who lives in its namespaces, and daemons and helpers that name its files."""
    living = pids_in_namespaces(NAMESPACES / name for name in _namespaces(prefix))
    return sorted({*living, *pids_mentioning(f"{DIRECTORY / prefix}/")})
