"""`vxnet ipam`: who holds which address, and taking over what a lost host owned."""

from typing import Annotated

import typer

from vxnet.api.model import ReclaimBody
from vxnet.cli.options import DEFAULT_SOCKET, Json, NetworkFilter, Socket, connect
from vxnet.cli.output import print_json, table
from vxnet.cli.show import duration

__all__ = ["app"]

app = typer.Typer(
    help="List held addresses, and reclaim those of lost hosts.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("ls")
def list_leases(
    network: NetworkFilter = None, socket: Socket = DEFAULT_SOCKET, json: Json = False
) -> None:
    """Every address that is not free: who holds it, where, for how long, and why."""
    answer = connect(socket).leases(network)
    if json:
        print_json(answer)
        return
    table(
        ("NETWORK", "ADDRESS", "HOLDER", "HOST", "AGE", "REASON"),
        ((a.network, a.address, a.holder, a.host, duration(a.age_s), a.reason) for a in answer),
        "no address is held",
    )


@app.command()
def reclaim(
    host: Annotated[
        str, typer.Argument(metavar="HOST", help="Its name or id.", show_default=False)
    ],
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Take over the addresses of a host that will not come back.

    If it does come back, it loses the endpoints that used them. Refused while the host is up.

    Example:  vxnet ipam reclaim host-c
    """
    answer = connect(socket).reclaim(ReclaimBody(host))
    if json:
        print_json(answer)
    else:
        typer.echo(f"{answer.addresses} addresses of {host} belong to this host now")
