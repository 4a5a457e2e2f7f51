"""Builds the tree of a managed plugin, config.json and rootfs, from what is installed here.

Run as `python -m vxnet.daemon.bundle DIRECTORY`; `scripts/docker-plugin` does. Nothing is fetched:
the interpreter, its library, vxnet with what it depends on, and their shared libraries are copied.
"""

import ctypes.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

import vxnet
from vxnet.daemon.managed import SETTINGS

__all__ = ["build"]

SITE: Final = Path("opt/vxnet/site")
LEFT_OUT: Final = shutil.ignore_patterns(
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "site-packages",
    "lib2to3",
    "config-*",
)
NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def build(target: Path) -> None:
    """Fill an empty directory. Raises OSError, or CalledProcessError from `ldd`."""
    root = target / "rootfs"
    for folder in ("etc", "proc", "sys", "dev", "tmp", "run/docker/plugins", "var/lib/vxnet"):
        (root / folder).mkdir(parents=True)
    (root / "var/run").symlink_to("../run")  # as dockerd calls it
    interpreter = Path(sys.executable).resolve()
    _copy(interpreter, root)
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, root / library.relative_to("/"), ignore=LEFT_OUT, dirs_exist_ok=True)
    site = root / SITE
    site.mkdir(parents=True)
    shutil.copytree(Path(vxnet.__file__).parent, site / "vxnet", ignore=LEFT_OUT)
    # vxnet tells the others its version; what it was installed as here may be a checkout.
    known = site / f"vxnet-{vxnet.__version__}.dist-info" / "METADATA"
    known.parent.mkdir()
    known.write_text(f"Metadata-Version: 2.1\nName: vxnet\nVersion: {vxnet.__version__}\n")
    for found in _needed("vxnet", set()):
        _copy_distribution(found, site)
    _copy_libraries(root)
    config = json.dumps(_config(interpreter), indent=2)
    (target / "config.json").write_text(f"{config}\n", encoding="utf-8")


def _needed(name: str, seen: set[str]) -> Iterator[Distribution]:
    """What a distribution depends on, at run time and here; not itself."""
    for requirement in distribution(name).requires or ():
        matched = NAME.match(requirement)
        if matched is None or "extra ==" in requirement or matched[0].lower() in seen:
            continue
        try:
            found = distribution(matched[0])
        except PackageNotFoundError:
            continue  # for another system or an older Python
        seen.add(matched[0].lower())
        yield found
        yield from _needed(matched[0], seen)


def _copy_distribution(found: Distribution, site: Path) -> None:
    for file in found.files or ():
        source = Path(str(file.locate()))
        # What was compiled comes along: dockerd waits 15 s for a plugin to answer.
        if {"..", "tests"} & set(file.parts) or not source.is_file():
            continue  # a command in bin/, or nothing that is needed
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, site / file)


def _copy_libraries(root: Path) -> None:
    """Every shared library that something in the tree loads, where it is loaded from."""
    root = root.resolve()
    programs = [p for p in root.rglob("*") if p.is_file() and (".so" in p.name or os.access(p, 1))]
    firewall = ctypes.util.find_library("nftables")
    wanted = {path for program in programs for path in _libraries_of(program)}
    wanted = {path for path in wanted if not path.is_relative_to(root)}  # a package's own
    if firewall is not None:
        wanted |= set(_libraries_of_name(firewall))
    for path in sorted(wanted):
        _copy(path, root)


def _libraries_of_name(name: str) -> Iterator[Path]:
    """Where the loader finds a library, and what that loads."""
    ctypes.CDLL(name)
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").split()
    for word in sorted({word for word in maps if os.path.basename(word).startswith(name[:-2])}):
        link = Path(word).with_name(name)
        yield link
        yield from _libraries_of(link)


def _libraries_of(program: Path) -> Iterator[Path]:
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    for word in done.stdout.split():
        if word.startswith("/") and ".so" in word:
            yield Path(word)


def _copy(path: Path, root: Path) -> None:
    target = root / path.relative_to("/")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path.resolve(), target)


def _config(interpreter: Path) -> dict[str, Any]:
    """docs.docker.com/engine/extend/config"""
    return {
        "description": "vxnet: one Ethernet for the containers of several hosts, in user space",
        "documentation": "docs/guide.md",
        "entrypoint": [str(interpreter), "-m", "vxnet.daemon.managed"],
        "workdir": "/",
        "interface": {
            "types": ["docker.networkdriver/1.0", "docker.ipamdriver/1.0"],
            "socket": "vxnet.sock",
        },
        "network": {"type": "host"},
        "linux": {
            "capabilities": [
                "CAP_NET_ADMIN",
                "CAP_NET_BROADCAST",
                "CAP_NET_RAW",
                "CAP_SYS_ADMIN",
                "CAP_SYS_PTRACE",
            ],
            "devices": [{"name": "tun", "path": "/dev/net/tun", "settable": ["path"]}],
        },
        "mounts": [
            {
                "name": "sandboxes",
                # The folder above it, since at boot dockerd starts plugins before it makes that.
                "description": "has netns/, the files of containers' namespaces",
                "source": "/var/run/docker",
                "destination": "/run/docker",
                "type": "bind",
                "options": ["rbind", "rslave"],
                "settable": ["source"],
            }
        ],
        "env": [
            {"name": "PYTHONPATH", "value": f"/{SITE}"},
            *(
                {"name": name, "description": text, "value": "", "settable": ["value"]}
                for name, text in SETTINGS.items()
            ),
        ],
    }


def _main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m vxnet.daemon.bundle DIRECTORY")
    target = Path(sys.argv[1])
    try:
        target.mkdir(parents=True)
        build(target)
    except OSError as error:
        sys.exit(f"vxnet: {target}: {error.strerror or error}")


if __name__ == "__main__":
    _main()
