"""`vxnet keys`: the keys that encrypt the gossip, and their rotation."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vxnet.api.model import ForceBody, KeyBody, KeyView
from vxnet.cli.options import DEFAULT_SOCKET, Json, Socket, connect
from vxnet.cli.output import print_json, table

__all__ = ["app"]

app = typer.Typer(
    help="Make, list and rotate the keys of the gossip.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

KeyName = Annotated[
    str, typer.Argument(metavar="ID", help="Of a key, as `list` has it.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Even if a member would be lost.")]


@app.command()
def generate(
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Write it to this new file instead.", show_default=False),
    ] = None,
) -> None:
    """Make a new key. Copy it to every host; whoever has it can join the cluster.

    A rotation is: generate, then on every host install, then on every host use, then on every
    host remove the old one.

    Example:  vxnet keys generate --file /etc/vxnet/gossip.key
    """
    from vxnet.control.keyfile import format_key, generate_key, write_keys
    from vxnet.errors import StateError

    key = generate_key()
    if file is None:
        typer.echo(format_key(key))
        return
    if file.exists():
        raise StateError(f"{file} exists already; give another --file, or add the key with install")
    write_keys(file, [key])
    typer.echo(f"{file} holds a new key; copy it to every host, and set gossip.key_file")


@app.command("list")
def list_keys(socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """The keys this host accepts, and who does not."""
    _show(connect(socket).keys(), json)


@app.command()
def install(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="64 hexadecimal digits; - reads them from standard input, unseen by ps.",
            show_default=False,
        ),
    ],
    socket: Socket = DEFAULT_SOCKET,
    json: Json = False,
) -> None:
    """Accept a key on this host from now on.

    It is kept in the key file.

    Example:  vxnet keys install - < new.key
    """
    text = sys.stdin.readline() if key == "-" else key
    _show(connect(socket).install_key(KeyBody(text.strip())), json)


@app.command()
def use(
    key: KeyName, force: Force = False, socket: Socket = DEFAULT_SOCKET, json: Json = False
) -> None:
    """Encrypt with a key from now on.

    Refused while a live member does not accept it.
    """
    _show(connect(socket).use_key(key, ForceBody(force)), json)


@app.command()
def remove(
    key: KeyName, force: Force = False, socket: Socket = DEFAULT_SOCKET, json: Json = False
) -> None:
    """Accept a key no longer.

    Refused where that would lose a member.
    """
    _show(connect(socket).remove_key(key, ForceBody(force)), json)


def _show(keys: list[KeyView], json: bool) -> None:
    if json:
        print_json(keys)
        return
    table(
        ("ID", "IN USE", "ACCEPTED BY", "LACKING ON"),
        ((key.id, "yes" if key.in_use else "no", key.accepted_by, key.lacking_on) for key in keys),
        "there are no keys",
    )
