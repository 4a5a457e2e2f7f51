"""How answers are shown: one JSON document, or tables and lines for people."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import typer

__all__ = ["line", "pairs", "print_json", "table"]


def print_json(document: Any) -> None:
    """The document as the API gave it."""
    typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))


def line(text: str) -> None:
    """A line of something that goes on, seen at once also in a pipe."""
    typer.echo(text)
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Aligned columns, or the sentence where there are no rows. Nothing is cut off in a pipe."""
    texts = [[_text(cell) for cell in row] for row in rows]
    if not texts:
        typer.echo(empty)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
        for line in (columns, *texts):
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            typer.echo("  ".join(cells).rstrip())
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in texts:
        grid.add_row(*row)
    console.print(grid, markup=False)


def pairs(rows: Iterable[tuple[str, object]]) -> None:
    """A name and a value a line."""
    lines = [(name, _text(value)) for name, value in rows]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        typer.echo(f"{name.ljust(width)}  {value}")


def _text(cell: object) -> str:
    match cell:
        case None | "" | ():
            return "-"
        case tuple() | list():
            return ", ".join(map(str, cell))
        case dict():
            return ", ".join(f"{key} {value}" for key, value in cell.items()) or "none"
        case _:
            return str(cell)
