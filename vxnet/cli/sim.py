"""`vxnet sim`: the gossip of the daemon, in a cluster of any size, on a virtual clock."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vxnet.sim.trial import Report

__all__ = ["sim"]


def sim(
    nodes: Annotated[int, typer.Option("--nodes", "-n", min=2, max=5000, help="Hosts.")] = 100,
    loss: Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of datagrams lost.")] = 0.0,
    latency_ms: Annotated[float, typer.Option(min=0.0, help="One way.")] = 0.5,
    jitter_ms: Annotated[float, typer.Option(min=0.0, help="On top of it, at random.")] = 0.5,
    partition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A:B@START-END",
            help="Groups that do not hear each other for a time, like 50:50@10s-60s; repeatable.",
            show_default=False,
        ),
    ] = None,
    crash: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="One host is killed at this time.")
    ] = None,
    length: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Of virtual time; by default 30 s beyond the last event."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 1,
    profile: Annotated[str, typer.Option(help="lan or wan.")] = "lan",
    join: Annotated[
        bool,
        typer.Option(
            "--join",
            help="Start from hosts that do not know each"
            " other yet, instead of a cluster that is there.",
        ),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw it.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Try the gossip of many hosts on a virtual clock.

    Says how fast news spreads, what loss, splits and crashes do, and what it costs.

    Example:  vxnet sim --nodes 1000 --loss 0.1 --partition 500:500@10s-60s --seed 7
    """
    from vxnet.errors import ConfigError
    from vxnet.gossip.settings import LAN, WAN
    from vxnet.sim.network import Conditions
    from vxnet.sim.trial import Plan, parse_split, run

    profiles = {"lan": LAN, "wan": WAN}
    if profile not in profiles:
        raise typer.BadParameter(f"{profile!r} is neither lan nor wan", param_hint="--profile")
    try:
        splits = tuple(parse_split(text, nodes) for text in partition or ())
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--partition") from None
    if plot is not None:
        _check_plot(plot)
    last = max([10.0, crash or 0.0, *(split.end_s for split in splits)])
    report = run(
        Plan(
            nodes=nodes,
            seed=seed,
            settings=profiles[profile],
            conditions=Conditions(
                loss=loss, latency_s=latency_ms / 1000, jitter_s=jitter_ms / 1000
            ),
            length_s=length if length is not None else last + 30.0,
            splits=splits,
            crash_at_s=crash,
            join=join,
        )
    )
    if plot is not None:
        _plot(report, plot)
    if json:
        _print_json(report)
    else:
        _print_table(report)


def _check_plot(file: Path) -> None:
    """Before a long run, not after it."""
    fault = None
    if file.suffix != ".png":
        fault = f"{str(file)!r} does not end in .png"
    elif file.is_dir():
        fault = f"{str(file)!r} is a directory"
    elif not file.parent.is_dir():
        fault = f"{str(file)!r} cannot be written: {file.parent} is no directory"
    if fault is not None:
        raise typer.BadParameter(fault, param_hint="--plot")


def _print_json(report: "Report") -> None:
    from dataclasses import asdict

    from vxnet.cli.output import print_json

    print_json(asdict(report))


def _print_table(report: "Report") -> None:
    from rich.console import Console
    from rich.table import Table

    from vxnet.sim.measure import percentile
    from vxnet.sim.trial import finished

    table = Table(title=f"{report.nodes} nodes, seed {report.seed}", show_header=False)
    updates = finished(report.updates_s)
    if report.joined_s is not None:
        table.add_row("all see all", f"{report.joined_s:.2f} s")
    if updates:
        table.add_row(
            "an update is with the last node",
            f"p50 {percentile(updates, 0.5):.2f} s, p99 {percentile(updates, 0.99):.2f} s"
            f" ({len(updates)} of {len(report.updates_s)} arrived)",
        )
    for took in report.healed_s:
        table.add_row("healed after a split", "not in time" if took is None else f"{took:.2f} s")
    if report.crash_known_s is not None:
        table.add_row("a crash is known to all", f"{report.crash_known_s:.2f} s")
    table.add_row("declared dead wrongly", str(report.false_deaths))
    table.add_row("sent by a node", f"{report.bytes_per_s:.0f} B/s with IP and UDP headers")
    table.add_row("trace", report.trace)
    Console().print(table)


def _plot(report: "Report", file: Path) -> None:
    try:
        import matplotlib as mpl
    except ImportError:
        raise typer.BadParameter(
            "drawing needs matplotlib; install it with: pip install 'vxnet[bench]'",
            param_hint="--plot",
        ) from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (held, octets) = plt.subplots(2, 1, sharex=True, figsize=(9, 6))
    times = [sample.at_s for sample in report.samples]
    held.plot(times, [100 * sample.members_held for sample in report.samples])
    held.set_ylabel("other members held alive, %")
    held.set_ylim(-5, 105)
    octets.plot(times, [sample.bytes_per_s for sample in report.samples])
    octets.set_ylabel("sent by a node, B/s")
    octets.set_yscale("log")
    octets.set_xlabel("virtual time, s")
    held.set_title(f"{report.nodes} nodes, seed {report.seed}")
    figure.tight_layout()
    try:
        figure.savefig(file, dpi=120)
    except OSError as error:
        raise typer.BadParameter(
            f"{str(file)!r} cannot be written: {error.strerror}", param_hint="--plot"
        ) from None
    finally:
        plt.close(figure)
