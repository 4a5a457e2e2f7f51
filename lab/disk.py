"""What a VM starts from: the tree as a disk, and the little first system that finds it."""

import os
import stat
from pathlib import Path
from typing import Final

from lab.cache import made_once
from lab.command import run
from lab.debian import MODULES, kernel, tree

__all__ = ["boot_files", "disk", "pack"]

ROOM: Final = "2G"
FIRST_MODULES: Final = (
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev"),
    *("virtio_pci", "virtio_blk"),
)
INIT: Final = """#!/bin/busybox sh
busybox mkdir -p /proc /sys /dev /new
busybox mount -t devtmpfs dev /dev
for module in MODULES; do busybox insmod /modules/$module.ko; done
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
    system = kernel()
    key = repr((str(system), INIT, FIRST_MODULES))
    folder = made_once("initrd", key, lambda made: _make_initrd(system, made))
    return system / "vmlinuz", folder / "initrd"


def pack(folder: Path, file: Path, room: str) -> None:
    """Make a file a disk that holds this folder; all of it is root's there."""
    run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", folder, file, room)


def _make_initrd(system: Path, folder: Path) -> None:
    root = folder / "root"
    for name in ("bin", "modules"):
        (root / name).mkdir(parents=True)
    run("cp", "/bin/busybox", root / "bin/busybox")
    for module in FIRST_MODULES:
        (found,) = (system / MODULES).rglob(f"{module}.ko")
        run("cp", found, root / "modules")
    init = root / "init"
    init.write_text(INIT.replace("MODULES", " ".join(FIRST_MODULES)))
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
