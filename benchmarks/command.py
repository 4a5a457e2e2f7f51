"""The command line that the short and the whole benchmark share."""

import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import tables
from benchmarks.bed import sweep
from benchmarks.catalogue import BASELINE, PEERS, QUESTIONS
from benchmarks.lock import alone
from benchmarks.peers.base import Peer
from benchmarks.report import write as write_report
from benchmarks.results import Results
from benchmarks.runner import Plan, carry_out
from vxnet.errors import VxnetError

__all__ = ["Preset", "app"]

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Preset:
    """What a command measures unless told otherwise. Empty: everything there is."""

    module: str
    help: str
    peers: Sequence[str] = ()
    questions: Sequence[str] = ()
    rounds: int = 5
    seconds: int = 4
    quick_questions: Sequence[str] = ()
    quick_rounds: int = 3
    quick_seconds: int = 2


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def app(preset: Preset) -> Callable[[], None]:
    """A command with this preset."""

    def main(
        peer: Annotated[
            list[str] | None, typer.Option(help="Only this peer; may be given several times.")
        ] = None,
        question: Annotated[
            list[str] | None, typer.Option(help="Only this question; likewise.")
        ] = None,
        rounds: Annotated[
            int | None, typer.Option(min=1, help="How often each is measured.")
        ] = None,
        seconds: Annotated[int | None, typer.Option(min=1, help="How long each time.")] = None,
        quick: Annotated[bool, typer.Option("--quick", help="Under five minutes.")] = False,
        json: Annotated[
            Path | None, typer.Option(help="Write all results here; - is standard output.")
        ] = None,
        report: Annotated[
            Path | None, typer.Option(help="Write an HTML report, plots and JSON into this folder.")
        ] = None,
        markdown: Annotated[bool, typer.Option("--markdown", help="Tables to paste.")] = False,
        list_all: Annotated[
            bool, typer.Option("--list", help="Name peers and questions, and stop.")
        ] = False,
    ) -> None:
        if list_all:
            _list()
            return
        try:
            peers = _chosen(PEERS, peer or preset.peers, "peer")
            asked = question or (preset.quick_questions if quick else ()) or preset.questions
            questions = _chosen(QUESTIONS, asked, "question")
        except ValueError as error:
            console.print(str(error), style="red", markup=False)
            raise typer.Exit(2) from None
        unavailable = {p.name: reason for p in peers if (reason := p.missing()) is not None}
        for name, reason in unavailable.items():
            console.print(f"{name} does not take part: {reason}", markup=False)
        plan = Plan(
            peers=[p for p in peers if p.name not in unavailable],
            questions=questions,
            rounds=rounds or (preset.quick_rounds if quick else preset.rounds),
            seconds=seconds or (preset.quick_seconds if quick else preset.seconds),
            baseline=BASELINE,
            command=shlex.join(["python", "-m", preset.module, *sys.argv[1:]]),
        )
        try:
            results = _run(plan)
        except VxnetError as error:
            console.print(str(error), style="red", markup=False)
            raise typer.Exit(1) from None
        results.unavailable = unavailable
        _tell(results, json, markdown)
        if report is not None:
            write_report(results, report)
        if results.failures:
            raise typer.Exit(1)

    main.__doc__ = preset.help
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(main)
    return command


def _chosen(known: Iterable[N], names: Sequence[str], kind: str) -> list[N]:
    by_name = {one.name: one for one in known}
    for name in names:
        if name not in by_name:
            raise ValueError(f"there is no {kind} {name!r}; there are: {', '.join(by_name)}")
    return [by_name[name] for name in names] if names else list(by_name.values())


def _run(plan: Plan) -> Results:
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with (
        alone(lambda: console.print("another benchmark is running; waiting for it to end")),
        Progress(*columns, console=console, transient=True) as progress,
    ):
        sweep()
        task = progress.add_task("looks at the machine", total=1.0)
        return carry_out(
            plan, lambda what, share: progress.update(task, description=what, completed=share)
        )


def _tell(results: Results, json: Path | None, markdown: bool) -> None:
    if json == Path("-"):
        sys.stdout.write(results.document().decode())
    else:
        if json is not None:
            json.write_bytes(results.document())
        for grid in tables.grids(results):
            if markdown:
                sys.stdout.write(tables.markdown(grid) + "\n")
            else:
                tables.show(grid)
        console.print(tables.caption(results), markup=False, highlight=False)
    for sentence in tables.failures(results):
        console.print(sentence, markup=False)


def _peer_line(peer: Peer) -> str:
    reason = peer.missing()
    return f"  {peer.name:14} {peer.title}" + ("" if reason is None else f"   ({reason})")


def _list() -> None:
    lines = ["Peers:", *map(_peer_line, PEERS), "Questions:"]
    lines += [f"  {question.name:14} {question.title}" for question in QUESTIONS]
    Console().print("\n".join(lines), markup=False, highlight=False)
