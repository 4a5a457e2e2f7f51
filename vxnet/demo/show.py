"""A demo on a terminal: what is being done, one line a check, then tables."""

from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from vxnet.demo.bed import DIRECTORY
from vxnet.demo.report import Report, Result

__all__ = ["Live", "Silent", "summary"]

LISTED_MAX = 16


class Silent:
    """Watches without a word, for `--json`."""

    def began(self, title: str) -> None:
        """Says nothing."""

    def ended(self, result: Result) -> None:
        """Says nothing."""


class Live:
    """Shows progress, from `with` to its end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console
        )
        self._task = self._progress.add_task("")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.update(self._task, visible=False)
        self._progress.stop()

    def began(self, title: str) -> None:
        """The line with the spinner says what is being done."""
        self._progress.reset(self._task, description=escape(title))

    def ended(self, result: Result) -> None:
        """A line for the check stays above the spinner."""
        mark = "[green]ok  [/]" if result.ok else "[red]FAIL[/]"
        self._progress.print(f"{mark} {escape(result.title)}: {escape(result.seen)}")


def summary(report: Report) -> Group:
    """Everything there was to see, for the end."""
    parts: list[Table | Text] = []
    if report.sightings:
        parts += [Text("On the underlay, read by scapy", style="bold"), _listing(report)]
    if report.tables:
        parts += [_forwarding(report)]
    if report.drivers:
        parts += [_drivers(report)]
    if report.members:
        parts += [_members(report)]
    parts += [_results(report)]
    return Group(*parts)


def kept(report: Report) -> Text:
    """How to go on with a demo that was kept, and how to end it."""
    h1 = f"{report.prefix}-h1"
    socket = DIRECTORY / report.prefix / "h1" / "vxnet.sock"
    return Text(
        f"It is still running. Try:\n"
        f"  nsenter --net=/run/netns/{h1} bash            # enter the host h1\n"
        f"  nsenter --net=/run/netns/{h1}-blue ip address # its sandbox in the network blue\n"
        f"  vxnet --socket {socket} fdb\n"
        f"and remove it with:\n"
        f"  vxnet demo --remove {report.prefix}"
    )


def _listing(report: Report) -> Text:
    lines = [str(sighting) for sighting in report.sightings[:LISTED_MAX]]
    more = len(report.sightings) - len(lines)
    return Text("\n".join([*lines, f"… and {more} more"] if more > 0 else lines))


def _forwarding(report: Report) -> Table:
    table = Table(title="MAC/IP to VTEP, host by host", title_justify="left")
    for heading in ("host", "network", "MAC", "IP", "behind", "known by"):
        table.add_column(heading, overflow="fold")
    for host, rows in report.tables.items():
        for row in rows:
            table.add_row(host, row.network, row.mac, "\n".join(row.ips), row.behind, row.source)
            host = ""
        table.add_section()
    return table


def _drivers(report: Report) -> Table:
    table = Table(
        title="Drivers beside each other: one TCP stream, and the shortest round trip",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("driver", "scope", "own\nMAC", "own\nIP", "across\nhosts"):
        table.add_column(heading, no_wrap=True)
    for heading in ("Gbit/s", "RTT ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("way out")
    for row in report.drivers:
        table.add_row(
            row.driver,
            row.scope,
            _yes(row.own_mac),
            _yes(row.own_ip),
            _yes(row.crosses_hosts),
            "-" if row.gigabits_per_second is None else f"{row.gigabits_per_second:.2f}",
            "-" if row.rtt_ms is None else f"{row.rtt_ms:.2f}",
            row.way_out,
        )
    return table


def _members(report: Report) -> Table:
    table = Table(title="Members of the service, and what each answered", title_justify="left")
    for heading in ("member", "host", "addresses"):
        table.add_column(heading, overflow="fold")
    phases = list(dict.fromkeys(phase for row in report.members for phase in row.answered))
    for phase in phases:
        table.add_column(phase, justify="right")
    table.add_column("")
    for row in report.members:
        counts = (str(row.answered.get(phase, 0)) for phase in phases)
        table.add_row(row.member, row.host, "\n".join(row.addresses), *counts, row.fate)
    return table


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _results(report: Report) -> Table:
    held = sum(result.ok for result in report.results)
    table = Table(
        title=f"{report.hosts} hosts, datapath {report.datapath}: {held} of "
        f"{len(report.results)} checks held, in {report.seconds:.1f} s",
        title_justify="left",
    )
    table.add_column("")
    table.add_column("check")
    table.add_column("what was seen", overflow="fold")
    table.add_column("s", justify="right")
    for result in report.results:
        mark = Text("ok", style="green") if result.ok else Text("FAIL", style="red")
        table.add_row(mark, Text(result.title), Text(result.seen), f"{result.seconds:.1f}")
    return table
