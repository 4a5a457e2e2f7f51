"""The command line, as far as it measures nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.lock import alone

ROOT = Path(__file__).parents[2]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["benchmarks", "benchmarks.throughput"])
def test_peers_and_questions_can_be_listed(module: str) -> None:
    done = bench(module, "--list")
    assert done.returncode == 0
    assert "kernel" in done.stdout
    assert "tcp-1" in done.stdout


def test_an_unknown_peer_is_wrong_usage_and_the_known_ones_are_named() -> None:
    done = bench("benchmarks", "--peer", "carrier-pigeon")
    assert done.returncode == 2
    assert "there is no peer 'carrier-pigeon'" in done.stderr
    assert "kernel" in done.stderr


def test_a_second_run_waits_for_the_first(tmp_path: Path) -> None:
    waited: list[str] = []
    path = tmp_path / "lock"
    with alone(lambda: waited.append("outer"), path):
        script = (
            "import sys; from pathlib import Path; from benchmarks.lock import alone\n"
            "with alone(lambda: print('waits', flush=True), Path(sys.argv[1])): print('in')"
        )
        second = subprocess.Popen(
            [sys.executable, "-c", script, str(path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert second.stdout is not None
        assert second.stdout.readline() == "waits\n"
    assert second.communicate(timeout=30)[0] == "in\n"
    assert waited == []
