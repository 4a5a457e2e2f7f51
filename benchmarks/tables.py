"""Results as tables: for a terminal (rich), and for documents (Markdown)."""

from collections.abc import Iterator

from rich.table import Table

from benchmarks.questions.base import Metric
from benchmarks.results import Answer, Results

__all__ = ["caption", "cell", "failures", "markdown", "number", "terminal"]


def terminal(results: Results) -> Table:
    """A row for each metric, a column for each peer."""
    table = Table()
    table.add_column("")
    for peer in results.peers:
        table.add_column(peer.title, justify="right")
    for row in _rows(results):
        table.add_row(*row)
    return table


def markdown(results: Results) -> str:
    """The same, to paste."""
    head = ["", *(peer.title for peer in results.peers)]
    lines = [head, ["---", *("---:" for _ in results.peers)], *_rows(results)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def failures(results: Results) -> Iterator[str]:
    """What did not take part, or failed, a sentence each."""
    for peer, reason in results.unavailable.items():
        yield f"{peer} did not take part: {reason}"
    for failure in results.failures:
        what = failure.question or "its start"
        yield f"{failure.peer} failed at {what} in round {failure.round}: {failure.reason}"


def caption(results: Results) -> str:
    """How to read the table, and where it comes from."""
    return (
        f"Medians of {results.rounds} rounds of {results.seconds:g} s each; in brackets the ratio "
        f"to {results.baseline}, formed within each round, with its lowest and highest.\n"
        f"{results.machine.sentence()}."
    )


def cell(answer: Answer | None, metric: Metric) -> str:
    """One peer's median, its ratio to the baseline, and that ratio's lowest and highest."""
    if answer is None:
        return "-"
    text = number(answer.value.median, metric)
    if answer.ratio is not None:
        ratio = answer.ratio
        text += f" ({ratio.median:.2f}x, {ratio.low:.2f} to {ratio.high:.2f})"
    return text


def number(value: float, metric: Metric) -> str:
    """With as many decimals as mean something, thousands apart."""
    return f"{value:,.{metric.decimals}f}"


def _rows(results: Results) -> Iterator[list[str]]:
    for metric in results.metrics:
        answers = [results.answer(peer.name, metric.key) for peer in results.peers]
        if any(answers):
            cells = [cell(answer, metric) for answer in answers]
            yield [f"{metric.title}, {metric.unit}", *cells]
