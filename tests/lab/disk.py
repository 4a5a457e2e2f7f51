"""What a VM starts from: the tree as a disk, and the little first system that finds it."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.lab.cache import made_once
from tests.lab.command import run
from tests.lab.debian import MODULES, kernel, tree

__all__ = ["VIRTIO", "boot_files", "disk", "first_system", "pack"]

ROOM: Final = "2G"
VIRTIO: Final = (
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev"),
    "virtio_pci",
)
"""The modules that any device of a VM takes."""
INIT: Final = """#!/bin/busybox sh
busybox mkdir -p /proc /sys /dev /new
busybox mount -t devtmpfs dev /dev
busybox sh /modules/load
until busybox mount -t ext4 -o noatime /dev/vda /new 2>/dev/null; do busybox sleep 0.1; done
busybox mount --move /dev /new/dev
exec busybox switch_root /new /sbin/init
"""


def disk() -> Path:
    """The tree as a raw disk. It is shared: start VMs with snapshots of it."""
    system = tree()

    def make(folder: Path) -> None:
        pack(system, folder / "disk", ROOM)

    return made_once("disk", str(system), make) / "disk"


def boot_files() -> tuple[Path, Path]:
    """The kernel, and an initrd that mounts the first disk and goes on there."""
    return first_system(INIT, (*VIRTIO, "virtio_blk"))


def first_system(init: str, modules: Sequence[str]) -> tuple[Path, Path]:
    """The kernel, and an initrd of busybox alone that runs this script as its first process.

    `busybox sh /modules/load` in it loads the modules, in this order.
    """
    system = kernel()
    key = repr((str(system), init, modules))
    folder = made_once("initrd", key, lambda made: _make_initrd(system, init, modules, made))
    return system / "vmlinuz", folder / "initrd"


def pack(folder: Path, file: Path, room: str) -> None:
    """Make a file a disk that holds this folder; all of it is root's there."""
    run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", folder, file, room)


def _make_initrd(system: Path, script: str, modules: Sequence[str], folder: Path) -> None:
    root = folder / "root"
    for name in ("bin", "modules"):
        (root / name).mkdir(parents=True)
    run("cp", "/bin/busybox", root / "bin/busybox")
    for module in modules:
        (found,) = (system / MODULES).rglob(f"{module}.ko")
        run("cp", found, root / "modules")
    loads = [f"/bin/busybox insmod /modules/{module}.ko\n" for module in modules]
    (root / "modules/load").write_text("".join(loads))
    init = root / "init"
    init.write_text(script)
    init.chmod(init.stat().st_mode | stat.S_IXUSR)
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    listing = "\n".join(names)
    run(
        "sh",
        "-c",
        f"cpio --quiet -o -H newc >{folder / 'initrd'}",
        cwd=root,
        text=listing + os.linesep,
    )
