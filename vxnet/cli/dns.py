"""`vxnet dns`: what the resolver of a network would answer, and why."""

from typing import Annotated

import typer

from vxnet.cli.options import DEFAULT_SOCKET, Json, Socket, connect
from vxnet.cli.output import pairs, print_json

__all__ = ["dns"]


def dns(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name or an address.", show_default=False)
    ],
    network: Annotated[
        str | None,
        typer.Option("--network", "-n", help="Who asks: somebody in this network."),
    ] = None,
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """What a name is in a network, and why.

    With one network only, that one is meant.

    Example:  vxnet dns web --network blue
    """
    client = connect(socket)
    if network is None:
        known = [one.name for one in client.networks() if one.driver == "overlay"]
        if len(known) != 1:
            there = ", ".join(known) or "none"
            raise typer.BadParameter(f"say which; there are {there}", param_hint="--network")
        network = known[0]
    answer = client.dns(name, network)
    if json:
        print_json(answer)
        return
    pairs(
        [
            ("name", answer.name),
            ("network", answer.network),
            ("is", answer.kind),
            ("addresses", answer.addresses),
            ("endpoints", answer.endpoints),
            ("why", answer.why),
            ("answered by" if answer.kind != "passed on" else "asked", answer.resolvers),
        ]
    )
