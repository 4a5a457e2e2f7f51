"""The report: one file that needs nothing else."""

import re
from pathlib import Path

from benchmarks import plots
from benchmarks.report import page, write
from benchmarks.results import Entrant, Results
from tests.benchmarks.runs import SPEED, WAIT, made_up

PNG = b"\x89PNG\r\n\x1a\n"


def a_run() -> Results:
    return made_up(
        {
            ("kernel", SPEED): [10.0, 11.0],
            ("vxnet-native", SPEED): [8.0, 9.0],
            ("kernel", WAIT): [40.0, 42.0],
        }
    )


def test_the_report_loads_nothing_from_elsewhere() -> None:
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page(a_run()))
    assert len(sources) == 3  # the headline and a picture a question
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_what_peers_are_called_can_not_become_markup() -> None:
    run = a_run()
    run.peers[0] = Entrant("kernel", "<script>alert(1)</script>")
    assert "<script>" not in page(run)


def test_report_numbers_and_pictures_lie_side_by_side(tmp_path: Path) -> None:
    write(a_run(), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"report.html", "results.json", "headline.png", "tcp-1.png", "rtt.png"}
    assert (tmp_path / "out" / "headline.png").read_bytes().startswith(PNG)


def test_a_question_that_nobody_answered_has_no_picture() -> None:
    assert plots.bars(made_up({("kernel", SPEED): [1.0]}), [WAIT]) is None
