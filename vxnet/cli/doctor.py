"""`vxnet doctor`: what is wrong, and the command that mends it."""

from pathlib import Path
from typing import Annotated

import typer

from vxnet.cli.options import DEFAULT_SOCKET, Json, Socket, connect
from vxnet.cli.output import print_json

__all__ = ["doctor"]


def doctor(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The settings, where no daemon can be asked.")
    ] = Path("/etc/vxnet/vxnet.toml"),
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Find what is wrong here and on the ways to other hosts.

    Exits with 1 if anything is. Each finding is a sentence with the command that mends it. Nothing
    is changed. Works without a daemon too, as far as this host goes.
    """
    import asyncio

    from vxnet.doctor.examine import examine

    report = asyncio.run(examine(connect(socket), config))
    if json:
        print_json(report)
    else:
        for finding in report.findings:
            typer.echo(f"{'advice: ' if finding.advice else ''}{finding}")
        asked = f"other hosts asked: {report.peers if report.daemon else 'none'}"
        if report.ok:
            typer.echo(f"nothing is wrong; {asked}")
        else:
            wrong = sum(not finding.advice for finding in report.findings)
            typer.echo(f"things that are wrong: {wrong}; {asked}", err=True)
    if not report.ok:
        raise typer.Exit(1)
