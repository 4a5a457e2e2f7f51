"""`vxnet sandbox` and `vxnet exec`: network namespaces, and commands inside them."""

import os
from typing import Annotated

import typer

from vxnet.api.model import SandboxBody, SandboxView
from vxnet.cli.options import DEFAULT_SOCKET, Json, Socket, connect
from vxnet.cli.output import pairs, print_json, table

__all__ = ["app", "execute"]

app = typer.Typer(
    help="Create, list, inspect and remove network namespaces.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="SANDBOX", help="The sandbox.", show_default=False)]


@app.command()
def create(name: Name, socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """Make a network namespace, with loopback up.

    `ip netns` knows it too.

    Example:  vxnet sandbox create web
    """
    _show(connect(socket).create_sandbox(SandboxBody(name)), json)


@app.command("ls")
def list_sandboxes(socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """The sandboxes vxnet made, and those that endpoints are in."""
    answer = connect(socket).sandboxes()
    if json:
        print_json(answer)
        return
    table(
        ("NAME", "PATH", "MADE BY", "ENDPOINTS"),
        ((s.name, s.path, "vxnet" if s.made_by_vxnet else "others", s.endpoints) for s in answer),
        "there are no sandboxes; make one with: vxnet sandbox create NAME",
    )


@app.command()
def inspect(name: Name, socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """Everything about one sandbox."""
    _show(connect(socket).sandbox(name), json)


@app.command("rm")
def remove(name: Name, socket: Socket = DEFAULT_SOCKET, json: Json = False) -> None:
    """Remove a sandbox that vxnet made.

    Refused while endpoints are in it.
    """
    _show(connect(socket).remove_sandbox(name), json)


def execute(
    name: Name,
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND", help="What to run.", show_default=False)
    ],
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Run a command inside a sandbox; needs root.

    Example:  vxnet exec web -- ping -c 1 10.9.0.7
    """
    from vxnet.host.mounts import use_files_of
    from vxnet.host.namespace import enter

    sandbox = connect(socket).sandbox(name)
    enter(sandbox.path)
    if sandbox.path.startswith("/run/netns/"):
        use_files_of(sandbox.name)
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        typer.echo(f"vxnet: {command[0]} cannot be run: {error.strerror}", err=True)
        raise typer.Exit(127) from None


def _show(sandbox: SandboxView, json: bool) -> None:
    if json:
        print_json(sandbox)
        return
    pairs(
        [
            ("name", sandbox.name),
            ("path", sandbox.path),
            ("made by", "vxnet" if sandbox.made_by_vxnet else "others"),
            ("endpoints", sandbox.endpoints),
        ]
    )
