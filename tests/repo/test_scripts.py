"""scripts/ as someone with a fresh clone meets it, with stand-ins for Python and apt."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.repo.tree import ROOT

RECORDING = '#!/bin/sh\n# made for {home}/.venv/\necho "$0 $*" >>"{home}/calls"\nexit {status}\n'


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose environment exists already; its interpreter only writes down its calls."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("python", "pip"):
        executable(tmp_path / ".venv/bin" / name, RECORDING.format(home=tmp_path, status=0))
    return tmp_path


def run(
    clone: Path, *command: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [clone / command[0], *command[1:]],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        timeout=60,
    )


def installs(clone: Path) -> list[str]:
    calls = (clone / "calls").read_text().splitlines()
    return [line.partition(" install -qq")[2].split()[-1] for line in calls if " install " in line]


def test_setup_installs_each_group_once_and_again_when_the_requirements_changed(
    clone: Path,
) -> None:
    for groups in ((), ("run",), ("test",), ("bench",)):
        assert run(clone, "scripts/setup", *groups).returncode == 0
    assert installs(clone) == [".[test,dev]", ".[bench]"]

    silent = run(clone, "scripts/setup")
    assert (silent.stdout, silent.stderr) == ("", "")

    with (clone / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    assert run(clone, "scripts/setup", "run").returncode == 0
    assert installs(clone) == [".[test,dev]", ".[bench]", "."]


def test_setup_refuses_a_group_that_does_not_exist(clone: Path) -> None:
    done = run(clone, "scripts/setup", "tests")
    assert done.returncode == 1
    assert done.stderr == "setup: there is no group 'tests': run, test, dev or bench\n"


def test_setup_says_which_packages_it_installs_and_what_apt_said_when_it_failed(
    clone: Path,
) -> None:
    packages = clone / "scripts/debian-packages"
    packages.write_text("run  vx-one  vx-no-such-command  x\ntest  vx-two  vx-no-such-either  y\n")
    executable(clone / "bin/apt-get", '#!/bin/sh\necho "E: said by apt"\nexit 100\n')
    executable(clone / "bin/id", "#!/bin/sh\necho 0\n")
    path = f"{clone}/bin:{os.environ['PATH']}"

    done = run(clone, "scripts/setup", "run", env={"PATH": path})

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "setup: installing Debian packages: vx-one",
        "E: said by apt",
        "E: said by apt",
        "setup: apt-get could not install: vx-one",
    ]


def test_setup_without_root_says_the_command_that_root_must_run(clone: Path) -> None:
    packages = clone / "scripts/debian-packages"
    packages.write_text("run  vx-one  vx-no-such-command  x\n")
    executable(clone / "bin/apt-get", "#!/bin/sh\nexit 0\n")
    executable(clone / "bin/id", "#!/bin/sh\necho 1000\n")
    path = f"{clone}/bin:{os.environ['PATH']}"

    done = run(clone, "scripts/setup", "run", env={"PATH": path})

    assert done.returncode == 1
    assert "sudo apt-get install vx-one" in done.stderr


def test_setup_names_the_interpreter_that_is_too_old(clone: Path) -> None:
    shutil.rmtree(clone / ".venv")
    executable(clone / "bin/python3", "#!/bin/sh\nexit 1\n")

    done = run(clone, "scripts/setup", "run", env={"PYTHON": f"{clone}/bin/python3"})

    assert done.returncode == 1
    assert "is not Python 3.11 or newer" in done.stderr


@pytest.mark.parametrize("script", ["scripts/test", "scripts/bench"])
def test_a_script_sets_up_and_hands_its_arguments_on(clone: Path, script: str) -> None:
    assert run(clone, script, "--some", "argument").returncode == 0
    calls = (clone / "calls").read_text().splitlines()
    assert calls[-1].endswith(" --some argument")
    assert installs(clone)
