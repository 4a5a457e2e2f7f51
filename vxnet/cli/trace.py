"""`vxnet trace`: what becomes of a frame, step by step, on both hosts."""

from typing import Annotated

import typer

from vxnet.api.seen import TraceBody
from vxnet.cli.options import DEFAULT_SOCKET, Json, Socket, connect
from vxnet.cli.output import print_json, table

__all__ = ["trace"]


def trace(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="The network.")],
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="An endpoint of this host: name, IP or MAC.")
    ],
    target: Annotated[str, typer.Argument(metavar="DST", help="A station: IP or MAC.")],
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Follow a frame through the switches of both hosts.

    The switch is asked about the very frame, then a marked one is really sent in the endpoint's
    name (an echo request, which DST may answer), and each host tells what it saw of it. Exits
    with 1 where it was delivered to nobody.

    Example:  vxnet trace blue web 10.9.0.20
    """
    answer = connect(socket).trace(TraceBody(network, source, target))
    if json:
        print_json(answer)
    else:
        table(
            ("", "HOST", "WHAT"),
            (
                (f"{number}{'' if step.ok else ' !'}", step.host, step.text)
                for number, step in enumerate(answer.steps, start=1)
            ),
            "nothing could be followed",
        )
        typer.echo("delivered" if answer.delivered else "not delivered", err=not answer.delivered)
    if not answer.delivered:
        raise typer.Exit(1)
