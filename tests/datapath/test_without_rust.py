"""vxnet where it was installed without a Rust toolchain, or without the crates' registry."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.repo.tree import ROOT, tracked

SAY_WHICH = """
import sys

# The environment's own vxnet is not to lend its native module.
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]

from vxnet.datapath.select import select
from vxnet.errors import ConfigError
from vxnet.wire.addr import Vtep, parse_ip

vtep = Vtep(parse_ip("127.0.0.1"), 4789)
print(select("auto", vtep)[1])
try:
    select("native", vtep)
except ConfigError as error:
    print(error)
"""
EMPTY = "nothing"


@pytest.mark.parametrize("lacking", ["the compiler", "the registry"])
def test_it_installs_and_says_that_the_native_module_was_not_built(
    lacking: str, tmp_path: Path
) -> None:
    clone, installed = tmp_path / "clone", tmp_path / "installed"
    for path in tracked():
        target = clone / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "--wheel-dir", tmp_path, clone],
        check=True,
        timeout=300,
        env=without(lacking, tmp_path),
    )
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(installed)

    said = subprocess.run(
        [sys.executable, "-c", SAY_WHICH],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=installed,
    ).stdout.splitlines()

    assert said == [
        "pure: the native module was not built",
        'datapath "native" was asked for, but the native module was not built; '
        'install vxnet where a Rust toolchain is, or set [node] datapath = "auto"',
    ]


def without(lacking: str, place: Path) -> dict[str, str]:
    """An environment where Rust is not found, or is found and may not fetch anything."""
    env = dict(os.environ)
    env.pop("VXNET_REQUIRE_NATIVE", None)
    if lacking == "the registry":
        # No crate is in an empty home, and none may be fetched.
        return env | {"CARGO_HOME": str(place / EMPTY), "CARGO_NET_OFFLINE": "true"}
    folders = [
        folder
        for folder in env["PATH"].split(os.pathsep)
        if not any((Path(folder) / program).exists() for program in ("cargo", "rustc"))
    ]
    return env | {"PATH": os.pathsep.join(folders)}
