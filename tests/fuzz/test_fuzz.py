"""Every fuzz target, briefly: what chance brings, what was found before, and a second's hunt."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS
from vxnet.errors import WireError

CORPUS = Path(__file__).parent / "corpus"
SECONDS = int(os.environ.get("VXNET_FUZZ_SECONDS", "1"))


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@hypothesis_settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_any_octets_are_read_or_refused(target: Callable[[bytes], object], data: bytes) -> None:
    with suppress(WireError):
        target(data)


@pytest.mark.parametrize("name", TARGETS)
def test_everything_the_fuzzer_ever_found_is_read_or_refused(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        with suppress(WireError):
            TARGETS[name](path.read_bytes())


@pytest.mark.timeout(120 + SECONDS)
@pytest.mark.parametrize("name", TARGETS)
def test_the_fuzzer_finds_nothing_in_a_short_run(name: str, tmp_path: Path) -> None:
    shutil.copytree(CORPUS / name, tmp_path / name)
    # A drawn seed: each run looks elsewhere, so that the time of many runs adds up.
    arguments = [f"--seconds={SECONDS}", f"--corpus={tmp_path}", "--seed=0"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", name, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100 + SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done" in done.stderr  # the engine ran, and came to its end
