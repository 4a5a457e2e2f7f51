"""The resolv.conf of named namespaces: `ip netns exec` and `vxnet exec` put it over /etc's."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from vxnet.errors import HostError

__all__ = ["DIRECTORY", "NAMESPACES", "provide", "sweep", "withdraw"]

DIRECTORY: Final = Path("/etc/netns")
NAMESPACES: Final = Path("/run/netns")
MARK: Final = "# Written by vxnet; a file without this line is left alone."
SERVERS_MAX: Final = 3  # resolv.conf(5): MAXNS


def provide(name: str, servers: Sequence[str], directory: Path = DIRECTORY) -> None:
    """Have a namespace's programs ask these. Somebody else's file is left alone.

    Raises HostError where the system refuses.
    """
    file = directory / name / "resolv.conf"
    lines = [MARK, *(f"nameserver {server}" for server in servers[:SERVERS_MAX])]
    text = "\n".join([*lines, "options timeout:2 attempts:3", ""])
    try:
        if file.exists() and (not _is_ours(file) or file.read_text() == text):
            return
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = file.with_name(".resolv.conf.vxnet")
        new.write_text(text)
        new.replace(file)
    except OSError as error:
        raise HostError(f"{file} cannot be written: {error.strerror}") from None


def withdraw(name: str, directory: Path = DIRECTORY) -> None:
    """Take our file away, and what is empty without it. Raises HostError."""
    file = directory / name / "resolv.conf"
    try:
        if file.exists() and _is_ours(file):
            file.unlink()
            with suppress(OSError):  # others have files there too
                file.parent.rmdir()
                directory.rmdir()
    except OSError as error:
        raise HostError(f"{file} cannot be removed: {error.strerror}") from None


def sweep(directory: Path = DIRECTORY, namespaces: Path = NAMESPACES) -> list[str]:
    """Take away our files of namespaces that are gone, as a daemon that was killed could not.

    Returns whose they were. Raises HostError.
    """
    if not namespaces.is_dir() or not directory.is_dir():
        return []
    stale = [
        file.parent.name
        for file in sorted(directory.glob("*/resolv.conf"))
        if not (namespaces / file.parent.name).exists() and _is_ours(file)
    ]
    for name in stale:
        withdraw(name, directory)
    return stale


def _is_ours(file: Path) -> bool:
    return file.read_text(errors="replace").startswith(MARK)
