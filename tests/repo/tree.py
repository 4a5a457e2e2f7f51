"""The files of the repository, as the tests of its rules see them."""

import ast
import subprocess
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "modules", "parsed", "tracked"]

ROOT = Path(__file__).parents[2]


@cache
def tracked() -> tuple[Path, ...]:
    """What is, or is about to be, in the repository: neither ignored nor deleted."""
    # root may well run the tests in somebody else's clone
    git = ["git", "-c", "safe.directory=*"]
    listing = subprocess.run(
        [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = (ROOT / name for name in listing.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def modules(*folders: str) -> tuple[Path, ...]:
    """Every Python module in these folders."""
    return tuple(
        path
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders
    )


@cache
def parsed(path: Path) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))
