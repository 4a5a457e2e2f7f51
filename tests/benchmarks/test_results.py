"""What follows from the measurements of a run."""

from pathlib import Path

import pytest

from benchmarks.results import Results
from tests.benchmarks.runs import SPEED, WAIT, made_up
from vxnet.errors import ConfigError


def test_a_ratio_is_formed_within_each_round_before_the_median_is_taken() -> None:
    # The machine was half as fast in the second round; both peers saw it.
    run = made_up({("kernel", SPEED): [10.0, 5.0, 10.0], ("vxnet", SPEED): [5.0, 2.5, 8.0]})
    answer = run.answer("vxnet", SPEED.key)
    assert answer is not None
    assert answer.ratio is not None
    assert answer.value.median == 5.0
    assert (answer.ratio.low, answer.ratio.median, answer.ratio.high) == (0.5, 0.5, 0.8)


def test_the_baseline_has_no_ratio_to_itself() -> None:
    answer = made_up({("kernel", SPEED): [10.0]}).answer("kernel", SPEED.key)
    assert answer is not None
    assert answer.ratio is None


def test_a_peer_without_a_baseline_beside_it_has_a_median_and_no_ratio() -> None:
    answer = made_up({("vxnet", SPEED): [3.0]}).answer("vxnet", SPEED.key)
    assert answer is not None
    assert answer.value.median == 3.0
    assert answer.ratio is None


def test_a_run_written_to_a_file_is_read_back_the_same(tmp_path: Path) -> None:
    run = made_up({("kernel", SPEED): [10.0, 9.0], ("kernel", WAIT): [40.0, 41.0]})
    (tmp_path / "run.json").write_bytes(run.document())
    assert Results.load(tmp_path / "run.json") == run


def test_a_file_that_is_something_else_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"command": 7}')
    with pytest.raises(ConfigError, match=r"run\.json does not hold a run's results"):
        Results.load(tmp_path / "run.json")


def test_the_document_holds_the_answers_beside_the_measurements() -> None:
    document = made_up({("kernel", SPEED): [10.0, 9.0]}).document().decode()
    assert '"answers"' in document
    assert '"median": 9.5' in document


def test_what_was_never_asked_has_no_answer() -> None:
    run = made_up({("kernel", SPEED): [10.0]})
    assert run.answer("kernel", "nothing") is None
    assert len(run.answers()) == 1
