"""Conformance: every line is shown by tests, and none of them failed when last recorded."""

import pytest

from docs.conformance import Line, lines, recorded, shown_by


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.id)
def test_every_line_is_shown_by_a_test(line: Line) -> None:
    assert shown_by().get(line.id)


def test_no_test_names_a_line_that_is_not_there() -> None:
    assert shown_by().keys() <= {line.id for line in lines()}


def test_no_recorded_test_failed() -> None:
    failed = [test for test, seen in recorded().items() if set(seen.values()) != {"passed"}]
    assert not failed
