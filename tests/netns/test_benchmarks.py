"""The benchmark, for a second: real namespaces, real traffic, kernel VXLAN only."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.results import Results
from vxnet.demo.leftovers import prefixes

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[2]


def test_a_short_run_answers_every_question_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = set(prefixes())
    words = ["--peer", "kernel", "--rounds", "1", "--seconds", "1", "--report", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = Results.load(tmp_path / "results.json")
    asked = {metric.key for metric in results.metrics if metric.key != "memory.mb"}
    answers = {answer.metric: answer.value.median for answer in results.answers()}
    assert set(answers) == asked  # kernel VXLAN has no programs to weigh
    assert all(value > 0 for key, value in answers.items() if not key.endswith(".lost"))
    assert (tmp_path / "report.html").exists()
    assert set(prefixes()) <= before
