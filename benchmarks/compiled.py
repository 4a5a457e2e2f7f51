"""The gossip and its simulator as machine code, for the simulator's runs of hours.

python -m benchmarks.compiled build/sim       then PYTHONPATH=build/sim python -P -m vxnet.sim...

mypyc makes a copy of the very same modules about 1.7 times as fast. Whether the copy is the same
is seen before it is used: a storm has to leave the trace that the interpreted modules leave, which
is a hash over every datagram of it and its time.
"""

import argparse
import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.process import run
from benchmarks.script import script
from vxnet.errors import HostError

__all__ = ["build", "current", "main"]

ROOT = Path(__file__).resolve().parent.parent

COMPILED = (
    "vxnet/gossip/*.py",
    "vxnet/sim/clock.py",
    "vxnet/sim/cluster.py",
    "vxnet/sim/host.py",
    "vxnet/sim/network.py",
)
INTERPRETED = ("__init__.py", "events.py", "settings.py")
"""Values only, which gain nothing."""

STAMP = "made-of"
"""A file in the directory that says which sources the copy was made of."""

SETUP = """
from mypyc.build import mypycify
from setuptools import setup
setup(name="compiled", packages=[], ext_modules=mypycify(
    {modules!r} + ["--ignore-missing-imports", "--follow-imports=silent"],
    opt_level="3", debug_level="0"))
"""

COMPILES_WITHIN_S = 1_200.0  # a minute, where nothing else runs

STORM = "from vxnet.sim.storm import weather; print(weather(5, 7, length_s=5.0).trace, end='')"


def digest() -> str:
    """What a copy depends on: the sources and the interpreter."""
    found = hashlib.sha256(sys.version.encode())
    for path in _sources():
        found.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def current(directory: Path) -> bool:
    """Whether a copy is there that was made of these sources."""
    stamp = directory / STAMP
    return stamp.is_file() and stamp.read_text() == digest()


def build(directory: Path) -> None:
    """Make the copy. Raises HostError where there is no compiler, or the copy behaves otherwise."""
    made_of = digest()
    (directory / STAMP).unlink(missing_ok=True)
    shutil.rmtree(directory / "vxnet", ignore_errors=True)
    for path in _sources():
        copy = directory / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    modules = [
        str(path.relative_to(ROOT))
        for pattern in COMPILED
        for path in sorted(ROOT.glob(pattern))
        if path.name not in INTERPRETED
    ]
    (directory / "setup.py").write_text(SETUP.format(modules=modules))
    command = (sys.executable, "setup.py", "-q", "build_ext", "--inplace")
    try:
        run(command, cwd=directory, timeout_s=COMPILES_WITHIN_S)
    except HostError as error:
        raise HostError(
            "mypyc could not compile the gossip (a C compiler and Python's headers are needed:"
            f" Debian's gcc and python3-dev): {str(error).splitlines()[-1]}"
        ) from None
    interpreted, compiled = (_trace(path) for path in (ROOT, directory))
    if interpreted != compiled:
        raise HostError(
            f"compiled, a storm leaves the trace {compiled}, and interpreted {interpreted}:"
            " runs of the copy would say nothing about the gossip"
        )
    (directory / STAMP).write_text(made_of)


def _sources() -> list[Path]:
    return sorted((ROOT / "vxnet").rglob("*.py"))


def _trace(path: Path) -> str:
    return run((sys.executable, "-P", "-c", STORM), env={**os.environ, "PYTHONPATH": str(path)})


def main(arguments: Sequence[str] | None = None) -> int:
    """Build into a directory and say so."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compiled",
        description="Compile the gossip and its simulator with mypyc; the copy has the same trace.",
    )
    parser.add_argument("directory", type=Path, help="where the copy of vxnet goes")
    directory = parser.parse_args(arguments).directory.resolve()
    try:
        if current(directory):
            return 0
        print("compiling the gossip, about a minute", file=sys.stderr)
        build(directory)
    except OSError as error:
        raise HostError(f"{directory}: {error.strerror}") from None
    print("compiled; a storm leaves the same trace as interpreted", file=sys.stderr)
    return 0


if __name__ == "__main__":
    script(main)
