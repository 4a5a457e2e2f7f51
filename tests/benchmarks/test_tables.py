"""Tables: what a reader sees of a run."""

from benchmarks.results import Failure
from benchmarks.tables import caption, failures, grids, markdown
from tests.benchmarks.runs import SPEED, WAIT, made_up


def test_each_question_has_a_table_with_a_line_a_peer() -> None:
    run = made_up(
        {
            ("kernel", SPEED): [10.0, 12.0],
            ("vxnet", SPEED): [5.0, 7.2],
            ("kernel", WAIT): [40.0, 42.0],
        }
    )
    speed, wait = grids(run)
    assert speed.title == "TCP, 1 stream"
    assert speed.header == ["", "throughput, Gbit/s", "ratio"]
    assert speed.rows == [["Kernel", "11.00", ""], ["Vxnet", "6.10", "0.55 ±9%"]]
    assert wait.rows == [["Kernel", "41"]]


def test_one_round_has_no_spread() -> None:
    (grid,) = grids(made_up({("kernel", SPEED): [10.0], ("vxnet", SPEED): [5.0]}))
    assert grid.rows[1] == ["Vxnet", "5.00", "0.50"]


def test_thousands_are_set_apart() -> None:
    (grid,) = grids(made_up({("kernel", WAIT): [123456.0]}))
    assert grid.rows == [["Kernel", "123,456"]]


def test_markdown_has_a_table_a_question_whose_lines_are_as_long_as_its_header() -> None:
    run = made_up({("kernel", SPEED): [10.0], ("vxnet", SPEED): [5.0]})
    lines = markdown(run).splitlines()
    assert "`python -m benchmarks`" in lines[0]
    assert "**TCP, 1 stream**" in lines
    assert {line.count("|") for line in lines if "|" in line} == {4}


def test_the_caption_says_how_often_and_on_what_machine() -> None:
    text = caption(made_up({("kernel", SPEED): [1.0, 2.0, 3.0]}))
    assert "3 rounds of 1 s" in text
    assert "2 cores of a processor" in text


def test_what_failed_is_said_in_sentences() -> None:
    run = made_up({("kernel", SPEED): [1.0]})
    run.unavailable = {"n2n": "not installed: edge"}
    run.failures = [Failure(2, "tinc", None, "it ended"), Failure(3, "ovs", "rtt", "no answer")]
    assert list(failures(run)) == [
        "n2n did not take part: not installed: edge",
        "tinc failed at its start in round 2: it ended",
        "ovs failed at rtt in round 3: no answer",
    ]
