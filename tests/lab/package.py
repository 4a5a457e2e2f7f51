"""vxnet itself, as scripts/install takes it where there is no network."""

import hashlib
from pathlib import Path

from tests.lab.cache import made_once
from tests.lab.command import run
from tests.lab.debian import ROOT

__all__ = ["wheel"]

PARTS = ("pyproject.toml", "setup.py", "README.md", "vxnet", "native")
BUILT = {"target", "__pycache__"}


def wheel() -> Path:
    """A folder with the wheel of what is in the repository now, fast datapath included."""
    digest = hashlib.sha256()
    for path in sorted(path for part in PARTS for path in _files(ROOT / part)):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())

    def build(folder: Path) -> None:
        pip = (ROOT / ".venv/bin/python", "-m", "pip")
        run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)

    return made_once("package", digest.hexdigest(), build)


def _files(top: Path) -> list[Path]:
    if top.is_file():
        return [top]
    return [
        path
        for path in top.rglob("*")
        if path.is_file() and path.suffix != ".so" and not BUILT & set(path.parts)
    ]
