"""The slow runs' bookkeeping: what is there is not run again, and what it comes to is said."""

from pathlib import Path

import pytest

from vxnet.sim.acceptance import CHECKS, Outcome, Task, append, main, read, table, tasks

RULES = {check.rule for check in CHECKS}
CRASH = "P5 a crash is known to all"


def test_every_property_that_is_a_number_is_checked() -> None:
    assert {"P1", "P2", "P4", "P5", "P6", "P7"} == RULES


def test_a_seed_is_whole_before_the_next_begins() -> None:
    seeds = [task.seed for task in tasks([3], 3, RULES)]
    assert seeds == sorted(seeds)
    assert {task.check for task in tasks([3], 1, RULES)} == {check.name for check in CHECKS}


def test_a_run_goes_on_where_it_was_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "runs.csv"
    arguments = ["--sizes", "3", "--only", "P5", "--processes", "1", "--results", str(results)]
    assert main([*arguments, "--seeds", "1"]) == 0
    (first,) = read(results)
    assert main([*arguments, "--seeds", "2"]) == 0
    assert [outcome.task.seed for outcome in read(results)] == [0, 1]
    assert read(results)[0] == first
    assert f"| {CRASH} | 3 | 2 |" in capsys.readouterr().out


def test_what_is_beyond_its_bound_fails_and_is_marked(tmp_path: Path) -> None:
    results = tmp_path / "runs.csv"
    append(results, Outcome(Task(CRASH, 3, 0), (7.5,), 0.1))
    text, whole = table(read(results))
    assert not whole
    assert "7.5 **too much**" in text
    assert main(["--table", "--results", str(results)]) == 1


def test_the_results_in_the_documentation_hold() -> None:
    text, whole = table(read(Path(__file__).parents[2] / "docs" / "gossip-runs.csv"))
    assert whole, text
