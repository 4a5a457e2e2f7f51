"""Records what became of the tests that show lines of conformance, for docs/conformance.md."""

import json
import re

import pytest

from docs.conformance import RESULTS, Outcomes, column_of, recorded, shown_by

__all__ = ["Recorder"]


class Recorder:
    """A pytest plugin; it is in use with `--record-conformance`."""

    def __init__(self) -> None:
        self._outcomes: Outcomes = {}
        self._marked = {test for tests in shown_by().values() for test in tests}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test's outcome; one bad case, or a bad setup, makes it fail in its column."""
        name, _, parameters = report.nodeid.partition("[")
        if name not in self._marked or (report.when != "call" and report.passed):
            return
        for column in column_of(re.findall(r"[a-z0-9]+", parameters)):
            seen = self._outcomes.setdefault(name, {})
            if seen.get(column) != "failed":
                seen[column] = "passed" if report.passed else "failed"

    def pytest_sessionfinish(self) -> None:
        """Put what was seen beside what was recorded before, of tests that are still there."""
        before = recorded() if RESULTS.exists() else {}
        outcomes = {
            test: {**before.get(test, {}), **self._outcomes.get(test, {})}
            for test in sorted(self._marked & (before.keys() | self._outcomes.keys()))
        }
        RESULTS.write_text(json.dumps(outcomes, indent=1, sort_keys=True) + "\n", encoding="utf-8")
