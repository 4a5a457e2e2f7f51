"""Options and arguments that several commands have."""

from typing import Annotated

import typer

from vxnet.api.client import Client

__all__ = [
    "DEFAULT_SOCKET",
    "Aliases",
    "Ifname",
    "Ips",
    "Json",
    "MacText",
    "Memberships",
    "NetnsName",
    "NetworkFilter",
    "Pid",
    "Priority",
    "Publish",
    "SandboxPath",
    "Socket",
    "TapName",
    "connect",
]

DEFAULT_SOCKET = "/run/vxnet/vxnet.sock"

Socket = Annotated[
    str, typer.Option("--socket", envvar="VXNET_SOCKET", help="The daemon's socket.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
NetworkFilter = Annotated[
    str | None, typer.Option("--network", "-n", help="Only this network.", show_default=False)
]
NetnsName = Annotated[
    str | None, typer.Option("--netns", help="A namespace by its name, as `ip netns` has it.")
]
Pid = Annotated[int | None, typer.Option("--pid", help="The namespace of this process.")]
SandboxPath = Annotated[str | None, typer.Option("--path", help="A namespace by its file.")]
TapName = Annotated[
    str | None,
    typer.Option("--tap", help="No namespace: a TAP of this name on the host, for a VM to open."),
]
Ifname = Annotated[str, typer.Option("--ifname", help="What the interface is called inside.")]
Ips = Annotated[
    list[str] | None,
    typer.Option("--ip", help="An address of a subnet of the network; may be given per subnet."),
]
Publish = Annotated[
    list[str] | None,
    typer.Option(
        "--publish",
        "-p",
        metavar="HOST:PORT[/udp]",
        help="Open a port of the host to one of the endpoint's (bridge networks).",
    ),
]
Aliases = Annotated[
    list[str] | None,
    typer.Option("--alias", help="What else it is called in the network; may be given again."),
]
Memberships = Annotated[
    list[str] | None,
    typer.Option("--service", help="A service it is a member of; may be given again."),
]
Priority = Annotated[
    int, typer.Option("--priority", help="The highest of a sandbox's endpoints is its way out.")
]
MacText = Annotated[
    str, typer.Option("--mac", help="A MAC instead of the derived one.", show_default=False)
]


def connect(socket: str) -> Client:
    """The daemon behind a socket."""
    return Client(socket)
