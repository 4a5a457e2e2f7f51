"""Results as tables: for a terminal (rich), and for documents (Markdown). One table a question."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.goals import Goal, verdicts
from benchmarks.questions.base import Metric
from benchmarks.results import Results
from benchmarks.stats import Summary

__all__ = ["Grid", "caption", "failures", "goals", "grids", "markdown", "number", "show", "topics"]


WIDE = 200  # columns; no table needs as many


@dataclass(frozen=True, slots=True)
class Grid:
    """A table before it looks like anything."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def grids(results: Results) -> Iterator[Grid]:
    """A table for each question: a line a peer; for each metric its median and its ratio."""
    for topic, metrics in topics(results).items():
        columns = [column for metric in metrics for column in _columns(results, metric)]
        rows = [
            [peer.title, *cells]
            for peer, *cells in zip(results.peers, *(c.cells for c in columns), strict=True)
            if any(cells)
        ]
        if rows:
            yield Grid(topic, ["", *(column.heading for column in columns)], rows)


def goals(results: Results) -> Grid | None:
    """What vxnet is held to, and whether this run shows it; None when it says nothing of that."""
    rows = [
        (v.goal.title, f"{v.value:.2f}", f"{v.goal.must:g}", _aim(v.goal), v.word)
        for v in verdicts(results)
    ]
    return Grid("Goals", ("", "measured", "must", "aim", ""), rows) if rows else None


def topics(results: Results) -> dict[str, list[Metric]]:
    """The metrics by the question they answer."""
    found: dict[str, list[Metric]] = {}
    for metric in results.metrics:
        found.setdefault(metric.topic, []).append(metric)
    return found


def show(grid: Grid) -> None:
    """Print it, as wide as it is: a terminal that is too narrow wraps, but nothing is cut off."""
    table = Table(title=grid.title, title_justify="left", title_style="bold")
    for number_, heading in enumerate(grid.header):
        table.add_column(heading, justify="right" if number_ else "left", no_wrap=True)
    for row in grid.rows:
        table.add_row(*row)
    Console(width=WIDE).print(table)


def markdown(results: Results) -> str:
    """All tables and how to read them, for documents."""
    parts = [f"{caption(results)} Made on {results.started[:10]} by `{results.command}`.\n"]
    held_to = goals(results)
    for grid in [*([held_to] if held_to else []), *grids(results)]:
        lines = [grid.header, ["---", *("---:" for _ in grid.header[1:])], *grid.rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"**{grid.title}**\n\n{body}\n")
    return "\n".join(parts)


def caption(results: Results) -> str:
    """How to read the tables, and where they come from."""
    plural = "s" if results.rounds > 1 else ""
    return (
        f"Medians of {results.rounds} round{plural} of {results.seconds} s; ratios are to "
        f"{results.baseline}, formed within each round, ± half their range. "
        f"{results.machine.sentence()}."
    )


def failures(results: Results) -> Iterator[str]:
    """What did not take part, or failed, a sentence each."""
    for peer, reason in results.unavailable.items():
        yield f"{peer} did not take part: {reason}"
    for failure in results.failures:
        what = failure.question or "its start"
        yield f"{failure.peer} failed at {what} in round {failure.round}: {failure.reason}"


def number(value: float, metric: Metric) -> str:
    """With as many decimals as mean something, thousands apart."""
    return f"{value:,.{metric.decimals}f}"


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    cells: Sequence[str]  # one a peer, empty where there is nothing to say


def _aim(goal: Goal) -> str:
    return "" if goal.aim is None else f"{goal.aim:g}"


def _columns(results: Results, metric: Metric) -> Iterator[_Column]:
    answers = [results.answer(peer.name, metric.key) for peer in results.peers]
    values = [number(a.value.median, metric) if a else "" for a in answers]
    yield _Column(f"{metric.label}, {metric.unit}", values)
    if any(a and a.ratio for a in answers):
        yield _Column("ratio", [_ratio(a.ratio) if a and a.ratio else "" for a in answers])


def _ratio(ratio: Summary) -> str:
    return f"{ratio.median:.2f}" + (f" ±{ratio.spread:.0%}" if ratio.count > 1 else "")
