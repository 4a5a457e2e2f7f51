"""A Debian 12 as a tree of files, with all that vxnet needs: for containers, and for disks."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Final

from tests.lab.cache import made_once
from tests.lab.command import LabError, run

__all__ = ["MODULES", "ROOT", "kernel", "tree", "wheels"]

ROOT: Final = Path(__file__).resolve().parents[2]
SUITE: Final = "bookworm"
PYTHON: Final = "3.11"
PACKAGES: Final = (
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod"),
    *("iproute2", "iputils-ping", "nftables", "python3", "python3-venv"),
    "qemu-guest-agent",
)
WITHOUT: Final = ("doc", "man", "locale", "info")
MODULES: Final = Path("lib/modules")


@cache
def tree() -> Path:
    """The system, with a Python environment in /opt/vxnet that has all but vxnet itself.

    It is shared: mount something over it before you write.
    """
    needed = wheels()
    return (
        made_once("tree", repr((SUITE, PACKAGES, needed.name, kernel().name)), _make_tree) / "root"
    )


@cache
def wheels() -> Path:
    """The Python packages that vxnet asks for, to be installed without a network."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted: list[str] = project["dependencies"]

    def fetch(folder: Path) -> None:
        options = ("--quiet", "--only-binary=:all:", "--python-version", PYTHON)
        run(_pip(), "-m", "pip", "download", *options, "--dest", folder, *wanted)

    return made_once("wheels", repr((PYTHON, wanted)), fetch)


@cache
def kernel() -> Path:
    """Debian's kernel for virtual machines, with its modules, unpacked."""
    listing = run("apt-cache", "depends", "linux-image-cloud-amd64")
    package = next(
        (line.split()[-1] for line in listing.splitlines() if "Depends: linux-image-" in line), None
    )
    if package is None:
        raise LabError("apt knows no linux-image-cloud-amd64; run apt-get update")

    def fetch(folder: Path) -> None:
        run("apt-get", "-qq", "download", package, cwd=folder)
        (archive,) = folder.glob("*.deb")
        run("dpkg-deb", "-x", archive, folder)
        archive.unlink()
        for path in folder.glob("boot/vmlinuz-*"):
            path.rename(folder / "vmlinuz")
        for path in (folder / MODULES).iterdir():
            run("depmod", "-b", folder, path.name)

    return made_once("kernel", package, fetch)


def _system() -> Path:
    """Debian from where this machine's apt gets it, and the kernel's modules."""

    def make(folder: Path) -> None:
        sources = run(
            *("apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"),
            "Created-By: Packages",
        )
        excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in WITHOUT]
        root = folder / "root"
        run(
            # It mounts /proc, /sys and /dev in there: where nobody else sees them.
            *("unshare", "--mount", "--propagation", "private", "--"),
            *("mmdebstrap", "--quiet", "--variant=minbase", "--mode=root"),
            *('--aptopt=APT::Install-Recommends "false"', *excluded),
            *(f"--include={','.join(PACKAGES)}", SUITE, root, "-"),
            text=sources,
        )
        run("cp", "-a", kernel() / MODULES, root / "usr/lib/modules")
        (root / "etc/resolv.conf").unlink(missing_ok=True)
        (root / "etc/machine-id").write_text("")

    return made_once("system", repr((SUITE, PACKAGES, kernel().name)), make) / "root"


def _make_tree(folder: Path) -> None:
    root = folder / "root"
    run("cp", "-a", _system(), root)
    run("cp", "-r", wheels(), root / "wheels")
    inside = ("chroot", root)
    run(*inside, "python3", "-m", "venv", "/opt/vxnet")
    names = [f"/wheels/{path.name}" for path in wheels().glob("*.whl")]
    pip = ("/opt/vxnet/bin/python", "-m", "pip", "--disable-pip-version-check")
    run(*inside, *pip, "install", "-qq", "--no-index", "--no-deps", *names)
    run("rm", "-r", root / "wheels")


def _pip() -> Path:
    return ROOT / ".venv/bin/python"
