"""Writes docs/conformance.md: each line of conformance, and the tests that show it.

The tests name the lines they show by the marker `conformance`; what became of them is what the last
recorded run saw: `scripts/test -m conformance --record-conformance`.
"""

import ast
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["COLUMNS", "RESULTS", "Line", "column_of", "lines", "page", "recorded", "shown_by"]

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
RESULTS = FOLDER / "conformance-results.json"

COLUMNS = ("shared", "pure", "native", "linux", "ovs")
"""Where a line is shown: the core both datapaths rest on, each of them, and the far ends."""

Outcomes = dict[str, dict[str, str]]
"""By test, by column: `passed` or `failed`."""


@dataclass(frozen=True, slots=True)
class Line:
    """A requirement."""

    id: str
    section: str
    text: str


def lines() -> list[Line]:
    """All of them, in order."""
    sections = tomllib.loads((FOLDER / "conformance.toml").read_text(encoding="utf-8"))
    return [
        Line(key, section["title"], text)
        for section in sections.values()
        for key, text in section.items()
        if key != "title"
    ]


def column_of(words: list[str]) -> list[str]:
    """The columns a test counts in, by the words of its parameters; the shared core by none."""
    return [column for column in COLUMNS[1:] if column in words] or ["shared"]


def shown_by() -> dict[str, list[str]]:
    """The tests that name each line, as `tests/file.py::name`."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, ids in _marked(ast.parse(path.read_text(encoding="utf-8"))):
            for one in ids:
                found.setdefault(one, []).append(f"{path.relative_to(ROOT)}::{name}")
    return found


def _marked(module: ast.Module) -> Iterator[tuple[str, list[str]]]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            ids = [one for decorator in node.decorator_list for one in _ids(decorator)]
            if ids:
                yield node.name, ids


def _ids(decorator: ast.expr) -> list[str]:
    match decorator:
        case ast.Call(func=ast.Attribute(attr="conformance"), args=arguments):
            return [one.value for one in arguments if isinstance(one, ast.Constant)]
    return []


def recorded() -> Outcomes:
    """What the last recorded run saw."""
    outcomes: Outcomes = json.loads(RESULTS.read_text(encoding="utf-8"))
    return outcomes


def page() -> str:
    """The document."""
    tests, outcomes = shown_by(), recorded()
    parts = [
        "# Conformance\n",
        "<!-- Made by docs/conformance.py from the tests; edit docs/conformance.toml. -->\n",
        "What a correct VTEP does, and which tests show that this one does it: in the core that "
        "both datapaths share, in each datapath, and with Linux's vxlan device or Open vSwitch at "
        "the far end. A cell says how many tests there are and what became of them in the last "
        "recorded run, `scripts/test -m conformance --record-conformance`.\n",
    ]
    section = ""
    for line in lines():
        if line.section != section:
            section = line.section
            parts.append(f"\n## {section}\n")
            parts.append("| id | requirement | shared | pure | native | Linux | OVS |")
            parts.append("|---|---|---|---|---|---|---|")
        cells = [_cell(tests.get(line.id, []), outcomes, column) for column in COLUMNS]
        parts.append(f"| {line.id} | {line.text} | {' | '.join(cells)} |")
    parts.append("\n## The tests\n")
    for line in lines():
        shown = ", ".join(_short(test) for test in tests.get(line.id, []))
        parts.append(f"- **{line.id}**: {shown}")
    return "\n".join(parts) + "\n"


def _cell(tests: list[str], outcomes: Outcomes, column: str) -> str:
    seen = [outcomes[test][column] for test in tests if column in outcomes.get(test, {})]
    failed = sum(outcome != "passed" for outcome in seen)
    if failed:
        return f"**{failed} of {len(seen)} fail**"
    return f"pass ({len(seen)})" if seen else ""


def _short(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[{name.removeprefix('test_').replace('_', ' ')}](../{file})"
