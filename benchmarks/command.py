"""The command line that the short and the whole benchmark share."""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import tables
from benchmarks.bed import sweep
from benchmarks.catalogue import PEERS, QUESTIONS
from benchmarks.install import TOOLS, install, lacking_tools
from benchmarks.lock import alone
from benchmarks.peers.base import Peer
from benchmarks.questions.base import Question
from benchmarks.report import OVERLAYS, About
from benchmarks.report import write as write_report
from benchmarks.results import Results
from benchmarks.runner import Stage, begin, carry_out, two_ends
from vxnet.errors import ConfigError, HostError, VxnetError

__all__ = ["Preset", "app"]

INTERRUPTED = 128 + signal.SIGINT

BUSY_PERCENT = 10
STANDARD_OUTPUT = Path("-")

COLUMNS = (
    BarColumn(),
    TextColumn("{task.percentage:3.0f} %"),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
    TextColumn("{task.description}"),
)

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Preset:
    """What a command knows, and what of it is measured unless told otherwise.

    The empty choice is everything. The first of the known peers is the baseline.
    """

    module: str
    help: str
    known_peers: Sequence[Peer] = PEERS
    known_questions: Sequence[Question] = QUESTIONS
    peers: Sequence[str] = ()
    questions: Sequence[str] = ()
    rounds: int = 5
    seconds: int = 4
    quick_peers: Sequence[str] = ()
    quick_questions: Sequence[str] = ()
    quick_rounds: int = 3
    quick_seconds: int = 2
    stage: Stage = two_ends
    tools: Sequence[str] = TOOLS
    about: About = OVERLAYS


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to be measured."""

    peers: Sequence[Peer]
    questions: Sequence[Question]
    rounds: int
    seconds: int
    baseline: str
    command: str
    stage: Stage


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
        with_install: Annotated[
            bool,
            typer.Option(
                "--install",
                help="Install peers: Debian packages, which may start services, and Go modules.",
            ),
        ] = False,
        json: Annotated[
            Path | None, typer.Option(help="Write all results here; - is standard output.")
        ] = None,
        report: Annotated[
            Path | None, typer.Option(help="Write an HTML report, plots and JSON into this folder.")
        ] = None,
        earlier: Annotated[
            Path | None,
            typer.Option("--from", help="Measure nothing; show the results in this file."),
        ] = None,
        markdown: Annotated[bool, typer.Option("--markdown", help="Tables to paste.")] = False,
        list_all: Annotated[
            bool, typer.Option("--list", help="Name peers and questions, and stop.")
        ] = False,
    ) -> None:
        if list_all:
            _list(preset)
            return
        status = 0
        with _complaints():
            if earlier is None:
                invited = peer or (preset.quick_peers if quick else ()) or preset.peers
                asked = question or (preset.quick_questions if quick else ()) or preset.questions
                wish = _Wish(
                    peers=_chosen(preset.known_peers, invited, "peer"),
                    questions=_chosen(preset.known_questions, asked, "question"),
                    rounds=rounds or (preset.quick_rounds if quick else preset.rounds),
                    seconds=seconds or (preset.quick_seconds if quick else preset.seconds),
                    baseline=preset.known_peers[0].name,
                    command=shlex.join(["python", "-m", preset.module, *sys.argv[1:]]),
                    stage=preset.stage,
                )
                _check_host(preset.tools)
                if with_install:
                    for problem in install(wish.peers):
                        console.print(problem, markup=False)
                results, status = _measure(wish)
            else:
                results = Results.load(earlier)
            _tell(results, json, markdown)
            if report is not None:
                write_report(results, report, preset.about)
        raise typer.Exit(status)

    main.__doc__ = preset.help
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(main)
    return command


@contextmanager
def _complaints() -> Iterator[None]:
    """The one place where errors become exit statuses."""
    try:
        yield
    except (VxnetError, OSError) as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None


def _chosen(known: Iterable[N], names: Sequence[str], kind: str) -> list[N]:
    by_name = {one.name: one for one in known}
    for name in names:
        if name not in by_name:
            raise ConfigError(f"there is no {kind} {name!r}; there are: {', '.join(by_name)}")
    return [by_name[name] for name in names] if names else list(by_name.values())


def _check_host(tools: Sequence[str]) -> None:
    if os.geteuid() != 0:
        raise HostError("the benchmark makes network namespaces; run it as root")
    if (lack := lacking_tools(tools)) is not None:
        raise HostError(lack)


def _measure(wish: _Wish) -> tuple[Results, int]:
    """The results and the exit status. Ctrl-C ends it early, with what there is by then."""
    with (
        alone(lambda: console.print("another benchmark is running; waiting for it to end")),
        Progress(*COLUMNS, console=console, transient=True) as progress,
    ):
        sweep()
        task = progress.add_task("looks at the machine", total=1.0)
        results = begin(wish.rounds, wish.seconds, command=wish.command, baseline=wish.baseline)
        results.unavailable = {
            peer.name: reason for peer in wish.peers if (reason := peer.missing()) is not None
        }
        able = [peer for peer in wish.peers if peer.name not in results.unavailable]
        try:
            carry_out(
                able,
                wish.questions,
                results,
                lambda what, share: progress.update(task, description=what, completed=share),
                wish.stage,
            )
        except KeyboardInterrupt:
            return results, INTERRUPTED
    return results, 1 if results.failures else 0


def _tell(results: Results, json: Path | None, markdown: bool) -> None:
    if json is not None and json != STANDARD_OUTPUT:
        json.write_bytes(results.document())
    if json == STANDARD_OUTPUT:
        sys.stdout.write(results.document().decode())
    elif markdown:
        sys.stdout.write(tables.markdown(results))
    else:
        for grid in tables.grids(results):
            tables.show(grid)
        if (goals := tables.goals(results)) is not None:
            tables.show(goals)
        console.print(tables.caption(results), markup=False, highlight=False)
    if results.machine.background_percent > BUSY_PERCENT:
        console.print("The machine is busy with other things: trust ratios, and them little.")
    for sentence in tables.failures(results):
        console.print(sentence, markup=False)


def _peer_line(peer: Peer) -> str:
    reason = peer.missing()
    return f"  {peer.name:22} {peer.title}" + ("" if reason is None else f"   ({reason})")


def _list(preset: Preset) -> None:
    lines = ["Peers:", *map(_peer_line, preset.known_peers), "Questions:"]
    lines += [f"  {question.name:22} {question.title}" for question in preset.known_questions]
    Console().print("\n".join(lines), markup=False, highlight=False)
