"""Conformance: every line is shown by tests, in both datapaths, and none of them failed."""

from docs.conformance import lines, recorded, shown_by


def test_no_test_names_a_line_that_is_not_there() -> None:
    assert shown_by().keys() <= {line.id for line in lines()}


def test_no_recorded_test_failed() -> None:
    failed = [test for test, seen in recorded().items() if set(seen.values()) != {"passed"}]
    assert not failed
