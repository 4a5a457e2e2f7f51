"""A run as one HTML file that needs nothing else, with its pictures and numbers beside it."""

import base64
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import plots, tables
from benchmarks.results import Results

__all__ = ["OVERLAYS", "About", "page", "write"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1d2b33; background: #fff }
h2 { margin-top: 2.5rem }
img { max-width: 100%; display: block }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #d5dde2; text-align: right;
         white-space: nowrap }
th:first-child, td:first-child { text-align: left }
.wide { overflow-x: auto }
.quiet { color: #5b6b75 }
code { background: #eef2f4; padding: .1rem .3rem; border-radius: 3px }
"""


@dataclass(frozen=True, slots=True)
class About:
    """What a kind of run is called, how it measures (HTML), and what its first picture shows."""

    title: str
    method: str
    headline: Sequence[str]


METHOD = """
Every round gives every peer a fresh pair of network namespaces joined by one veth pair, in turn,
each round beginning with another peer. A ratio is formed within its round, so that a machine that
speeds up or slows down in between does not show. The ends of the traffic sit behind a bridge and a
veth pair with kernel VXLAN and Docker, as containers do; every other peer's own TUN or TAP device
is moved to the end itself, which is its best case. CPU is that of the whole machine, soft
interrupts and traffic tools included, for each gigabyte (10<sup>9</sup> bytes) that arrived.
Small datagrams are sent as fast as one sender can; what a peer cannot carry is lost.
What a million entries and a thousand networks cost is a run of its own:
<code>python -m benchmarks.scale</code>.
"""

OVERLAYS = About("vxnet beside other overlays", METHOD, plots.HEADLINE)


def write(results: Results, directory: Path, about: About = OVERLAYS) -> None:
    """Write `report.html`, `results.json`, `headline.png` and a picture a question."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_bytes(results.document())
    (directory / "report.html").write_text(page(results, about))
    for name, picture in _pictures(results, about):
        (directory / f"{name}.png").write_bytes(picture)


def page(results: Results, about: About = OVERLAYS) -> str:
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{_text(about.title)}</title>\n<style>{STYLE}</style>\n"
        + "".join(_body(results, about))
        + "</html>\n"
    )


def _body(results: Results, about: About) -> Iterator[str]:
    yield f"<h1>{_text(about.title)}</h1>\n"
    yield f"<p>{_text(tables.caption(results))}</p>\n"
    yield f'<p class="quiet"><code>{_text(results.command)}</code>, {_text(results.started)}</p>\n'
    first = plots.headline(results, about.headline)
    if first is not None:
        yield _image(first, "The headline")
    goals = tables.goals(results)
    if goals is not None:
        yield f"<h2>{_text(goals.title)}</h2>\n{_table(goals)}"
    topics = tables.topics(results)
    for grid in tables.grids(results):
        yield f"<h2>{_text(grid.title)}</h2>\n"
        picture = plots.bars(results, topics[grid.title])
        if picture is not None:
            yield _image(picture, grid.title)
        yield _table(grid)
    sentences = list(tables.failures(results))
    if sentences:
        items = "".join(f"<li>{_text(sentence)}</li>\n" for sentence in sentences)
        yield f"<h2>What is missing</h2>\n<ul>\n{items}</ul>\n"
    yield f"<h2>How it is measured</h2>\n<p>{about.method}</p>\n"


def _pictures(results: Results, about: About) -> Iterator[tuple[str, bytes]]:
    first = plots.headline(results, about.headline)
    if first is not None:
        yield "headline", first
    for metrics in tables.topics(results).values():
        picture = plots.bars(results, metrics)
        if picture is not None:
            yield metrics[0].key.partition(".")[0], picture


def _table(grid: tables.Grid) -> str:
    head = "".join(f"<th>{_text(heading)}</th>" for heading in grid.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>\n" for row in grid.rows
    )
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{rows}</table></div>\n'


def _image(picture: bytes, about: str) -> str:
    data = base64.b64encode(picture).decode()
    return f'<img alt="{_text(about)}" src="data:image/png;base64,{data}">\n'


def _text(words: str) -> str:
    return html.escape(words)
