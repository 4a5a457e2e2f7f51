"""`vxnet sim`: what it says of a run, that it says it again, and what it says of bad input."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vxnet.cli.app import app

RUN = ["sim", "-n", "6", "--loss", "0.05", "--partition", "3:3@2s-20s", "--crash", "60"]


def said(*arguments: str) -> dict[str, Any]:
    """The JSON document of a run."""
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_run_says_what_came_of_updates_splits_and_crashes_and_draws_it(tmp_path: Path) -> None:
    picture = tmp_path / "run.png"
    report = said(*RUN, "--length", "72", "--plot", str(picture))
    assert len(report["updates_s"]) == 10  # none while split, none that could not arrive in time
    assert all(0 < took < 2.0 for took in report["updates_s"])
    assert [0 < took < 15.0 for took in report["healed_s"]] == [True]
    assert 1.0 < report["crash_known_s"] < 9.0
    assert report["false_deaths"] == 0
    assert min(sample["members_held"] for sample in report["samples"]) < 0.5
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_says_the_same_and_another_does_not() -> None:
    short = ["sim", "-n", "4", "--length", "3", "--join"]
    assert said(*short) == said(*short)
    assert said(*short)["trace"] != said(*short, "--seed", "2")["trace"]
    assert 0 < said(*short)["joined_s"] < 2.0


def test_people_get_a_table() -> None:
    done = CliRunner().invoke(app, ["sim", "-n", "3", "--length", "8"])
    assert done.exit_code == 0
    for words in ("an update is with the last node", "(1 of 1 arrived)", "B/s with IP and UDP"):
        assert words in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nodes", "1"], "1 is not in the range"),
        (["-n", "4", "--partition", "2:1@1s-2s"], "have 3 nodes, not 4"),
        (["-n", "4", "--partition", "2:2@5s-2s"], "ends before it begins"),
        (["-n", "4", "--partition", "half"], "write it like 500:500@10s-60s"),
        (["--profile", "moon"], "'moon' is neither lan nor wan"),
        (["--plot", "/nonexistent/run.png"], "/nonexistent is no directory"),
        (["--plot", "/tmp"], "does not end in .png"),
    ],
)
def test_bad_input_is_answered_by_a_sentence(arguments: list[str], words: str) -> None:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["sim", *arguments])
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())
